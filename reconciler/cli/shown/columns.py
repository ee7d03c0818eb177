"""Rows some at a time, column by column: what cells are is asked once for each column of some hundred rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from json.encoder import encode_basestring_ascii
from typing import Any, Final

_TOGETHER: Final = 500
_NOTHING: Final = type(None)


def by_columns(rows: Iterable[Sequence[Any]], of_column: Callable[[Sequence[Any]], Iterable[Any]]) -> Iterator[Any]:
    """The rows, each column of some of them replaced by as many values."""
    rows = iter(rows)
    while some := list(islice(rows, _TOGETHER)):
        yield from zip(*map(of_column, zip(*some, strict=True)), strict=True)


def json_rows(fields: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Each row as an object of JSON, in ASCII, as `json.dumps` writes it."""
    members = (f"{json.dumps(name)}: ".replace("%", "%%") + "%s" for name in fields)
    form = "{" + ", ".join(members) + "}"
    return (form % row for row in by_columns(rows, _json_column))


def _json_column(column: Sequence[Any]) -> Iterable[str]:
    kinds = set(map(type, column))
    if kinds == {str}:
        return map(encode_basestring_ascii, column)
    if kinds <= {str, _NOTHING}:
        return ("null" if cell is None else encode_basestring_ascii(cell) for cell in column)
    if kinds == {int}:
        return map(int.__repr__, column)
    return map(json.dumps, column)
