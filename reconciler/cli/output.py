"""Rows as a table, CSV, JSON or JSON lines; neither a terminal nor a spreadsheet executes anything in them."""

from __future__ import annotations

import csv
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

from reconciler.cli.terminal import colour_wanted
from reconciler.domain.text import TEXT_LIMIT, visible

if TYPE_CHECKING:
    from rich.table import Table

Rows = Sequence[Mapping[str, Any]]

# Spreadsheets run a cell that begins with one of these, even after blanks.
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


def write_csv(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([csv_cell(row.get(column)) for column in columns] for row in rows)


def write_csv_values(rows: Iterable[Iterable[Any]], columns: Sequence[str], stream: TextIO) -> None:
    """As `write_csv`, of rows that are values in the order of the columns."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(map(_csv_value, row) for row in rows)


def _csv_value(value: Any) -> Any:
    """As `csv_cell`, which most of a million cells need not be asked for: they are plain words."""
    if value is None:
        return ""
    plain = type(value) is str and value[:1].isalnum() and value.isascii() and value.isprintable()
    return value if plain and len(value) <= TEXT_LIMIT else csv_cell(value)


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


# These columns may wrap; any other cell of a table is one word, and is not split.
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
        "brings",
        "state",
    }
)
_GAP = 2
# How the names of columns with times end.
_OF_MOMENTS = ("_at", "_with", "_without", "since")


def write_table(rows: Rows, columns: Sequence[str], stream: TextIO) -> None:
    """A table as wide as the terminal (else 80); where words would be split, a few lines for each row."""
    from rich.console import Console

    coloured = colour_wanted(stream)
    console = Console(file=stream, highlight=False, emoji=False, color_system="auto" if coloured else None)
    texts = [[_cell_text(column, row.get(column)) for column in columns] for row in rows]
    widths = _widths(columns, texts, console.width)
    if widths is None:
        _write_stacked(columns, texts, stream, console.width)
    else:
        console.print(_table(columns, texts, widths))


def _table(columns: Sequence[str], texts: Sequence[Sequence[str]], widths: Sequence[int]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for name, width in zip(_header(columns), widths, strict=True):
        table.add_column(name, width=width, overflow="fold")
    for cells in texts:
        # Text, not str: square brackets belong to a name, and are not markup.
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _widths(columns: Sequence[str], texts: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """A width for each column at which every word stays whole; None where there is no room for that."""
    lines = [_header(columns), *texts]
    wanted = [max(_width(line[index]) for line in lines) for index in range(len(columns))]
    least = [
        max(_longest_word(line[index]) for line in lines) if column in _WRAPPED else wanted[index]
        for index, column in enumerate(columns)
    ]
    spare = room - sum(least) - _GAP * (len(columns) - 1)
    if spare < 0:
        return None
    # Columns that lack little are widened first, so that few columns wrap.
    for index in sorted(range(len(columns)), key=lambda index: wanted[index] - least[index]):
        more = min(wanted[index] - least[index], spare)
        least[index] += more
        spare -= more
    return least


def _header(columns: Sequence[str]) -> list[str]:
    return [column.replace("_", " ") for column in columns]


def _longest_word(text: str) -> int:
    return max((_width(word) for word in text.split()), default=0)


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _write_stacked(columns: Sequence[str], texts: Sequence[Sequence[str]], stream: TextIO, width: int) -> None:
    for cells in texts:
        _write_fields(dict(zip(_header(columns), cells, strict=True)), stream, width, longest=0)
        stream.write("\n")


def write_record(fields: Mapping[str, Any], stream: TextIO, indent: str = "") -> None:
    """One field per line, as wide as the terminal (else 80); empty fields are left out."""
    from rich.console import Console

    texts = {name.replace("_", " "): visible(str(value)) for name, value in fields.items() if value not in {None, ""}}
    _write_fields(texts, stream, Console(file=stream).width, longest=_LONGEST_LABEL, indent=indent)


# As wide as "requester assurance", so that records of all kinds look alike.
_LONGEST_LABEL = 19


def _write_fields(texts: Mapping[str, str], stream: TextIO, width: int, longest: int, indent: str = "") -> None:
    """A word that does not fit behind its label gets a line of its own, unsplit: ids are there to be copied."""
    filled = {name: value for name, value in texts.items() if value != "-"}
    margin = len(indent) + max([longest, *map(len, filled)]) + 1
    for name, value in filled.items():
        label = f"{indent}{name}".ljust(margin)
        if _longest_word(value) > width - margin:
            stream.write(f"{label.rstrip()}\n")
            label, rest = f"{indent}  ", f"{indent}  "
        else:
            rest = " " * margin
        lines = textwrap.wrap(value, width, initial_indent=label, subsequent_indent=rest, break_on_hyphens=False)
        stream.writelines(f"{line}\n" for line in lines)


def _cell_text(column: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    text = visible(str(value))
    # 2026-11-24T09:28:30.123Z: people read seconds.
    return text[:19].replace("T", " ") if column == "at" or column.endswith(_OF_MOMENTS) else text
