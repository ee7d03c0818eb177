"""Clocks that ran backwards: the numbers of the log are the order of history, and times must not fall along them.

Times are compared within a table, since rows from before the log entered it table by table. Policies are left out: they
entered it in the order of their digests.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Row, case, cast, select

from reconciler.audit.evidence_tables import RedactionRow
from reconciler.audit.log import ENTRIES
from reconciler.audit.log_tables import LogEpochRow, LogLeafRow
from reconciler.audit.tables import Base, DecisionRow, OutcomeRow, PauseEventRow
from reconciler.domain.times import duration_text, iso

# Clocks are corrected by less all the time, and hosts of one cluster differ by as much after a failover.
TOLERATED = timedelta(seconds=5)
# Of each table; a clock that was set back once is told once.
MOST_TOLD = 20
_READ_TOGETHER = 1_000

# The column with the time at which a row was added, by the database's clock.
TIMES: dict[type[Base], str] = {
    DecisionRow: "decided_at",
    OutcomeRow: "at",
    PauseEventRow: "at",
    RedactionRow: "at",
    LogEpochRow: "at",
}


def clocks_that_ran_backwards(connection: Connection, first: int = 0) -> Iterator[str]:
    """A sentence for each entry of the log whose time is more than `TOLERATED` before that of an earlier one.

    Args:
        first: the number of the first entry that is looked at.
    """
    for row, column in TIMES.items():
        told = 0
        latest: tuple[int, datetime] | None = None
        for leaf, at in _times(connection, row, column, first):
            if latest is not None and at < latest[1] - TOLERATED:
                told += 1
                if told <= MOST_TOLD:
                    yield _sentence(row, leaf, at, latest)
                # What follows is compared with the clock as it is now.
                latest = (leaf, at)
            latest = max(latest or (leaf, at), (leaf, at), key=lambda one: one[1])


def _times(connection: Connection, row: type[Base], column: str, first: int) -> Iterator[Row[int, datetime]]:
    leaf, columns = LogLeafRow, row.__table__.columns
    is_one: ColumnElement[bool] = leaf.entry == row.__tablename__
    named: ColumnElement[Any] = leaf.row_key
    if ENTRIES[row] == "id":
        # PostgreSQL may look at the key of an entry before it looks at its table, and not every key is a number.
        named = case((is_one, cast(leaf.row_key, BigInteger)))
    query = select(leaf.leaf, columns[column]).where(leaf.leaf >= first, is_one, columns[ENTRIES[row]] == named)
    streamed = connection.execution_options(stream_results=True).execute(query.order_by(leaf.leaf))
    for part in streamed.partitions(_READ_TOGETHER):
        yield from part


def _sentence(row: type[Base], leaf: int, at: datetime, before: tuple[int, datetime]) -> str:
    back = duration_text(timedelta(seconds=round((before[1] - at).total_seconds())))
    return (
        f"the clock ran backwards by {back}: entry {leaf} of the log ({row.__tablename__}) is of {iso(at)}, "
        f"entry {before[0]} before it of {iso(before[1])}"
    )
