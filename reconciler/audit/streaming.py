"""Rows of a query, read as they are used: there may be more of them than fit into memory.

They are read one by one, as values, or some hundred at a time, column by column, which costs far less: what a cell is,
is then asked once for all cells of a column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, String, type_coerce
from sqlalchemy.exc import DBAPIError

from reconciler.audit.cells import texts_of_moments
from reconciler.audit.database import texts_only
from reconciler.audit.tables import UtcMillis

R = TypeVar("R")
# By column, each with as many cells as there are rows.
Columns = Sequence[Sequence[Any]]
# So many rows are in memory at a time.
_TOGETHER: Final = 500
_AS_USED: Final = {"yield_per": _TOGETHER}


class Rows(Iterator[Row[Any]]):
    """Can be gone through once, in one of the two ways."""

    def __init__(self, connection: Connection, query: Any) -> None:
        self._connection, self._query = connection, query
        self._each: Iterator[Row[Any]] | None = None

    def __next__(self) -> Row[Any]:
        if self._each is None:
            self._each = iter(self._connection.execute(self._query, execution_options=_AS_USED))
        return next(self._each)

    def by_column(self, names: Sequence[str]) -> Iterator[Columns]:
        """All of them, with the columns of these names. A time is a text, as `iso` writes it.

        Raises:
            Damaged: a cell of a column of times holds none.
        """
        selected = [self._query.selected_columns[name] for name in names]
        moments = [isinstance(column.type, UtcMillis) for column in selected]
        query = self._query.with_only_columns(*map(_as_kept, selected))
        for some in self._parts(query):
            columns = zip(*some, strict=True)
            yield [
                texts_of_moments(cells) if is_moment else cells
                for cells, is_moment in zip(columns, moments, strict=True)
            ]

    def _parts(self, query: Select[Any]) -> Iterator[Sequence[Row[Any]]]:
        read = 0
        try:
            for some in self._read(query):
                read += len(some)
                yield some
        except DBAPIError:
            # Of SQLite, a text that is none ends this way of reading; anything else is told by the other, too.
            for some in self._connection.execute(query, execution_options=_AS_USED).partitions():
                rest, read = some[read:], max(read - len(some), 0)
                if rest:
                    yield rest

    def _read(self, query: Select[Any]) -> Iterator[Sequence[Row[Any]]]:
        parts = self._connection.execute(query, execution_options=_AS_USED).partitions()
        while True:
            with texts_only(self._connection):
                some = next(parts, None)
            if some is None:
                return
            yield some


def _as_kept(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A time as the driver has it, and not read by itself; any other cell as ever."""
    return type_coerce(column, String).label(column.key) if isinstance(column.type, UtcMillis) else column


class Typed(Iterator[R]):
    """Each row of a query as a value: its columns are named as the fields. It can be gone through once."""

    def __init__(self, kind: Callable[..., R], rows: Rows) -> None:
        self._kind, self._rows = kind, rows
        self._names = tuple(field.name for field in fields(kind))  # type: ignore[arg-type]

    def __next__(self) -> R:
        row = next(self._rows)
        # Most queries have the fields in their order, and of a million rows each name would be looked up.
        return self._kind(*row) if row._fields == self._names else self._kind(**row._mapping)

    def by_column(self) -> Iterator[Columns]:
        """All rows, with a column for each field, for whoever needs no value of each."""
        return self._rows.by_column(self._names)


def typed(kind: Callable[..., R], rows: Rows) -> Typed[R]:
    """Each row as a value: its columns are named as the fields."""
    return Typed(kind, rows)
