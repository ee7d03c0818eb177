"""The append-only rows: policies, decisions with their checks, and outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from reconciler.audit.evidence.storing import salted
from reconciler.audit.log.appending import AddedDecision, DecisionToAdd, Recording
from reconciler.audit.rows import NewCheck, NewDecision, RequestColumns
from reconciler.audit.tables import OutcomeRow, PolicyVersionRow, db_now
from reconciler.domain.decision import Decision, Judged, Mode, Outcome
from reconciler.domain.text import visible
from reconciler.failpoints import failpoint

# Why nothing was done about a decision.
NOT_ACTED = {
    Mode.OBSERVE: "mode observe: nothing was done",
    Mode.APPROVE_ONLY: "mode approve-only: left for a person",
}


def knows_policy(connection: Connection, digest: str) -> bool:
    return connection.scalar(select(PolicyVersionRow.digest).where(PolicyVersionRow.digest == digest)) is not None


def keep_policy(recording: Recording, digest: str, text: str) -> None:
    """Stores the policy's text, once per digest."""
    values = {"digest": digest, "text": _storable(text), "first_used_at": db_now()}
    recording.add_if_new(PolicyVersionRow, values)


def _storable(text: str) -> str:
    """Text of our own users, without NUL, which PostgreSQL refuses, and lone surrogates, which UTF-8 refuses."""
    return text.replace("\0", "\\u0000").encode("utf-8", "replace").decode()


class Prepared(NamedTuple):
    """A decision that is ready to be stored: what takes time is done before the transaction, which others wait for."""

    judged: Judged
    new: NewDecision
    to_add: DecisionToAdd


def prepared(judged: Judged, daemon: str) -> Prepared:
    new = NewDecision.of(judged, daemon)
    values = RequestColumns.of(judged.request)._asdict() | new._asdict()
    checks = [NewCheck.of(new.decision_id, at, check)._asdict() for at, check in enumerate(judged.verdict.checks)]
    return Prepared(judged, new, DecisionToAdd(values, checks, salted(judged.evidence.to_json())))


def add_decisions(recording: Recording, ready: Sequence[Prepared]) -> list[Decision]:
    """Inserts decisions with their checks. What another daemon decided first, or again, is left out."""
    added = recording.add_decisions([one.to_add for one in ready])
    failpoint("decision inserted")
    return [_decision(one.new, one.judged, added[one.new.decision_id]) for one in ready if one.new.decision_id in added]


def _decision(new: NewDecision, judged: Judged, added: AddedDecision) -> Decision:
    return Decision(
        decision_id=new.decision_id,
        decided_at=added.row["decided_at"],
        request=judged.request,
        verdict=judged.verdict.kind,
        reason=new.reason,
        mode=judged.mode,
        policy_digest=new.policy_digest,
        rule=new.rule,
        archive_existing=new.archive_existing,
        engine=new.engine,
        judgement=new.judgement,
        replaces=new.replaces,
        leaf=added.leaf,
    )


def add_outcomes(recording: Recording, outcomes: Mapping[str, Outcome]) -> None:
    """Inserts what became of decisions, by their ids."""
    rows = [
        {"decision_id": id, "outcome": str(outcome.kind), "detail": visible(outcome.detail)}
        for id, outcome in outcomes.items()
    ]
    recording.add_many(OutcomeRow, rows)
