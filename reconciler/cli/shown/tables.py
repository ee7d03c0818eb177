"""Tables and records for people, as wide as their terminal; a terminal executes nothing in them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from reconciler.cli.shown.terminal import colour_wanted
from reconciler.domain.text import visible

if TYPE_CHECKING:
    from rich.table import Table

Rows = Sequence[Mapping[str, Any]]

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
    texts = [[cell_text(column, row.get(column)) for column in columns] for row in rows]
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


def write_plain(texts: Sequence[Sequence[str]], stream: TextIO) -> None:
    """A line for each row, its cells below those of the row before; a line is as long as it must be."""
    widths = [max(map(_width, cells)) for cells in zip(*texts, strict=True)]
    for cells in texts:
        padded = (cell + " " * (width - _width(cell) + _GAP) for cell, width in zip(cells, widths, strict=True))
        stream.write("".join(padded).rstrip() + "\n")


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


def cell_text(column: str, value: Any) -> str:
    """What stands in a table's cell."""
    if value is None or value == "":
        return "-"
    text = visible(str(value))
    # 2026-11-24T09:28:30.123Z: people read seconds.
    return text[:19].replace("T", " ") if column == "at" or column.endswith(_OF_MOMENTS) else text
