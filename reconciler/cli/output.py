"""Rows as a table, CSV, JSON or JSON lines; nothing in them is executed, by a terminal or a spreadsheet."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, TextIO

from reconciler.domain.text import visible

Rows = Sequence[Mapping[str, Any]]

# Spreadsheets run a cell that begins with one of these, blanks before it or not.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


class Format(StrEnum):
    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


def write_rows(rows: Rows, format: Format, columns: Sequence[str], stream: TextIO) -> None:
    """`columns` are those of the table; the other formats have every field."""
    if format is Format.JSON:
        write_json(list(rows), stream)
    elif format is Format.JSONL:
        stream.writelines(json.dumps(row, ensure_ascii=True) + "\n" for row in rows)
    elif format is Format.CSV:
        write_csv(rows, list(rows[0]) if rows else list(columns), stream)
    else:
        write_table(rows, columns, stream)


def write_json(data: Any, stream: TextIO) -> None:
    stream.write(json.dumps(data, indent=2, ensure_ascii=True) + "\n")


def write_csv(rows: Rows, columns: Sequence[str], stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=True)
    text = visible(str(value))
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def write_table(rows: Rows, columns: Sequence[str], stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        # Text, not str: what stands in square brackets is a name and not markup.
        table.add_row(*(Text(_shown(column, row.get(column))) for column in columns))
    Console(file=stream, highlight=False, emoji=False).print(table)


def _shown(column: str, value: Any) -> str:
    if value is None:
        return "-"
    text = visible(str(value))
    # 2026-11-24T09:28:30.123Z: people read seconds.
    return text[:19].replace("T", " ") if column.endswith("_at") else text
