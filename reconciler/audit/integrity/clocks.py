"""Clocks that ran backwards: the numbers of the log are the order of history, and times must not fall along them.

Times are compared within a table, since rows from before the log entered it table by table. Policies are left out: they
entered it in the order of their digests; and so are the outcomes that an upgrade moved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection

from reconciler.audit.decisions.judgement_tables import EarlierOutcomeRow
from reconciler.audit.log.moments import MOMENTS, moments_of
from reconciler.audit.log.reading import leaves_from
from reconciler.audit.tables import PolicyVersionRow
from reconciler.domain.times import duration_text, iso

# Clocks are corrected by less all the time, and hosts of one cluster differ by as much after a failover.
TOLERATED = timedelta(seconds=5)
# Of each table; a clock that was set back once is told once.
MOST_TOLD = 20

_COMPARED = {row.__tablename__ for row in MOMENTS} - {
    PolicyVersionRow.__tablename__,
    EarlierOutcomeRow.__tablename__,
}


def clocks_that_ran_backwards(connection: Connection, first: int = 0) -> Iterator[str]:
    """A sentence for each entry of the log whose time is more than `TOLERATED` before that of an earlier one.

    Args:
        first: the number of the first entry that is looked at.
    """
    told: Counter[str] = Counter()
    latest: dict[str, tuple[int, datetime]] = {}
    for leaves in leaves_from(connection, first):
        moments = moments_of(connection, leaves)
        for leaf in leaves:
            at, table = moments.get(leaf.leaf), leaf.entry
            if at is None or table not in _COMPARED:
                continue
            before = latest.get(table, (leaf.leaf, at))
            if at < before[1] - TOLERATED:
                told[table] += 1
                if told[table] <= MOST_TOLD:
                    yield _sentence(table, leaf.leaf, at, before)
                # What follows is compared with the clock as it is now.
                latest[table] = (leaf.leaf, at)
            elif at >= before[1]:
                latest[table] = (leaf.leaf, at)


def _sentence(table: str, leaf: int, at: datetime, before: tuple[int, datetime]) -> str:
    back = duration_text(timedelta(seconds=round((before[1] - at).total_seconds())))
    return (
        f"the clock ran backwards by {back}: entry {leaf} of the log ({table}) is of {iso(at)}, "
        f"entry {before[0]} before it of {iso(before[1])}"
    )
