"""Types of columns that believe no cell of SQLite, whose columns hold values of any kind."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Boolean, Dialect, Double
from sqlalchemy.types import TypeDecorator

from reconciler.audit.log.canonical import Damaged
from reconciler.domain.times import iso, parse_iso


class Truth(TypeDecorator[bool]):
    """True or false. SQLAlchemy's own type reads any value as one of them, so a changed one would look the same."""

    impl = Boolean
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], bool | None]:
        return _truth


def _truth(value: Any) -> bool | None:
    if value is None:
        return None
    if isinstance(value, int) and value in {0, 1}:
        return bool(value)
    raise Damaged("holds neither true nor false")


def moment_of(value: Any) -> datetime:
    """The time that a text of SQLite tells, which must be the text that we write."""
    try:
        # What we wrote needs no more than this.
        return datetime.fromisoformat(value) if _OURS(value) else _otherwise(value)
    except (TypeError, ValueError, OverflowError):
        raise Damaged("holds no time in a column of times") from None


def _otherwise(value: str) -> datetime:
    parse_iso(value)
    # The same moment in other words stands elsewhere among the others, for whoever compares texts.
    raise Damaged("holds a time that is written in another way")


# What `iso` writes; whatever reads as a time and looks so, it would write so again.
_OURS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z").fullmatch


def texts_of_moments(column: Sequence[Any]) -> Sequence[str | None]:
    """Times as a driver has them, as the texts that we write. Raises Damaged."""
    texts = [cell for cell in column if cell is not None]
    try:
        if set(map(len, texts)) == {_LENGTH} and "".join(texts).translate(_DIGITS) == _FORM * len(texts):
            # All look as we write them; that each is a day of the calendar as well costs no more than this.
            deque(map(datetime.fromisoformat, texts), maxlen=0)
            return column
    except (TypeError, ValueError):
        # Times of PostgreSQL, or one of them is none.
        pass
    return [None if cell is None else iso(cell if isinstance(cell, datetime) else moment_of(cell)) for cell in column]


_FORM: Final = "0000-00-00T00:00:00.000Z"
_LENGTH: Final = len(_FORM)
_DIGITS: Final = str.maketrans("123456789", "0" * 9)


class Real(TypeDecorator[float]):
    """A number with a fraction, the same however it is read.

    Where SQLite returns several rows that it adds, whole numbers come without their fraction; and it keeps no sign of a
    zero, which PostgreSQL does.
    """

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None else value + 0.0

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return float(value) if isinstance(value, int) else value
