"""Requests judged again: their last decisions, what confirmed an act, and what took effect late."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, literal, select, update

from reconciler.audit.decisions.claims import decision_in, leaves_of
from reconciler.audit.decisions.judgement_tables import ConfirmationRow, LateEffectRow, WatchedActRow
from reconciler.audit.inserting import insert_many
from reconciler.audit.log.appending import Recording
from reconciler.audit.statements import Served, as_rows, chunks
from reconciler.audit.tables import DecisionCheckRow, DecisionRow, OutcomeRow, PendingActRow, db_now, now_in
from reconciler.domain.decision import Decision, OutcomeKind
from reconciler.domain.judgements import Confirmation, Findings, LastDecision
from reconciler.domain.text import visible
from reconciler.domain.verdict import VerdictKind

_FIRST_LOOK = timedelta(minutes=1)
_LONGEST_BETWEEN_LOOKS = timedelta(hours=1)
_WATCHED_FOR = timedelta(days=1)
_LOOKED_AT_TOGETHER = 10


# --- last decisions ----------------------------------------------------------------------------------------------


def last_decisions(connection: Connection, keys: Collection[str]) -> dict[str, LastDecision]:
    """As `ports.audit.Decisions.last_decisions`: an index is probed once for each request, however often judged."""
    found: dict[str, LastDecision] = {}
    for chunk in chunks(keys):
        ids = [id for id in connection.scalars(_last_ids(connection, chunk)) if id is not None]
        for row in connection.execute(_LAST.where(DecisionRow.decision_id.in_(ids))) if ids else []:
            found[row.request_key] = _last(row)
    return found


def _last_ids(connection: Connection, keys: Sequence[str]) -> Any:
    asked = as_rows(connection, keys)
    last = (
        select(DecisionRow.decision_id)
        .where(DecisionRow.request_key == asked.c.value)
        .order_by(DecisionRow.judgement.desc())
        .limit(1)
    )
    return select(last.correlate(asked).scalar_subquery()).select_from(asked)


_LAST: Any = select(
    DecisionRow.request_key,
    DecisionRow.decision_id,
    DecisionRow.judgement,
    DecisionRow.verdict,
    DecisionRow.acts,
    DecisionRow.policy_digest,
    DecisionRow.decided_at,
    DecisionRow.replaces,
    OutcomeRow.outcome,
    OutcomeRow.at.label("ended_at"),
).outerjoin(OutcomeRow.__table__, OutcomeRow.decision_id == DecisionRow.decision_id)


def _last(row: Row[Any]) -> LastDecision:
    return LastDecision(
        row.decision_id,
        row.judgement,
        VerdictKind(row.verdict),
        row.acts,
        row.policy_digest,
        row.decided_at,
        row.replaces,
        None if row.outcome is None else OutcomeKind(row.outcome),
        row.ended_at,
    )


def findings(connection: Connection, decision_ids: Collection[str]) -> dict[str, Findings]:
    found: dict[str, set[tuple[str, str, str, str]]] = defaultdict(set)
    check = DecisionCheckRow
    columns = select(check.decision_id, check.rule, check.check_name, check.result, check.code)
    for chunk in chunks(decision_ids):
        for row in connection.execute(columns.where(check.decision_id.in_(chunk), check.role.is_(None))):
            found[row.decision_id].add((row.rule, row.check_name, row.result, row.code))
    return {id: frozenset(found[id]) for id in decision_ids}


# --- confirmations -----------------------------------------------------------------------------------------------


def add_confirmation(recording: Recording, decision_id: str, confirmation: Confirmation, daemon: str) -> None:
    row = {
        "decision_id": decision_id,
        "at": db_now(),
        "verdict": str(confirmation.verdict.kind),
        "reason": confirmation.verdict.reason,
        "policy_digest": confirmation.policy_digest,
        "evidence_key": str(uuid.uuid4()),
        "engine": confirmation.engine,
        "daemon": daemon,
    }
    recording.add(ConfirmationRow, row, confirmation.evidence.to_json())


# --- late effects ------------------------------------------------------------------------------------------------


def watch(connection: Connection, decision_ids: Sequence[str]) -> None:
    """These decisions have ended, and the registry may show them later."""
    if decision_ids:
        now = now_in(connection)
        until = {"looks": 0, "next_look_at": now + _FIRST_LOOK, "watched_until": now + _WATCHED_FOR}
        insert_many(connection, WatchedActRow, [{"decision_id": id} | until for id in decision_ids])


def watched(connection: Connection, served: Served, everything: bool) -> list[Decision]:
    """Those that are due; while a successor is to be carried out its predecessor is looked at in each cycle."""
    row = WatchedActRow
    if connection.scalar(select(row.decision_id).limit(1)) is None:
        # As almost always: even a plan for the statement below costs a block of each index that it might use.
        return []
    successor = DecisionRow.__table__.alias("successor")
    succeeded = exists().where(
        successor.c.replaces == row.decision_id, PendingActRow.decision_id == successor.c.decision_id
    )
    due = literal(True) if everything else (row.next_look_at <= now_in(connection)) | succeeded
    query = (
        select(DecisionRow.__table__)
        # The empty text: each watched act finds its decision, as in `decision_of_pending`.
        .join(row.__table__, DecisionRow.decision_id == row.decision_id.op("||")(""))
        .where(served.among(DecisionRow), due)
        .order_by(row.next_look_at)
        .limit(_LOOKED_AT_TOGETHER)
    )
    rows = connection.execute(query).all()
    leaves = leaves_of(connection, [row.decision_id for row in rows])
    return [decision_in(row, leaves.get(row.decision_id)) for row in rows]


def looked_at(connection: Connection, decision_id: str) -> None:
    row, now = WatchedActRow, now_in(connection)
    mine = row.decision_id == decision_id
    found = connection.execute(select(row.looks, row.watched_until).where(mine)).one_or_none()
    if found is None:
        return
    if found.watched_until <= now:
        connection.execute(delete(row).where(mine))
        return
    wait = min(_FIRST_LOOK * float(2 ** min(found.looks + 1, 12)), _LONGEST_BETWEEN_LOOKS)
    connection.execute(update(row).where(mine).values(looks=row.looks + 1, next_look_at=now + wait))


def note_late_effect(recording: Recording, decision: Decision, detail: str) -> bool:
    """As `ports.audit.Watches.note_late_effect`. Its successor, if one is to be carried out, is due at once."""
    connection = recording.connection
    if _is_explained(connection, decision):
        looked_at(connection, decision.decision_id)
        return False
    connection.execute(delete(WatchedActRow).where(WatchedActRow.decision_id == decision.decision_id))
    values = {"decision_id": decision.decision_id, "at": db_now(), "detail": visible(detail)}
    if recording.add_if_new(LateEffectRow, values) is None:
        return False
    successors = select(DecisionRow.decision_id).where(DecisionRow.request_key == decision.request.key)
    due = update(PendingActRow).where(PendingActRow.decision_id.in_(successors))
    connection.execute(due.values(next_attempt_at=db_now()))
    return True


def _is_explained(connection: Connection, decision: Decision) -> bool:
    """Whether a later decision of ours may have done what is shown: a move by any approval, an end by the request's."""
    request, later = decision.request, DecisionRow
    mine = DecisionRow.__table__.alias("mine")
    my_id = select(mine.c.id).where(mine.c.decision_id == decision.decision_id).scalar_subquery()
    alike = later.request_key == request.key
    if decision.verdict is VerdictKind.APPROVE:
        place = (later.model == request.model) & (later.version == request.version)
        alike = place & (later.target == str(request.target)) & (later.verdict == "approve")
    done = OutcomeRow.outcome.in_(["applied", "unattributed"])
    query = (
        select(later.decision_id)
        .outerjoin(OutcomeRow.__table__, OutcomeRow.decision_id == later.decision_id)
        .outerjoin(PendingActRow.__table__, PendingActRow.decision_id == later.decision_id)
        .where(alike, later.acts, later.id > my_id, done | PendingActRow.answer_by.is_not(None))
    )
    return connection.scalar(query.limit(1)) is not None


def overtaken(connection: Connection, decision: Decision) -> bool:
    """As `ports.audit.Watches.overtaken`. Asks the database only where there is an earlier decision."""
    if decision.replaces is None:
        return False
    earlier = (
        select(LateEffectRow.id)
        .join(DecisionRow.__table__, DecisionRow.decision_id == LateEffectRow.decision_id)
        .where(DecisionRow.request_key == decision.request.key, LateEffectRow.at > decision.decided_at)
    )
    return connection.scalar(earlier.limit(1)) is not None
