"""Rows some hundred at a time, column by column: what cells are is asked once for each column of a part.

A part is a list of columns, each with as many cells as there are rows in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from reconciler.domain.text import TEXT_LIMIT, visible
from reconciler.domain.times import iso

Part = Sequence[Sequence[Any]]
_TOGETHER: Final = 500
_NOTHING: Final = type(None)


def for_machines(value: Any) -> Any:
    """What a cell or a fact is to CSV and JSON, which have neither times nor bytes."""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, bytes):
        # What SQLite keeps as text, and is none.
        return visible(value.decode("utf-8", "replace"))
    return list(value) if isinstance(value, tuple) else value


def parts_of(rows: Iterable[Sequence[Any]]) -> Iterator[Part]:
    """Rows that are there one by one, in parts."""
    rows = iter(rows)
    while some := list(islice(rows, _TOGETHER)):
        yield list(zip(*some, strict=True))


def rows_of(part: Part) -> Iterator[tuple[Any, ...]]:
    return zip(*(map(for_machines, cells) for cells in part), strict=True)


def json_rows(fields: Sequence[str], part: Part) -> list[str]:
    """Each row as an object of JSON, in ASCII, as `json.dumps` writes it."""
    members, texts = [], []
    for name, cells in zip(fields, part, strict=True):
        member = f"{json.dumps(name)}: ".replace("%", "%%")
        if _are_one(cells):
            # Such as the registry: it is written into the form of them all.
            members.append(member + json.dumps(cells[0]).replace("%", "%%"))
        else:
            members.append(f"{member}%s")
            texts.append(_json_texts(cells))
    form, many = f"{{{', '.join(members)}}}", len(part[0]) if part else 0
    return [form % row for row in zip(*texts, strict=True)] if texts else [form % ()] * many


def _are_one(cells: Sequence[Any]) -> bool:
    """Whether all are the same text, or nothing. Of numbers 1 and True are equal, and not the same."""
    first = cells[0]
    is_plain = first is None or first.__class__ is str
    return is_plain and first == cells[-1] and cells.count(first) == len(cells)


def _json_texts(cells: Sequence[Any]) -> Sequence[str]:
    kinds = set(map(type, cells))
    if kinds == {str}:
        return [*map(encode_basestring_ascii, cells)]
    if kinds <= {str, _NOTHING}:
        return ["null" if cell is None else encode_basestring_ascii(cell) for cell in cells]
    return [int.__repr__(cell) if cell.__class__ is int else json.dumps(for_machines(cell)) for cell in cells]


def csv_rows(part: Part, cell: Callable[[Any], str]) -> Iterator[Sequence[str]]:
    """The texts of each row: by `cell`, except for plain words, which most of a million are."""
    return zip(*(_csv_texts(cells, cell) for cells in part), strict=True)


def _csv_texts(cells: Sequence[Any], cell: Callable[[Any], str]) -> Sequence[str]:
    if _are_one(cells):
        return [cell(cells[0])] * len(cells)
    if set(map(type, cells)) == {str} and _are_plain(cells):
        return cells
    return [cell(for_machines(value)) for value in cells]


def _are_plain(texts: Sequence[str]) -> bool:
    """Whether nothing in them is hidden, executed by a spreadsheet, or too long to be shown."""
    together, begins = "".join(texts), "".join([text[:1] for text in texts])
    is_plain = together.isascii() and together.isprintable() and begins.isalnum()
    return is_plain and max(map(len, texts)) <= TEXT_LIMIT
