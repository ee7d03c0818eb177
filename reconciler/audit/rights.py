"""What roles on PostgreSQL need, and no more: `db roles` grants it, `check` asks for the daemon's.

History is inserted column by column: what the database sets itself, the numbers of rows, cannot be chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from sqlalchemy import Table

from reconciler.audit.append_only import APPEND_ONLY
from reconciler.audit.decisions.judgement_tables import EarlierOutcomeRow
from reconciler.audit.evidence.tables import RedactionRow
from reconciler.audit.holding.tables import AcknowledgementRow
from reconciler.audit.log.tables import LogEpochRow, LogLeafRow, LogNodeRow, LogStateRow
from reconciler.audit.reader import REGISTER
from reconciler.audit.tables import Base, PauseEventRow

# People add epochs, redactions and acknowledgements, and an upgrade filled the earlier outcomes. What a daemon itself
# observes is looked up through two views.
_READ: Final = ("alembic_version", REGISTER.name, "tenures", "bypasses", *(
    row.__tablename__ for row in (EarlierOutcomeRow, LogEpochRow, RedactionRow, AcknowledgementRow)
))  # fmt: skip
_STATE: Final = LogStateRow.__tablename__
_BY_PEOPLE: Final = tuple(row.__tablename__ for row in (PauseEventRow, AcknowledgementRow, LogLeafRow, LogNodeRow))


class Right(NamedTuple):
    """A right on a table, or on some of its columns."""

    privilege: str
    table: str
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.privilege} ({', '.join(self.columns)})" if self.columns else self.privilege


def rights() -> Iterator[Right]:
    """Every right that a daemon needs, table by table."""
    for name, table in Base.metadata.tables.items():
        yield Right("SELECT", name)
        if name in _READ:
            continue
        if name == _STATE:
            # Its lock is the log's lock, and its size grows.
            yield Right("UPDATE", name, ("size",))
        elif name in APPEND_ONLY:
            yield Right("INSERT", name, _written(table))
        else:
            yield from (Right(privilege, name) for privilege in ("INSERT", "UPDATE", "DELETE"))
    yield from (Right("SELECT", name) for name in _READ if name not in Base.metadata.tables)


def operator_rights() -> Iterator[Right]:
    """What who pauses, resumes and accepts writes: rows of these, each an entry of the log. All else is read."""
    for name in _BY_PEOPLE:
        yield Right("INSERT", name, _written(Base.metadata.tables[name]))
    yield Right("UPDATE", _STATE, ("size",))


def _written(table: Table) -> tuple[str, ...]:
    """The columns that the database does not set by itself."""
    return tuple(column.name for column in table.columns if column.identity is None)
