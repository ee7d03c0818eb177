"""The append-only rows: policies, decisions with their checks, and outcomes."""

from __future__ import annotations

from sqlalchemy import Connection, select

from reconciler.audit.log import Recording
from reconciler.audit.rows import NewCheck, NewDecision, RequestColumns
from reconciler.audit.tables import OutcomeRow, PolicyVersionRow, db_now
from reconciler.domain.decision import Decision, Judged, Outcome
from reconciler.domain.text import visible
from reconciler.failpoints import failpoint


def knows_policy(connection: Connection, digest: str) -> bool:
    return connection.scalar(select(PolicyVersionRow.digest).where(PolicyVersionRow.digest == digest)) is not None


def keep_policy(recording: Recording, digest: str, text: str) -> None:
    """Stores the policy's text, once per digest."""
    values = {"digest": digest, "text": _storable(text), "first_used_at": db_now()}
    recording.add_if_new(PolicyVersionRow, values)


def _storable(text: str) -> str:
    """Text of our own users, without NUL, which PostgreSQL refuses, and lone surrogates, which UTF-8 refuses."""
    return text.replace("\0", "\\u0000").encode("utf-8", "replace").decode()


def add_decision(recording: Recording, judged: Judged, daemon: str) -> Decision | None:
    """Inserts a decision with its checks. None: another daemon decided this request first, or again."""
    new = NewDecision.of(judged, daemon)
    values = RequestColumns.of(judged.request)._asdict() | new._asdict()
    checks = [NewCheck.of(new.decision_id, at, check)._asdict() for at, check in enumerate(judged.verdict.checks)]
    evidence = judged.evidence.to_json()
    added = recording.add_decision(values | {"decided_at": db_now()}, checks, evidence)
    if added is None:
        return None
    failpoint("decision inserted")
    return Decision(
        decision_id=new.decision_id,
        decided_at=added["decided_at"],
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
    )


def add_outcome(recording: Recording, decision_id: str, outcome: Outcome) -> None:
    values = {"decision_id": decision_id, "outcome": str(outcome.kind), "detail": visible(outcome.detail)}
    recording.add(OutcomeRow, values | {"at": db_now()})
