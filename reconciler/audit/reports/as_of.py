"""Who held what at a moment, and by which decision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, func, literal, or_, select

from reconciler.audit.reporting import Answer, Reading, Report, Section, columns_of, shown
from reconciler.audit.running.control import first_state
from reconciler.audit.streaming import typed
from reconciler.audit.tables import DecisionRow
from reconciler.audit.views import GAPS, TENURES, OfTenure
from reconciler.domain.text import counted
from reconciler.domain.times import iso

HELD, LAST_SEEN, BEGUN, ENDED = "held", "last_seen", "may_have_begun", "may_have_ended"
_TOLD = {
    HELD: "seen before and after",
    LAST_SEEN: "held when last looked at",
    BEGUN: "may have begun already",
    ENDED: "may have ended already",
}


@dataclass(frozen=True, slots=True)
class Holder(OfTenure):
    """What held a target. `held`: as far as looks tell, which are before and after the moment."""

    held: str
    last_seen_without: datetime | None
    first_seen_with: datetime
    last_seen_with: datetime
    first_seen_without: datetime | None
    began_by: str | None
    decision_id: str | None
    decided_at: datetime | None
    policy_digest: str | None
    requester: str | None
    person: str | None
    person_assurance: str | None
    accepted_by: str | None


def _held(at: datetime) -> ColumnElement[str]:
    tenure = TENURES.c
    return case(
        (tenure.first_seen_with > at, literal(BEGUN)),
        (tenure.last_seen_with >= at, literal(HELD)),
        (tenure.first_seen_without.is_(None), literal(LAST_SEEN)),
        else_=literal(ENDED),
    )


def _then(reading: Reading, at: datetime) -> list[ColumnElement[bool]]:
    tenure = TENURES.c
    begun = or_(tenure.first_seen_with <= at, tenure.last_seen_without < at)
    return [*reading.among(TENURES), begun, or_(tenure.first_seen_without.is_(None), tenure.first_seen_without > at)]


def _holders(reading: Reading, at: datetime) -> Iterator[Holder]:
    decision, tenure = DecisionRow, TENURES.c
    others: dict[str, Any] = {
        "held": _held(at),
        "decided_at": decision.decided_at,
        "policy_digest": decision.policy_digest,
        "requester": decision.requester,
    }
    query = (
        columns_of(Holder, TENURES, **others)
        .select_from(TENURES.outerjoin(decision.__table__, decision.decision_id == tenure.decision_id))
        .where(*_then(reading, at))
        .order_by(tenure.registry, tenure.workspace, tenure.model, tenure.target, tenure.tenure_id)
    )
    return typed(Holder, reading.rows(query))


def _unwatched(reading: Reading, at: datetime) -> Iterator[str]:
    """Registries for which no daemon was running then."""
    for served in reading.registries:
        first = first_state(reading, served)
        if first is None or at < first:
            yield f"no daemon of {shown(served)} had run yet"
            continue
        gap, here = GAPS.c, (GAPS.c.registry == served.registry, GAPS.c.workspace == served.workspace)
        then = select(gap.began_at, gap.ended_at).where(*here, gap.began_at <= at)
        row = reading.connection.execute(then.order_by(gap.began_at.desc()).limit(1)).first()
        if row is not None and row.ended_at is not None and row.ended_at > at:
            yield f"no daemon of {shown(served)} was running between {iso(row.began_at)} and {iso(row.ended_at)}"
        elif row is not None and row.ended_at is None and at - row.began_at > reading.asked.longer_than:
            yield f"no daemon of {shown(served)} has been running since {iso(row.began_at)}"


def _answer(reading: Reading) -> Answer:
    at = reading.asked.at or reading.now
    held = _held(at).label("held")
    by_held = dict.fromkeys(_TOLD, 0)
    by_held |= reading.counted(select(held, func.count()).where(*_then(reading, at)).group_by(held))
    many = sum(by_held.values())
    told = ", ".join(f"{count} {_TOLD[name]}" for name, count in by_held.items() if count)
    return Answer(
        f"{counted(many, 'version')} {'holds' if many == 1 else 'hold'} a target as of {iso(at)}"
        + (f": {told}" if told else ""),
        {"holders": many, "by_held": by_held},
        [
            Section(
                "holders",
                Holder,
                ("model", "version", "target", "began_by", "held", "decision_id"),
                _holders(reading, at),
            )
        ],
        list(_unwatched(reading, at)),
    )


REPORT = Report(
    "as-of", "what held each target at a moment (--at), by which decision", _answer, ("holders",), of_a_moment=True
)
