"""When the rows of history were added, by their entries in the log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from reconciler.audit.decisions.judgement_tables import ConfirmationRow, EarlierOutcomeRow, LateEffectRow
from reconciler.audit.evidence.tables import RedactionRow
from reconciler.audit.holding.tables import (
    AcknowledgementRow,
    AttributionRow,
    DriftRow,
    ObservationRow,
    WatchedScopeRow,
)
from reconciler.audit.log.appending import ENTRIES
from reconciler.audit.log.reading import TABLES, cell_of, damaged_apart
from reconciler.audit.log.tables import LogEpochRow
from reconciler.audit.requests.abstention_tables import AbstentionRow
from reconciler.audit.requests.resolution_tables import ResolutionRow
from reconciler.audit.running.tables import RunningStateRow
from reconciler.audit.tables import Base, DecisionRow, OutcomeRow, PauseEventRow, PolicyVersionRow

# The column with the time at which a row was added, by the database's clock.
MOMENTS: Mapping[type[Base], str] = {
    PolicyVersionRow: "first_used_at",
    DecisionRow: "decided_at",
    OutcomeRow: "at",
    EarlierOutcomeRow: "at",
    ConfirmationRow: "at",
    LateEffectRow: "at",
    PauseEventRow: "at",
    RunningStateRow: "at",
    AbstentionRow: "at",
    ResolutionRow: "at",
    ObservationRow: "at",
    AttributionRow: "at",
    AcknowledgementRow: "at",
    DriftRow: "at",
    WatchedScopeRow: "at",
    RedactionRow: "at",
    LogEpochRow: "at",
}


def moments_of(connection: Connection, leaves: Iterable[Row[Any]]) -> dict[int, datetime]:
    """When the rows of entries were added, by the numbers of the entries. Of a row that is gone nothing is known."""
    numbers: dict[str, dict[str, int]] = defaultdict(dict)
    for leaf in leaves:
        numbers[leaf.entry][leaf.row_key] = leaf.leaf
    return {
        number[key]: at
        for table, number in numbers.items()
        if table in TABLES
        for key, at in moments_in(connection, TABLES[table], list(number)).items()
    }


def moments_in(connection: Connection, row: type[Base], keys: Sequence[str]) -> dict[str, datetime]:
    """When these rows of a table were added, by key; what is gone, or no time, is missing."""
    columns = row.__table__.columns
    key = columns[ENTRIES[row]]

    def read(some: Sequence[str]) -> dict[str, datetime]:
        query = select(key, columns[MOMENTS[row]]).where(key.in_([cell_of(row, one) for one in some]))
        return {str(found): at for found, at in connection.execute(query)}

    return {found: at for found, at in damaged_apart(keys, read).items() if at is not None}
