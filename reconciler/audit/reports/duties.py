"""Separation of duties: who approved what they had asked for, or asked for what they had made; who is not known.

Names are compared without regard to case. Two names of one person are not recognised as one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, exists, func, or_, select

from reconciler.audit.evidence.storing import Stored, stored_evidence
from reconciler.audit.reporting import Answer, Reading, Report, Section
from reconciler.audit.requests.abstention_tables import AbstentionRow
from reconciler.audit.requests.abstentions import Event
from reconciler.audit.requests.resolution_tables import ResolutionRow
from reconciler.audit.tables import DecisionRow
from reconciler.domain.request import Assurance
from reconciler.domain.text import counted
from reconciler.domain.verdict import VerdictKind

OWN_REQUEST, OWN_RUN, UNKNOWN = "approved_own_request", "asked_for_own_run", "unknown_requester"
# Of an approval by a person: nothing tells who had asked.
ASKER_NOT_TOLD: Final = "asker_not_told"
# Of an approval for somebody who is named: nothing tells who ran the run. It was redacted, kept out, or not read.
RUN_NOT_TOLD: Final = "run_user_not_told"
_TOGETHER: Final = 200
_ENDED: Final = ("approved", "rejected", "withdrawn", "gone")
_PLACE = ("registry", "workspace", "model", "version", "target")


@dataclass(frozen=True, slots=True)
class Duty:
    """Two duties in one hand, or in a hand that is not known.

    Args:
        person: who did both; empty where nothing tells who asked.
        by: as which the second name stands: `decider`, or `run user`.
    """

    what: str
    at: datetime
    registry: str
    workspace: str
    model: str
    version: str
    target: str
    person: str
    person_assurance: str
    by: str
    verdict: str
    decision_id: str | None
    resolution_id: int | None


# --- whoever approved, had asked ------------------------------------------------------------------------------


def _own_requests(reading: Reading) -> Iterator[Duty]:
    for row in reading.rows(_approvals(reading)):
        if _same(row.decider, _asker(row)):
            yield Duty(
                what=OWN_REQUEST,
                at=row.done_at,
                **_place_of(row),
                person=row.decider,
                person_assurance=row.decider_assurance,
                by="decider",
                verdict=VerdictKind.APPROVE,
                decision_id=None,
                resolution_id=row.id,
            )


def _place_of(row: Row[Any]) -> dict[str, str]:
    return {name: getattr(row, name) for name in _PLACE}


def _approvals(reading: Reading) -> Any:
    """Each approval of a person, with what tells who asked: the last that was recorded of such a request before.

    `ended`: when a request for the same was approved, rejected or withdrawn last, before that.
    """
    done, decision, waited = ResolutionRow, DecisionRow, AbstentionRow
    at = func.coalesce(done.resolved_at, done.at)
    ours = [*reading.among(done.__table__), *reading.within(at), done.resolution == "approved", done.decider != ""]
    decided = _last_before(done, decision, decision.decided_at, at).where(*ours).cte("decided")
    waits = waited.event == Event.WAITS
    waiting = _last_before(done, waited, waited.at, at).where(*ours, waits).cte("waiting")
    ended = _ended_before(done).where(*ours).cte("ended")
    return (
        select(
            *(done.__table__.c[name] for name in ("id", *_PLACE, "decider", "decider_assurance", "request_id")),
            at.label("done_at"), done.requester, decision.request, waited.requester.label("waited_for"),
            func.coalesce(waited.requested_at, waited.at).label("waited_since"), _was_decided().label("was_decided"),
            ended.c.ended,
        )
        .select_from(
            done.__table__.outerjoin(decided, decided.c.done == done.id)
            .outerjoin(decision.__table__, decision.id == decided.c.last)
            .outerjoin(waiting, waiting.c.done == done.id)
            .outerjoin(waited.__table__, waited.id == waiting.c.last)
            .outerjoin(ended, ended.c.done == done.id)
        )
        .where(*ours)
        .order_by(done.id)
    )  # fmt: skip


def _last_before(done: Any, row: Any, moment: Any, at: Any) -> Any:
    """Of each thing done, the number of the last row about the same place that came before."""
    same = [row.__table__.c[name] == done.__table__.c[name] for name in _PLACE]
    query: Any = select(done.id.label("done"), func.max(row.id).label("last"))
    return query.select_from(done.__table__).join(row.__table__, and_(*same, moment <= at)).group_by(done.id)


def _was_decided() -> ColumnElement[bool]:
    """Whether the request that waited was decided by a daemon, as the record of waiting says."""
    later = AbstentionRow.__table__.alias("later")
    return exists().where(later.c.request_key == AbstentionRow.request_key, later.c.event == Event.DECIDED)


def _ended_before(done: Any) -> Any:
    """Of each thing done, when a request for the same ended last before, in the order of the registry's history."""
    other = done.__table__.alias("other")
    same = [other.c[name] == done.__table__.c[name] for name in _PLACE]
    at = func.max(func.coalesce(other.c.resolved_at, other.c.at)).label("ended")
    earlier = and_(*same, other.c.id < done.id, other.c.resolution.in_(_ENDED))
    return select(done.id.label("done"), at).select_from(done.__table__.join(other, earlier)).group_by(done.id)


def _asker(row: Row[Any]) -> str:
    """Who asked, as far as anything tells: a decision about a request with the same id, else who waited last."""
    if row.requester:
        return str(row.requester)
    request = json.loads(row.request) if row.request else {}
    if request and row.request_id in {"", request["id"]}:
        return str(request["requester"])
    # What waited last may be another request, which was decided or withdrawn before this one was filed.
    is_this = not row.was_decided and (row.ended is None or row.waited_since >= row.ended)
    return str(row.waited_for) if row.waited_for and is_this else ""


# --- whoever asked, had run the run ---------------------------------------------------------------------------


def _own_runs(reading: Reading) -> Iterator[Duty]:
    return (_duty(OWN_RUN, row, "run user") for row, user in _runs(reading) if _same(row.requester, user))


def _runs(reading: Reading) -> Iterator[tuple[Row[Any], str]]:
    """Each approval for somebody who is named, and who ran the run; "" where the evidence does not tell."""
    rows = reading.rows(_decided(reading, DecisionRow.verdict == VerdictKind.APPROVE, DecisionRow.requester != ""))
    for some in iter(lambda: list(islice(rows, _TOGETHER)), []):
        evidence = stored_evidence(reading.connection, [row.decision_id for row in some])
        for row in some:
            stored = evidence.get(row.decision_id)
            yield row, _run_user(stored) if isinstance(stored, Stored) else ""


def _run_user(stored: Stored) -> str:
    user = stored.document().get("run", {}).get("user")
    return str(user.get("head", "")) if isinstance(user, dict) else str(user or "")


# --- whoever asked is not known -------------------------------------------------------------------------------


def _unknown() -> ColumnElement[bool]:
    return or_(DecisionRow.requester == "", DecisionRow.requester_assurance == Assurance.UNKNOWN)


def _unknown_requesters(reading: Reading) -> Iterator[Duty]:
    return (_duty(UNKNOWN, row, "") for row in reading.rows(_decided(reading, _unknown())))


def _decided(reading: Reading, *only: ColumnElement[bool]) -> Any:
    row = DecisionRow
    names = ("decision_id", "decided_at", *_PLACE, "requester", "requester_assurance", "verdict")
    query = select(*(row.__table__.c[name] for name in names)).where(*reading.about(row.__table__, "decided_at"), *only)
    return query.order_by(row.decided_at, row.decision_id)


def _duty(what: str, row: Row[Any], by: str) -> Duty:
    return Duty(
        what=what,
        at=row.decided_at,
        **_place_of(row),
        person=row.requester,
        person_assurance=row.requester_assurance,
        by=by,
        verdict=row.verdict,
        decision_id=row.decision_id,
        resolution_id=None,
    )


def _same(one: str, other: str) -> bool:
    return bool(one) and one.casefold() == other.casefold()


def _answer(reading: Reading) -> Answer:
    decided: Any = (
        select(func.count())
        .select_from(DecisionRow.__table__)
        .where(*reading.about(DecisionRow.__table__, "decided_at"))
    )
    # What of these was read twice is not kept meanwhile.
    approvals = Counter(
        (_same(row.decider, _asker(row)), bool(_asker(row))) for row in reading.rows(_approvals(reading))
    )
    runs = Counter((_same(row.requester, user), bool(user)) for row, user in _runs(reading))
    counts = {
        "decisions": reading.connection.scalar(decided) or 0,
        OWN_REQUEST: approvals[True, True],
        ASKER_NOT_TOLD: approvals[False, False],
        OWN_RUN: runs[True, True],
        RUN_NOT_TOLD: runs[False, False],
        UNKNOWN: reading.connection.scalar(decided.where(_unknown())) or 0,
    }
    opinion = (
        f"{counted(counts['decisions'], 'decision')}; {counts[OWN_REQUEST]} approved by the requester, "
        f"{counts[OWN_RUN]} approved for the user of the run, {counts[UNKNOWN]} requested by somebody unknown"
    )
    rows = chain(_own_requests(reading), _own_runs(reading), _unknown_requesters(reading))
    doubts = ["names are compared, not persons"]
    if counts[ASKER_NOT_TOLD]:
        doubts.append(f"for {counted(counts[ASKER_NOT_TOLD], 'approval')} by people the requester is not known")
    if counts[RUN_NOT_TOLD]:
        doubts.append(f"for {counted(counts[RUN_NOT_TOLD], 'approval')} the evidence does not say who ran the run")
    if counts[UNKNOWN]:
        doubts.append(f"for {counted(counts[UNKNOWN], 'decision')} the requester is not reliably known")
    return Answer(
        opinion,
        counts,
        [Section("duties", Duty, ("what", "at", "model", "version", "target", "person"), rows)],
        doubts,
    )


REPORT = Report("duties", "who approved what they asked for, or asked for their own run", _answer, ("duties",))
