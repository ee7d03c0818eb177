"""`audit show` for people: every field of the evidence, within the terminal, whatever strangers wrote."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from rich.cells import cell_len

from reconciler.cli.shown.decision import show_evidence
from reconciler.cli.shown.output import Format, Shape, write_rows
from reconciler.domain.evidence.evidence import RunFacts, VersionFacts
from reconciler.domain.text import Text, visible
from tests.builders import with_changed
from tests.unit.test_compare import against, holder
from tests.whole_evidence import HOSTILE, NEEDS, flooded, kept, whole


def shown(document: Any, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = io.StringIO()
    show_evidence(document, stream)
    return stream.getvalue()


def leaves(value: Any) -> Iterator[str]:
    """Every text and number in it, without the names of its fields."""
    if isinstance(value, dict):
        for name, below in value.items():
            if name not in {"answer", "format", "sha256", "length", "timestamp", "creation_timestamp", "end_time"}:
                yield from leaves(below)
    elif isinstance(value, list):
        for below in value:
            yield from leaves(below)
    elif value is not None:
        yield str(value)


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def hostile() -> Any:
    names = {
        HOSTILE * 30: Text.of(HOSTILE * 300),
        "wide": Text.of("汉字" * 2000),
        "": Text.of(""),
        "[red]x": Text.of("[/]"),
    }
    evidence = with_changed(whole(), VersionFacts, tags=names, description=Text.of("z" * 10_000))
    return json.loads(with_changed(evidence, RunFacts, params=names, user=Text.of(HOSTILE)).to_json())


@pytest.mark.parametrize("columns", [80, 60])
def test_every_field_of_the_evidence_is_shown_and_fits(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for document in (json.loads(whole().to_json()), hostile()):
        text = shown(document, columns, monkeypatch)
        told = squeezed(text)
        for leaf in leaves(document):
            assert squeezed(visible(leaf, 10 * len(leaf) + 1)) in told
        assert max(cell_len(line) for line in text.splitlines()) <= columns
        assert all(line.isprintable() for line in text.splitlines())


def test_what_was_left_out_redacted_or_kept_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    document = json.loads(kept(flooded("no numbers"), NEEDS, ("tick*",)).to_json())
    note = document["run"]["left_out"]["metrics"]
    document["run"]["user"] = document["version"]["tags"]["owner"] = document["version"]["left_out"] = {
        "redacted": True
    }
    text = shown(document, 80, monkeypatch)
    assert f"and {note['count']:,} more, sha256:{note['sha256']}" in text.replace("\n", " ").replace("      ", "")
    assert len(re.findall(r"^ +(user|owner|left out) +\(redacted\)$", text, re.MULTILINE)) == 3
    assert re.search(r"^  kept out +tick\*$", text, re.MULTILINE)


def test_whatever_field_is_redacted_the_rest_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"redacted": True}
    for key, answer in json.loads(whole().to_json()).items():
        for name in answer if isinstance(answer, dict) else ():
            document = json.loads(whole().to_json())
            document[key][name] = gone
            if name != "answer":
                assert "(redacted)" in shown(document, 80, monkeypatch), (key, name)


def test_what_a_later_kind_of_fact_holds_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    document = {"read_at": "now", "new_kind": {"answer": "found", "member": {"a": [1]}}}
    assert '{"a":[1]}' in shown(document, 80, monkeypatch)


def test_evidence_that_is_damaged_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(None, 80, monkeypatch) == "  is missing or damaged: see `mlflow-reconciler audit verify`\n"


def test_as_csv_the_evidence_is_whole_and_nothing_in_it_is_executed() -> None:
    document, stream = hostile(), io.StringIO()
    columns = ["evidence", "request"]
    write_rows([{"evidence": document, "request": [HOSTILE]}], Shape(Format.CSV), columns, columns, stream)
    _, row = list(csv.reader(io.StringIO(stream.getvalue())))
    assert [json.loads(cell) for cell in row] == [document, [HOSTILE]]
    assert all(cell.isascii() and cell.isprintable() and cell[0] in "{[" for cell in row)


def test_what_a_version_was_compared_with_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    told = shown(json.loads(against(0.9, holder(0.5)).to_json()), 100, monkeypatch)
    assert "it came there by decision, first seen 2026-06-01T00:00:00.000Z" in told
    of_holder = told.split("holder's run", 1)[1]
    assert re.search(r"auc +0\.5, step 0", of_holder)
