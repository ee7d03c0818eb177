"""The newest part of history, found from its end by indexes: what is older is not read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from reconciler.audit.log.appending import ENTRIES
from reconciler.audit.log.moments import moments_in, moments_of
from reconciler.audit.log.reading import HIGHEST_LEAF, keys_not_in_log
from reconciler.audit.log.tables import LogLeafRow
from reconciler.audit.tables import Base, DecisionRow

# Rows are read from the end in parts that grow, until a whole part is older: one clock that was wrong ends nothing.
_FIRST_PART, _LARGEST_PART = 20, 500


def _parts() -> Iterator[int]:
    size = _FIRST_PART
    while True:
        yield size
        size = min(size * 2, _LARGEST_PART)


# --- entries of the log --------------------------------------------------------------------------------------


def first_entry_since(connection: Connection, since: datetime) -> int:
    """The number of the first entry whose row is not older.

    An entry whose row is gone counts as new. Rows from before the log entered it table by table, decisions before what
    became of them: that is why they are looked for by their own times too.
    """
    last = connection.scalar(select(func.max(LogLeafRow.leaf)).where(LogLeafRow.leaf <= HIGHEST_LEAF))
    before = 0 if last is None else last + 1
    first = min(_entry_of_first_decision(connection, since, before), before)
    for size in _parts():
        leaves = _entries_before(connection, before, size)
        new = _not_older(connection, leaves, since)
        if not new:
            return first
        first, before = min(first, *new), leaves[-1].leaf
    raise AssertionError("the parts never end")


def _entry_of_first_decision(connection: Connection, since: datetime, otherwise: int) -> int:
    row, leaf = DecisionRow, LogLeafRow
    earliest = select(row.decision_id).where(row.decided_at >= since).order_by(row.decided_at).limit(1)
    entry = select(leaf.leaf).where(leaf.entry == row.__tablename__, leaf.row_key == earliest.scalar_subquery())
    found = connection.scalar(entry)
    return otherwise if found is None else int(found)


def _entries_before(connection: Connection, before: int, limit: int) -> Sequence[Row[Any]]:
    leaf = LogLeafRow
    query: Any = select(leaf.leaf, leaf.entry, leaf.row_key).where(leaf.leaf < before).order_by(leaf.leaf.desc())
    return connection.execute(query.limit(limit)).all()


def _not_older(connection: Connection, leaves: Sequence[Row[Any]], since: datetime) -> list[int]:
    moments = moments_of(connection, leaves)
    return [leaf.leaf for leaf in leaves if moments.get(leaf.leaf, since) >= since]


# --- rows ----------------------------------------------------------------------------------------------------


def new_keys_not_in_log(connection: Connection, row: type[Base], since: datetime, limit: int) -> list[str]:
    """As `keys_not_in_log`, of rows that are not older. Of a table that is not in order, which is small, of all."""
    if "id" not in row.__table__.columns:
        return keys_not_in_log(connection, row, limit)
    missing: list[str] = []
    before: int | None = None
    for size in _parts():
        rows = _rows_before(connection, row, before, size)
        keys = [str(found.key) for found in rows]
        missing += _unknown(connection, row, keys)
        moments = moments_in(connection, row, keys) if keys else {}
        if len(missing) >= limit or not any(moments.get(key, since) >= since for key in keys):
            break
        before = rows[-1].id
    return missing[:limit]


def _rows_before(connection: Connection, row: type[Base], before: int | None, limit: int) -> Sequence[Row[Any]]:
    columns = row.__table__.columns
    query: Any = select(columns["id"], columns[ENTRIES[row]].label("key"))
    if before is not None:
        query = query.where(columns["id"] < before)
    return connection.execute(query.order_by(columns["id"].desc()).limit(limit)).all()


def _unknown(connection: Connection, row: type[Base], keys: Sequence[str]) -> list[str]:
    leaf = LogLeafRow
    query = select(leaf.row_key).where(leaf.entry == row.__tablename__, leaf.row_key.in_(keys))
    known = set(connection.scalars(query))
    return [key for key in keys if key not in known]
