"""`--format` and `--no-headers`: the same words, and the same rows, whatever command prints them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from reconciler.cli.app import app
from reconciler.cli.shown.output import Format, Shape, row_writer, write_rows

OF_ROWS = ["table", "csv", "json", "jsonl"]
# Where something else than rows is printed, it is called by the same words.
OF_PAGES = {"status": ["table", "json"], "request show": ["table", "json"], "explain": ["table", "json", "markdown"]}
OF_BOTH = {"audit report": [*OF_ROWS, "html"]}
ROWS: list[dict[str, Any]] = [
    {"model": "fraud", "at": "2026-11-24T09:28:30.123Z", "checks": [{"a": 1}], "note": 'a, "b"\nc'},
    {"model": "x", "at": None, "checks": [], "note": ""},
]


def commands(within: Any = None, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every command with its options by name."""
    for name, command in (within or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} ")
        else:
            yield path + name, {one.opts[0]: one for one in command.params}


def words_of(option: Any) -> list[str]:
    """What help shows as allowed: `--format <table|json>`."""
    root: Any = typer.main.get_command(app)
    names, _ = option.get_help_record(root.context_class(root))
    return list(names.partition("<")[2].rstrip(">").split("|"))


def test_the_same_words_mean_the_same_in_every_command() -> None:
    choices = {name: words_of(options["--format"]) for name, options in commands() if "--format" in options}
    assert {name: words for name, words in choices.items() if words != OF_ROWS} == OF_PAGES | OF_BOTH
    has_no_headers = {name for name, options in commands() if "--no-headers" in options}
    assert has_no_headers == set(choices) - set(OF_PAGES)
    assert {name for name, options in commands() if "--json" in options} <= set(choices)
    for option in ("--format", "--json", "--no-headers"):
        helps = {
            options[option].help.removesuffix(" (default: table).") for _, options in commands() if option in options
        }
        assert len({text.rstrip(".") for text in helps}) == 1


def shown(shape: Shape, rows: list[dict[str, Any]] = ROWS) -> str:
    stream = io.StringIO()
    write_rows(rows, shape, ["model", "at", "checks", "note"], ["model", "at"], stream)
    return stream.getvalue()


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], []])
def test_every_format_has_the_same_rows(rows: list[dict[str, Any]]) -> None:
    assert json.loads(shown(Shape(Format.JSON), rows)) == rows
    assert [json.loads(line) for line in shown(Shape(Format.JSONL), rows).splitlines()] == rows
    # Also where there is no row a reader finds every column.
    header, *cells = csv.reader(io.StringIO(shown(Shape(Format.CSV), rows)))
    assert header == ["model", "at", "checks", "note"]
    assert [json.loads(row[2]) for row in cells] == [row["checks"] for row in rows]
    assert list(csv.reader(io.StringIO(shown(Shape(Format.CSV, headers=False), rows)))) == cells


def test_without_headers_a_table_is_a_row_a_line_that_a_script_can_split() -> None:
    assert shown(Shape(Format.TABLE, headers=False)) == "fraud  2026-11-24 09:28:30\nx      -\n"
    assert shown(Shape(Format.TABLE, headers=False), []) == ""
    hostile = [{"model": f"\x1b[31m{'a' * 300}\n", "at": None}]
    [line] = shown(Shape(Format.TABLE, headers=False), hostile).splitlines()
    assert line.isprintable()
    assert shown(Shape(Format.JSON, headers=False)) == shown(Shape(Format.JSON))


@pytest.mark.parametrize("order", ["before", "after", "both"])
def test_an_object_of_lists_and_facts_is_json_whatever_stands_first(order: str) -> None:
    facts = {"counts": {"a": 1, "b\n": [1]}, "text": "x"}
    stream = io.StringIO()
    writer = row_writer(Shape(Format.JSON), stream)
    if order != "after":
        writer.facts({"first": facts})
    for name, rows in (("rows", ROWS), ("none", []), ("more", ROWS[:1])):
        writer.begin(list(ROWS[0]), name=name)
        writer.write_all(rows)
    if order != "before":
        writer.facts(facts)
    writer.end()
    expected = {"rows": ROWS, "none": [], "more": ROWS[:1]}
    before, after = {"first": facts} if order != "after" else {}, facts if order != "before" else {}
    assert json.loads(stream.getvalue()) == before | expected | after


def test_long_tables_without_headers_lose_no_row() -> None:
    many = [{"model": str(number), "at": None} for number in range(1001)]
    lines = shown(Shape(Format.TABLE, headers=False), many).splitlines()
    assert [line.split()[0] for line in lines] == [row["model"] for row in many]
