"""A folder of pages about a short time with hostile names in it, and the browser that shows them."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests import command
from tests.reports import quarter
from tests.reports.test_command import head_of

# Stock MLflow accepts each of them as the name of a model.
HOSTILE = (
    "<script>document.title='owned'</script>",
    "\"'><img src=x onerror=\"document.title='owned'\">",
    "{{ 7*7 }}{% raw %}</style><style>body{display:none}</style>",
    "=cmd|calc!A0",
    "\u202egnp.exe\nforged\x1b[31m",
    "x" * 4096,
    # As long as a digest, which is shown by its beginning.
    "dead" * 16,
    # Escaped it is longer than a name may be.
    "\x1b" * 200,
)
# No two are the same, though a label of a chart has no room for where they differ.
ALIKE = ("credit-risk-of-all-customers-north", "credit-risk-of-all-customers-south")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Folder(NamedTuple):
    """`said`: what the command told of it."""

    place: Path
    database: Path
    said: str

    @property
    def url(self) -> str:
        return f"sqlite:///{self.database}"

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()


def report(url: str, *arguments: str) -> Any:
    environment = {**os.environ, "RECONCILER_AUDIT__URL": url}
    return command.run("audit", "report", *arguments, environment=environment)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    place = tmp_path_factory.mktemp("pages")
    database = place / "audit.db"
    quarter.lived(f"sqlite:///{database}", ("churn", "fraud", *ALIKE, *HOSTILE), days=20)
    (place / "audit.heads").write_text(head_of(f"sqlite:///{database}"))
    done = report(f"sqlite:///{database}", "--html", str(place / "report"), "--since", "30d")
    assert done.returncode == 0, done.stderr
    return Folder(place / "report", database, done.stderr)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not on this machine (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if not request.url.startswith("file:") else None)
    yield page
    page.close()
    # Whatever the content security policy stops is told on the console.
    assert said == []
