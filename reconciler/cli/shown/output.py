"""Rows as a table, CSV, JSON or JSON lines; neither a terminal nor a spreadsheet executes anything in them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TextIO

from reconciler.cli.exits import say
from reconciler.cli.shown.columns import Part, csv_rows, json_rows, rows_of
from reconciler.domain.text import visible

# Spreadsheets run a cell that begins with one of these, even after blanks.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
# The widths of columns without names are those of so many rows.
_ALIGNED = 200


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


@dataclass(frozen=True, slots=True)
class Shape:
    """How a command prints rows: `--format`, and whether columns are named (`--no-headers`)."""

    format: Format = Format.TABLE
    headers: bool = True

    @property
    def for_people(self) -> bool:
        """Whether a table, sentences or a page is wanted; without names of columns, a table is rows for a script."""
        return self.format is Format.TABLE and self.headers


def write_rows(
    rows: Iterable[Mapping[str, Any]], shape: Shape, fields: Sequence[str], columns: Sequence[str], stream: TextIO
) -> None:
    """`columns` are those of a table, which needs all rows at once; CSV has every field, also where there is no row."""
    if shape.for_people:
        from reconciler.cli.shown.tables import write_table

        write_table(list(rows), columns, stream)
        return
    writer = row_writer(shape, stream)
    writer.begin(fields, columns)
    writer.write_all(rows)
    writer.end()


def write_parts(
    parts: Iterable[Part], shape: Shape, fields: Sequence[str], columns: Sequence[str], stream: TextIO
) -> None:
    """As `write_rows` for machines, of rows by column."""
    writer = row_writer(shape, stream)
    writer.begin(fields, columns)
    writer.write_parts(parts)
    writer.end()


def write_json(data: Any, stream: TextIO) -> None:
    stream.write(json.dumps(data, indent=2, ensure_ascii=True) + "\n")


# --- row by row ----------------------------------------------------------------------------------------------


class RowWriter:
    """Lists of rows for machines, written one by one, however many there are, and facts about all of them."""

    def __init__(self, stream: TextIO, headers: bool = True) -> None:
        self._stream, self._headers = stream, headers
        self._fields: Sequence[str] = ()
        self._columns: Sequence[str] = ()

    def begin(self, fields: Sequence[str], columns: Sequence[str] | None = None, name: str | None = None) -> None:
        """Begins a list of rows.

        Args:
            fields: every field of a row.
            columns: those that a table has (default: all).
            name: what an object of JSON calls the list; without one, JSON is the list itself.
        """
        self._fields, self._columns = fields, columns or fields

    def write(self, row: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def write_all(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            self.write(row)

    def write_parts(self, parts: Iterable[Part]) -> None:
        """Rows by column, in the order of the fields."""
        for part in parts:
            for values in rows_of(part):
                self.write(dict(zip(self._fields, values, strict=True)))

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Becomes fields of an object of JSON; nothing else has room for them."""

    def end(self) -> None:
        """Nothing is written after this."""

    def end_with(self, facts: Mapping[str, Any], sentence: str) -> None:
        """Ends with facts, or, where only rows may be written, with a sentence on stderr."""
        self.end()
        say(sentence)


def row_writer(shape: Shape, stream: TextIO) -> RowWriter:
    writers: dict[Format, type[RowWriter]] = {Format.CSV: _Csv, Format.JSON: _Json, Format.JSONL: _JsonLines}
    return writers.get(shape.format, _Plain)(stream, shape.headers)


def rows_writer(shape: Shape, fields: Sequence[str], columns: Sequence[str], stream: TextIO) -> RowWriter | None:
    """What writes one list, called `rows`, with facts about it; None where it is told to people in sentences."""
    if shape.for_people:
        return None
    writer = row_writer(shape, stream)
    writer.begin(fields, columns, "rows")
    return writer


class _Json(RowWriter):
    """An object of facts and lists, or one list; a row a line."""

    _named = 0
    # How deep the rows of the open list stand; None: no list is open.
    _indent: str | None = None
    _between = ""

    def begin(self, fields: Sequence[str], columns: Sequence[str] | None = None, name: str | None = None) -> None:
        super().begin(fields, columns, name)
        self._end_list()
        if name is not None:
            self._name_field(name)
        self._stream.write("[")
        self._indent, self._between = "  " if name is None else "    ", "\n"

    def write(self, row: Mapping[str, Any]) -> None:
        self._stream.write(f"{self._between}{self._indent}{json.dumps(row, ensure_ascii=True)}")
        self._between = ",\n"

    def write_parts(self, parts: Iterable[Part]) -> None:
        for part in parts:
            rows = f",\n{self._indent}".join(json_rows(self._fields, part))
            self._stream.write(f"{self._between}{self._indent}{rows}")
            self._between = ",\n"

    def facts(self, facts: Mapping[str, Any]) -> None:
        self._end_list()
        for name, value in facts.items():
            self._name_field(name)
            self._stream.write(json.dumps(value, indent=2, ensure_ascii=True).replace("\n", "\n  "))

    def end(self) -> None:
        self._end_list()
        self._stream.write("\n}\n" if self._named else "\n")

    def end_with(self, facts: Mapping[str, Any], sentence: str) -> None:
        self.facts(facts)
        self.end()

    def _name_field(self, name: str) -> None:
        self._stream.write(f"{',' if self._named else '{'}\n  {json.dumps(name)}: ")
        self._named += 1

    def _end_list(self) -> None:
        if self._indent is not None:
            self._stream.write("]" if self._between == "\n" else f"\n{self._indent[2:]}]")
        self._indent = None


class _JsonLines(RowWriter):
    def write(self, row: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps(row, ensure_ascii=True) + "\n")

    def write_parts(self, parts: Iterable[Part]) -> None:
        for part in parts:
            self._stream.write("\n".join([*json_rows(self._fields, part), ""]))


class _Csv(RowWriter):
    def begin(self, fields: Sequence[str], columns: Sequence[str] | None = None, name: str | None = None) -> None:
        super().begin(fields, columns, name)
        self._csv = csv.writer(self._stream, lineterminator="\n")
        if self._headers:
            self._csv.writerow(fields)

    def write(self, row: Mapping[str, Any]) -> None:
        self._csv.writerow([csv_cell(row.get(column)) for column in self._fields])

    def write_parts(self, parts: Iterable[Part]) -> None:
        for part in parts:
            self._csv.writerows(csv_rows(part, csv_cell))


class _Plain(RowWriter):
    """A table without names of columns: a row a line, for scripts."""

    def begin(self, fields: Sequence[str], columns: Sequence[str] | None = None, name: str | None = None) -> None:
        super().begin(fields, columns, name)
        self._texts: list[list[str]] = []

    def write(self, row: Mapping[str, Any]) -> None:
        from reconciler.cli.shown.tables import cell_text

        self._texts.append([cell_text(column, row.get(column)) for column in self._columns])
        if len(self._texts) == _ALIGNED:
            self.end()

    def end(self) -> None:
        from reconciler.cli.shown.tables import write_plain

        write_plain(self._texts, self._stream)
        self._texts = []


def csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        # Whole: what is cut is no JSON any more. It begins with a bracket, and is ASCII without control characters.
        return json.dumps(value, ensure_ascii=True)
    text = visible(str(value))
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
