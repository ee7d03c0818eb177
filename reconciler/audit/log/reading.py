"""Rows of history as entries of the log, read in parts: for taking in what is older than the log, and for verifying."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, String, cast, func, not_, or_, select

from reconciler.audit.evidence.covering import covered_of
from reconciler.audit.evidence.tables import EvidenceRow
from reconciler.audit.log.appending import ENTRIES, REST_ON_EVIDENCE, Entry, entry_of, entry_of_decision
from reconciler.audit.log.canonical import Columns, Damaged
from reconciler.audit.log.tables import LogLeafRow
from reconciler.audit.tables import Base, DecisionCheckRow, DecisionRow

T = TypeVar("T")

TABLES: dict[str, type[Base]] = {row.__tablename__: row for row in ENTRIES}
# The column in whose order a table's rows from before the log are taken in.
_ORDER = {row: "digest" if name == "digest" else "id" for row, name in ENTRIES.items()}

# One less than 64 bits hold: there is a number behind it.
HIGHEST_LEAF: Final = 2**63 - 2
_READ_TOGETHER = 1000
# All numbers of as many digits fit into 64 bits.
_MOST_DIGITS = 18


def rows_in_history(connection: Connection) -> int:
    """How many rows should be in the log."""
    return sum(connection.scalar(select(func.count()).select_from(row.__table__)) or 0 for row in ENTRIES)


def entries_of(connection: Connection, table: str, row_keys: Collection[str]) -> dict[str, Entry | None]:
    """The entries of these rows, by key; a key whose row is gone is missing, and that of a damaged one has None."""
    row = TABLES[table]
    key = row.__table__.columns[ENTRIES[row]]

    def read(some: Sequence[str]) -> dict[str, Entry]:
        query = select(row.__table__).where(key.in_([cell_of(row, row_key) for row_key in some]))
        return {entry.row_key: entry for entry in _entries(connection, row, query)}

    return damaged_apart(list(row_keys), read)


def damaged_apart(keys: Sequence[str], read: Callable[[Sequence[str]], Mapping[str, T]]) -> dict[str, T | None]:
    """What is read, by key, with None for a row that cannot have been written so: found by halving the keys."""
    try:
        return dict(read(keys))
    except Damaged:
        if len(keys) == 1:
            return {keys[0]: None}
    half = len(keys) // 2
    return damaged_apart(keys[:half], read) | damaged_apart(keys[half:], read)


def leaves_from(connection: Connection, first: int, until: int | None = None) -> Iterator[list[Row[Any]]]:
    """The rows of `log_leaves` from the entry with this number on, in parts. `until`: before this one."""
    last, highest = first - 1, HIGHEST_LEAF if until is None else until - 1
    while True:
        # SQLite orders texts and bytes behind all numbers: an entry with such a number has none.
        numbered = LogLeafRow.leaf.between(last + 1, highest)
        query = select(LogLeafRow.__table__).where(numbered).order_by(LogLeafRow.leaf)
        leaves = list(connection.execute(query.limit(_READ_TOGETHER)).all())
        if not leaves:
            return
        yield leaves
        last = leaves[-1].leaf


def end_without_gap(connection: Connection, first: int) -> int | None:
    """The number behind the last entry, where all from this one on have theirs; None where any is missing."""
    leaf = LogLeafRow.leaf
    query = select(func.count(leaf), func.min(leaf), func.max(leaf)).where(leaf.between(first, HIGHEST_LEAF))
    many, lowest, highest = connection.execute(query).one()
    return first + many if many and (lowest, highest) == (first, first + many - 1) else None


def leaves_without_number(connection: Connection, limit: int) -> list[Row[Any]]:
    """Rows of `log_leaves` that `leaves_from` never reads: each would make a row that nobody logged look logged."""
    leaf = LogLeafRow.leaf
    # SQLite keeps texts and bytes in any column, and orders them behind all numbers.
    outside = (leaf < 0, leaf > HIGHEST_LEAF)
    return [
        row for where in outside for row in connection.execute(select(LogLeafRow.__table__).where(where).limit(limit))
    ]


def next_entries(connection: Connection, row: type[Base], after: str | None, limit: int) -> list[Entry]:
    """The entries of the next rows of a table, in its order.

    Args:
        after: the key of the row behind which they begin; None: at the first row.
    """
    return _entries(connection, row, _behind(select(row.__table__), row, after, limit))


def next_keys(connection: Connection, row: type[Base], after: str | None, limit: int) -> list[str]:
    """The keys of the rows that `next_entries` reads."""
    key = row.__table__.columns[ENTRIES[row]]
    return [str(found) for found in connection.scalars(_behind(select(key), row, after, limit))]


def _behind(query: Select[Any], row: type[Base], after: str | None, limit: int) -> Select[Any]:
    columns = row.__table__.columns
    order, key = columns[_ORDER[row]], columns[ENTRIES[row]]
    query = query.order_by(order).limit(limit)
    if after is None:
        return query
    return query.where(order > select(order).where(key == cell_of(row, after)).scalar_subquery())


def cell_of(row: type[Base], row_key: str) -> str | int:
    """A key as its column has it; one that no column can have, since somebody forged it, names no row."""
    if ENTRIES[row] != "id":
        return row_key
    is_number = isinstance(row_key, str) and row_key.isdecimal() and len(row_key) <= _MOST_DIGITS
    return int(row_key) if is_number else -1


def _entries(connection: Connection, row: type[Base], query: Select[Any]) -> list[Entry]:
    # As a whole: row by row costs a third more.
    found = [stored._asdict() for stored in connection.execute(query).all()]
    if row not in REST_ON_EVIDENCE:
        return [entry_of(row, stored) for stored in found]
    keys = [stored[REST_ON_EVIDENCE[row]] for stored in found]
    # None at all where the evidence is gone or damaged, so that the entry differs from the one in the log.
    evidence = covered_of(connection, keys)
    covered = [evidence.get(key, ()) for key in keys]
    if row is not DecisionRow:
        return [entry_of(row, stored, of_it) for stored, of_it in zip(found, covered, strict=True)]
    checks = _checks(connection, keys)
    return [
        entry_of_decision(stored, checks[id], of_it) for stored, id, of_it in zip(found, keys, covered, strict=True)
    ]


def _checks(connection: Connection, decision_ids: Sequence[str]) -> dict[str, list[Columns]]:
    checks: dict[str, list[Columns]] = defaultdict(list)
    query = select(DecisionCheckRow.__table__).where(DecisionCheckRow.decision_id.in_(decision_ids))
    for check in connection.execute(query).all():
        checks[check.decision_id].append(check._asdict())
    return checks


def keys_not_in_log(connection: Connection, row: type[Base], limit: int) -> list[str]:
    """Keys of rows that are in no entry of the log."""
    key = row.__table__.columns[ENTRIES[row]]
    known = select(LogLeafRow.row_key).where(LogLeafRow.entry == row.__tablename__, LogLeafRow.row_key == _as_text(key))
    return [str(found) for found in connection.scalars(select(key).where(~known.exists()).limit(limit))]


def evidence_of_nobody(connection: Connection, limit: int) -> list[str]:
    """Keys of evidence that no row rests on."""
    key = EvidenceRow.evidence_key
    owners = [row.__table__.columns[name] for row, name in REST_ON_EVIDENCE.items()]
    owned = [select(owner).where(owner == key).exists() for owner in owners]
    return list(connection.scalars(select(key).where(not_(or_(*owned))).limit(limit)))


def _as_text(key: Column[Any]) -> ColumnElement[str]:
    return cast(key, String)
