"""Types of columns that believe no cell of SQLite, whose columns hold values of any kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Boolean, Dialect
from sqlalchemy.types import TypeDecorator

from reconciler.audit.canonical import Damaged


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
