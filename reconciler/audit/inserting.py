"""Adding many rows with one statement."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnClause,
    ColumnElement,
    Connection,
    CursorResult,
    String,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
)

from reconciler.audit.statements import insert_new
from reconciler.audit.tables import Base, db_now


def insert_many(
    connection: Connection,
    row: type[Base],
    rows: Sequence[Mapping[str, object]],
    *,
    now: str | None = None,
    only_new: bool = False,
    returning: bool = False,
) -> CursorResult[Any]:
    """Adds rows, of which there is one at least and which name the same columns.

    SQLite repeats one statement that it has prepared. To PostgreSQL the driver would send a statement for each row, or
    one whose text grows with their number: it gets an array for each column instead, and always the same text.

    Args:
        now: a column that gets the time by the database's clock.
        only_new: leaves out rows that a unique key has already.
        returning: the result has the rows that were added, in any order.
    """
    if connection.dialect.name == "postgresql":
        names = tuple(rows[0])
        table = row.__table__
        arrays = {name: _array(table.columns[name], [values[name] for values in rows]) for name in names}
        return connection.execute(_from_arrays(table, names, now, only_new, returning), arrays)
    statement: Any = insert_new(connection, row) if only_new else insert(row)
    if now is not None:
        statement = statement.values({now: db_now()})
    return connection.execute(statement.returning(*row.__table__.columns) if returning else statement, rows)


@functools.cache
def _from_arrays(table: Table, names: tuple[str, ...], now: str | None, only_new: bool, returning: bool) -> Any:
    from sqlalchemy.dialects import postgresql

    arrays: list[ColumnElement[Any]] = []
    columns: list[ColumnClause[Any]] = []
    for name in names:
        type_ = table.columns[name].type
        if isinstance(type_, String):
            # A cast to VARCHAR(36) would cut a text off where an INSERT refuses it.
            type_ = Text()
            arrays.append(cast(bindparam(name, type_=type_), postgresql.ARRAY(type_)))
        else:
            arrays.append(bindparam(name, type_=postgresql.ARRAY(type_)))
        columns.append(column(name, type_))
    values: Any = list(func.unnest(*arrays).table_valued(*columns, name="new").render_derived().columns)
    if now is not None:
        names, values = (*names, now), [*values, db_now()]
    statement = postgresql.insert(table).from_select(names, select(*values))
    if only_new:
        statement = statement.on_conflict_do_nothing()
    return statement.returning(*table.columns) if returning else statement


def _array(of: ColumnElement[Any], values: Sequence[Any]) -> Any:
    """What the driver takes for an array. Texts it would write far more slowly, while others wait for the log."""
    if not isinstance(of.type, String):
        return values
    return "{" + ",".join("NULL" if text is None else _quoted(text) for text in values) + "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
