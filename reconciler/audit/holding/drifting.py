"""What changed of holders after they were approved: what their decisions rest on, and what is on record since."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from reconciler.audit.evidence.storing import Stored, stored_evidence
from reconciler.audit.holding.tables import AttributionRow, DriftRow
from reconciler.audit.log.appending import Recording
from reconciler.ports.observations import Approved, Drift


def approved(connection: Connection, tenure_ids: Sequence[int]) -> list[Approved]:
    """As `ports.observations.Observations.approved`."""
    row = AttributionRow
    query: Any = select(row.observation_id, row.decision_id).where(
        row.observation_id.in_(tenure_ids), row.decision_id.is_not(None)
    )
    decisions = {found.observation_id: found.decision_id for found in connection.execute(query)}
    evidence, seen = stored_evidence(connection, set(decisions.values())), _seen(connection, list(decisions))
    return [
        Approved(tenure, decision, stored.document(), seen[tenure])
        for tenure, decision in sorted(decisions.items())
        if isinstance(stored := evidence.get(decision), Stored)
    ]


def _seen(connection: Connection, tenure_ids: Sequence[int]) -> dict[int, dict[str, str | None]]:
    """The last row of each field, by tenure."""
    row, seen = DriftRow, defaultdict[int, dict[str, str | None]](dict)
    last: Any = select(func.max(row.id)).where(row.tenure_id.in_(tenure_ids)).group_by(row.tenure_id, row.field)
    query: Any = select(row.tenure_id, row.field, row.found).where(row.id.in_(last))
    for found in connection.execute(query):
        seen[found.tenure_id][found.field] = found.found
    return seen


def record(recording: Recording, drifts: Sequence[Drift]) -> None:
    rows = [{"tenure_id": one.tenure_id, "decision_id": one.decision_id, **one.change._asdict()} for one in drifts]
    recording.add_many(DriftRow, rows)
