"""What was judged again about a decision, for those who read it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from reconciler.audit.decisions.judgement_tables import ConfirmationRow, EarlierOutcomeRow, LateEffectRow
from reconciler.audit.evidence.storing import shown, stored_evidence
from reconciler.audit.tables import DecisionRow
from reconciler.domain.times import iso

Row = dict[str, Any]


def judged_again(connection: Connection, decision_id: str) -> Row:
    """`replaced_by`, and the `confirmations`, `late_effects` and `earlier_outcomes` of a decision, oldest first."""
    replaced_by = select(DecisionRow.decision_id).where(DecisionRow.replaces == decision_id)
    earlier = EarlierOutcomeRow
    return {
        "replaced_by": connection.scalar(replaced_by),
        "confirmations": _confirmations(connection, decision_id),
        "late_effects": _rows(connection, decision_id, LateEffectRow, (LateEffectRow.at, LateEffectRow.detail)),
        "earlier_outcomes": _rows(connection, decision_id, earlier, (earlier.outcome, earlier.at, earlier.detail)),
    }


def _confirmations(connection: Connection, decision_id: str) -> list[Row]:
    row = ConfirmationRow
    columns = (row.at, row.verdict, row.reason, row.policy_digest, row.engine, row.daemon, row.evidence_key)
    found = _rows(connection, decision_id, row, columns)
    evidence = stored_evidence(connection, [values["evidence_key"] for values in found])
    return [values | {"evidence": shown(evidence.get(values.pop("evidence_key")))} for values in found]


def _rows(connection: Connection, decision_id: str, row: Any, columns: tuple[Any, ...]) -> list[Row]:
    query = select(*columns).where(row.decision_id == decision_id).order_by(row.id)
    return [dict(found._mapping) | {"at": iso(found.at)} for found in connection.execute(query)]
