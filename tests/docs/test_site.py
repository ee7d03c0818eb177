"""The documents as a site: no dead link, no page that nobody finds, nothing from elsewhere."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "contrib"))
site = importlib.import_module("site_of_documents")


@pytest.fixture(scope="module")
def built() -> Path:
    site.stage()
    code, said = site.build()
    assert code == 0, said
    found: Path = site.SITE
    return found


def test_every_page_is_in_the_menu(built: Path) -> None:
    menu = (ROOT / "zensical.toml").read_text()
    for page in (ROOT / "docs").rglob("*.md"):
        place = page.relative_to(ROOT)
        assert f'"{place}"' in menu, place
        assert (built / place.with_suffix(".html")).exists()


def test_it_works_without_a_network(built: Path) -> None:
    for page in built.rglob("*.html"):
        text = page.read_text()
        assert re.findall(r"<(?:script|img|iframe)[^>]* src=[\"']?(?:https?:)?//[^ >]+", text) == []
        assert re.findall(r"<link[^>]* href=[\"']?(?:https?:)?//[^ >]+", text) == []
    for sheet in built.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", sheet.read_text())


@pytest.mark.parametrize("link", ["nowhere.md", "audit.md#no-such-heading"])
def test_a_link_that_leads_nowhere_is_found(built: Path, link: str) -> None:
    site.stage()
    with (site.PAGES / "docs/ci.md").open("a") as page:
        page.write(f"\n[a link]({link})\n")
    code, said = site.build()
    assert code != 0
    assert "docs/ci.md" in said
    assert "Traceback" not in said
