"""The queries of docs/audit.md as they stand there, and Datasette, on a past whose truth no query knows."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from sqlalchemy import text

from reconciler.audit.database import Access, make_engine, opened
from reconciler.audit.transfer import backup
from reconciler.domain.times import iso
from tests.mlflow_app.ports import free_port
from tests.reports.conftest import new_database
from tests.reports.past import MODELS, Past
from tests.servers import ROOT, python_of_datasette

PAGE = (ROOT / "docs/audit.md").read_text().partition("## Questions as queries")[2].partition("\n## ")[0]
QUERIES = dict(re.findall(r"\*\*(.*?)\*\*[^`]*?(?:`[^`]+`[^`]*?)*```sql\n(.*?)```", PAGE, re.DOTALL))
AT = 33


def answers(past: Past) -> dict[str, list[Any]]:
    """The rows of each query, of the time between two cycles, and of a moment in it."""
    since, until, at = (iso(past.truth.between(number)) for number in (10, 50, AT))
    given = {"'2026-07-01'": f"'{since}'", "'2026-10-01'": f"'{until}'", "'2026-08-15T12:00:00.000Z'": f"'{at}'"}
    found = {}
    with opened(past.url, Access.READ) as engine, engine.connect() as connection:
        for question, query in QUERIES.items():
            for literal, value in given.items():
                query = query.replace(literal, value)
            found[question] = [tuple(row) for row in connection.execute(text(query.replace(":", "\\:")))]
    return found


def began_by(cause: str) -> str:
    return {"exception": "bypass", "person_unknown": "person"}.get(cause, cause)


def test_each_query_of_the_page_finds_what_happened(past: Past) -> None:
    truth, found = past.truth, answers(past)
    seen = [one for one in truth.spells if one.first is not None]
    assert len(found) >= 15
    rows = iter(found.values())
    assert Counter(row[:4] for row in next(rows)) == Counter(
        (*one.what, began_by(one.cause)) for one in truth.touching(10, 50)
    )
    assert Counter((*row[:3], row[4]) for row in next(rows)) == Counter(
        (*one.what, one.standing) for one in truth.exceptions()
    )
    held = {one.what for one in seen if (one.first or 0) <= AT <= (one.last or 0)}
    assert {row[:3] for row in next(rows)} == held
    of_fraud = [one for one in truth.judged if one.model == "fraud"]
    assert [row[:4] for row in next(rows)] == [
        (one.version, one.target, one.verdict, one.requester) for one in of_fraud
    ]
    assert [tuple(row) for row in next(rows)] == [
        (one.version, one.target, "accuracy", None, "passed" if one.verdict == "approve" else "failed", 1)
        for one in of_fraud
    ]
    assert [(*row[:3], row[4]) for row in next(rows)] == [
        (one.version, one.target, "accuracy", "passed" if one.verdict == "approve" else "failed") for one in of_fraud
    ]
    crossed = Counter((one.verdict, one.mode, one.effect) for one in truth.judged)
    assert {row[:3]: row[3] for row in next(rows)} == crossed
    assert sum(row[3] for row in next(rows)) == sum(one.verdict == "reject" for one in truth.judged)
    (_, first), (later, second) = truth.policies
    assert [row[0] for row in next(rows)] == [second if later <= truth.between(AT) else first]
    # A silence, and a pause of six minutes.
    assert len(next(rows)) == len(truth.gaps) == 2
    assert [row[:3] for row in next(rows)] == [("pause", "mia", "a freeze"), ("resume", "mia", "a freeze")]
    times = {row[0]: row[1] for row in next(rows)}
    unknown = [one for one in truth.judged if not one.requester]
    assert times == {"stated": len(truth.judged) - len(unknown), "first seen": len(unknown)}
    assert Counter(row[:3] for row in next(rows)) == Counter((one.model, one.version, one.target) for one in unknown)
    approved = Counter((*one.what, one.person) for one in truth.spells if one.cause == "person")
    by_people = next(rows)
    if past.kept:
        assert Counter(row[:4] for row in by_people) == approved
    changed = Counter((*one.what, name, one.judged.get(name), value) for one in seen for _, name, value in one.changes)
    assert Counter(row[:6] for row in next(rows)) == changed
    assert {row[:3] for row in next(rows)} == truth.waiting
    newest = {model: max(int(one.version) for one in truth.judged if one.model == model) for model in MODELS}
    assert dict(next(rows)) == newest
    assert next(rows, None) is None


# --- Datasette -----------------------------------------------------------------------------------------------


@contextmanager
def datasette(database: Path) -> Iterator[str]:
    port = free_port()
    command = [python_of_datasette(), "-m", "datasette", "--immutable", database, "--port", port]
    server = subprocess.Popen(
        [*map(str, command), "--metadata", ROOT / "contrib/datasette.json"], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def read(address: str) -> str:
    for _ in range(200):
        try:
            with urlopen(address, timeout=10) as reply:
                return str(reply.read().decode())
        except OSError:
            time.sleep(0.05)
    raise AssertionError("Datasette did not start")


def test_datasette_shows_what_tables_and_columns_mean(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    python_of_datasette()
    url = new_database(request, tmp_path_factory, "sqlite")
    engine = make_engine(url)
    Past(engine, seed=7, kept=True, steps=2)
    engine.dispose()
    copy = tmp_path_factory.mktemp("copy") / "audit.db"
    backup(url, copy)
    texts = json.loads((ROOT / "contrib/datasette.json").read_text())["databases"]["audit"]["tables"]
    with datasette(copy) as address:
        for name in ("decision_register", "drifts", "tenures"):
            page = read(f"{address}/audit/{name}")
            assert texts[name]["description"] in page
            for column, meaning in texts[name]["columns"].items():
                assert f"<dt>{column}</dt><dd>{meaning.replace(chr(39), '&#39;')}</dd>" in page
