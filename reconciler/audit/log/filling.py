"""Taking rows from before the log into it: in parts, each committed, so that an interruption loses one part at most."""

from __future__ import annotations

from collections.abc import Callable
from itertools import dropwhile

from sqlalchemy import Connection, Engine, select, update

from reconciler.audit.evidence import moving
from reconciler.audit.log.appending import ENTRIES, Entry, append, locked
from reconciler.audit.log.reading import TABLES, next_entries, next_keys, rows_in_history
from reconciler.audit.log.tables import LogLeafRow, LogStateRow
from reconciler.audit.tables import Base, DecisionRow

TAKEN_IN_TOGETHER = 2_000
# Decisions whose evidence has to be moved: about 8 kB each, to be compressed and hashed within the transaction.
MOVED_TOGETHER = 40

# Is told how many rows are in the log, and how many there are.
Progress = Callable[[int, int], None]


def unseen(done: int, of: int) -> None:
    """Shows no progress."""


def is_complete(connection: Connection) -> bool:
    return connection.scalar(select(LogStateRow.complete)) is True


def take_in(engine: Engine, progress: Progress = unseen) -> None:
    """Takes in what is not in the log yet. Nothing else is written meanwhile: writers refuse an incomplete log."""
    with engine.begin() as connection:
        if is_complete(connection):
            return
        rows = rows_in_history(connection)
        size: int | None = connection.scalar(select(LogStateRow.size))
    while size is not None:
        progress(size, rows)
        with engine.begin() as connection:
            size = _take_in_part(connection)
    progress(rows, rows)


def _take_in_part(connection: Connection) -> int | None:
    """Takes in the next rows, and returns the size of the log; None once it is complete."""
    state = locked(connection)
    if state.complete:
        return None
    for row, after in _left(connection, state.size):
        entries = _next(connection, row, after)
        if entries:
            append(connection, state.size, entries)
            return state.size + len(entries)
    moving.drop_column(connection)
    connection.execute(update(LogStateRow).values(complete=True))
    return None


def _next(connection: Connection, row: type[Base], after: str | None) -> list[Entry]:
    """The entries of the next rows; where these are decisions, their evidence lies in its table then."""
    if row is not DecisionRow or not moving.is_left(connection):
        return next_entries(connection, row, after, TAKEN_IN_TOGETHER)
    together = min(MOVED_TOGETHER, TAKEN_IN_TOGETHER)
    moving.move(connection, next_keys(connection, row, after, together))
    return next_entries(connection, row, after, together)


def _left(connection: Connection, size: int) -> list[tuple[type[Base], str | None]]:
    """The tables that are not taken in, the first from behind the row with this key: tables are taken in in turn."""
    last = connection.execute(select(LogLeafRow.entry, LogLeafRow.row_key).where(LogLeafRow.leaf == size - 1))
    found = last.one_or_none()
    if found is None:
        return [(row, None) for row in ENTRIES]
    begun = TABLES[found.entry]
    return [(row, found.row_key if row is begun else None) for row in dropwhile(lambda row: row is not begun, ENTRIES)]
