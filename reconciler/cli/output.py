"""Rows as a table, CSV, JSON or JSON lines; nothing in them is executed, by a terminal or a spreadsheet."""

from __future__ import annotations

import csv
import json
import textwrap
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

from reconciler.cli.terminal import colour_wanted
from reconciler.domain.text import visible

if TYPE_CHECKING:
    from rich.table import Table

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


# These may be told on several lines; whatever else stands in a table is one word, and is not split.
_WRAPPED = frozenset(
    {
        "model",
        "requester",
        "comment",
        "reason",
        "detail",
        "check",
        "expected",
        "observed",
        "source",
        "covered",
        "state",
    }
)
_GAP = 2


def write_table(rows: Rows, columns: Sequence[str], stream: TextIO) -> None:
    """As wide as the terminal, 80 where there is none; where words would be split, a few lines for each row."""
    from rich.console import Console

    wanted = colour_wanted(stream)
    console = Console(file=stream, highlight=False, emoji=False, color_system="auto" if wanted else None)
    shown = [[_shown(column, row.get(column)) for column in columns] for row in rows]
    widths = _widths(columns, shown, console.width)
    if widths is None:
        _write_stacked(columns, shown, stream, console.width)
    else:
        console.print(_table(columns, shown, widths))


def _table(columns: Sequence[str], shown: Sequence[Sequence[str]], widths: Sequence[int]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for name, width in zip(_header(columns), widths, strict=True):
        table.add_column(name, width=width, overflow="fold")
    for cells in shown:
        # Text, not str: what stands in square brackets is a name and not markup.
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _widths(columns: Sequence[str], shown: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """A width for each column at which every word stays whole; None where there is no room for that."""
    lines = [_header(columns), *shown]
    wanted = [max(_cells(line[index]) for line in lines) for index in range(len(columns))]
    least = [
        max(_longest_word(line[index]) for line in lines) if column in _WRAPPED else wanted[index]
        for index, column in enumerate(columns)
    ]
    spare = room - sum(least) - _GAP * (len(columns) - 1)
    if spare < 0:
        return None
    # Who wants little is served first, so that few columns wrap.
    for index in sorted(range(len(columns)), key=lambda index: wanted[index] - least[index]):
        more = min(wanted[index] - least[index], spare)
        least[index] += more
        spare -= more
    return least


def _header(columns: Sequence[str]) -> list[str]:
    return [column.replace("_", " ") for column in columns]


def _longest_word(text: str) -> int:
    return max((_cells(word) for word in text.split()), default=0)


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _write_stacked(columns: Sequence[str], shown: Sequence[Sequence[str]], stream: TextIO, width: int) -> None:
    for cells in shown:
        _write_fields(dict(zip(_header(columns), cells, strict=True)), stream, width, longest=0)
        stream.write("\n")


def write_record(fields: Mapping[str, Any], stream: TextIO, indent: str = "") -> None:
    """A field a line, as wide as the terminal, 80 where there is none; what is empty is left out."""
    from rich.console import Console

    shown = {name.replace("_", " "): visible(str(value)) for name, value in fields.items() if value not in {None, ""}}
    _write_fields(shown, stream, Console(file=stream).width, longest=_LONGEST_LABEL, indent=indent)


# As wide as "requester assurance", so that records of all kinds look alike.
_LONGEST_LABEL = 19


def _write_fields(shown: Mapping[str, str], stream: TextIO, width: int, longest: int, indent: str = "") -> None:
    """A word that has no room behind its label stands on a line of its own, whole: ids are there to be copied."""
    told = {name: value for name, value in shown.items() if value != "-"}
    margin = len(indent) + max([longest, *map(len, told)]) + 1
    for name, value in told.items():
        label = f"{indent}{name}".ljust(margin)
        if _longest_word(value) > width - margin:
            stream.write(f"{label.rstrip()}\n")
            label, rest = f"{indent}  ", f"{indent}  "
        else:
            rest = " " * margin
        lines = textwrap.wrap(value, width, initial_indent=label, subsequent_indent=rest, break_on_hyphens=False)
        stream.writelines(f"{line}\n" for line in lines)


def _shown(column: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    text = visible(str(value))
    # 2026-11-24T09:28:30.123Z: people read seconds.
    return text[:19].replace("T", " ") if column == "at" or column.endswith("_at") else text
