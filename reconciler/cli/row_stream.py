"""Rows that are written one by one, however many there are, with what is said about all of them at the end."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from reconciler.cli.exits import say
from reconciler.cli.output import Format, csv_cell


class RowStream:
    """CSV, JSON or JSON lines. JSON is one object: what is said about all, and the rows as `rows`.

    Args:
        columns: every field of a row.
    """

    def __init__(self, format: Format, columns: Sequence[str], stream: TextIO) -> None:
        self._format, self._columns, self._stream = format, columns, stream
        self._written = 0
        if format is Format.CSV:
            self._write_cells(columns)
        elif format is Format.JSON:
            stream.write('{\n  "rows": [')

    def write(self, row: Mapping[str, Any]) -> None:
        if self._format is Format.CSV:
            self._write_cells([csv_cell(row.get(column)) for column in self._columns])
        elif self._format is Format.JSON:
            self._stream.write(",\n" if self._written else "\n")
            self._stream.write(f"    {json.dumps(row, ensure_ascii=True)}")
        else:
            self._stream.write(json.dumps(row, ensure_ascii=True) + "\n")
        self._written += 1

    def end(self, about: Mapping[str, Any], sentence: str) -> None:
        """`about` goes into the JSON; where only rows may be written, the sentence goes to stderr."""
        if self._format is Format.JSON:
            self._stream.write("\n  ]" if self._written else "]")
            for name, value in about.items():
                self._stream.write(f",\n  {json.dumps(name)}: {json.dumps(value, ensure_ascii=True)}")
            self._stream.write("\n}\n")
        else:
            say(sentence)

    def _write_cells(self, cells: Sequence[str]) -> None:
        csv.writer(self._stream, lineterminator="\n").writerow(cells)
