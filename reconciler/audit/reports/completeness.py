"""The population: every tenure that touches the period, and what began it, exceptions first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_, select, true

from reconciler.audit.holding.last_looks import MOVED, LastLooks, last_looks
from reconciler.audit.holding.tables import WatchedScopeRow
from reconciler.audit.reporting import Answer, Reading, Report, Section, columns_of, touching
from reconciler.audit.running.control import Control, controls, doubts, observed
from reconciler.audit.streaming import typed
from reconciler.audit.tables import DecisionRow
from reconciler.audit.views import TENURES, OfTenure
from reconciler.domain.holding.causes import Cause
from reconciler.domain.request import Assurance
from reconciler.domain.text import counted

EXCEPTION: Final = "exception"
UNEXPLAINED: Final = "unexplained"
UNKNOWN_PERSON: Final = "person_unknown"

# What a tenure is counted as, in the order in which they are listed; and how an opinion names them.
COUNTED: Final[Mapping[str, tuple[str, str]]] = {
    EXCEPTION: ("exception", "exceptions"),
    UNEXPLAINED: ("not explained yet", "not explained yet"),
    Cause.UNDETERMINED: ("undetermined", "undetermined"),
    UNKNOWN_PERSON: ("by a person whose name is not known", "by people whose names are not known"),
    Cause.ADMINISTRATOR: ("by an administrator", "by administrators"),
    Cause.BASELINE: ("baseline", "baselines"),
    Cause.ROLLBACK: ("rollback", "rollbacks"),
    Cause.RENAME: ("renamed", "renamed"),
    Cause.PERSON: ("by a person", "by people"),
    Cause.DECISION: ("decided", "decided"),
}
# In the opinion what went as it should comes first.
_TOLD: Final = (
    Cause.DECISION, Cause.PERSON, UNKNOWN_PERSON, Cause.ADMINISTRATOR, Cause.ROLLBACK, Cause.RENAME, Cause.BASELINE,
    Cause.UNDETERMINED, UNEXPLAINED, EXCEPTION,
)  # fmt: skip
_SURE: Final = (str(Assurance.AUTHENTICATED), str(Assurance.ASSERTED))


@dataclass(frozen=True, slots=True)
class Tenure(OfTenure):
    """A tenure, with what it is counted as.

    Args:
        touches: `seen` to hold the target in the period; `perhaps`: only the bounds of its times reach into it.
        policy_digest: of the policy that was in force when it was decided, where it was.
    """

    counted_as: str
    touches: str
    began_by: str | None
    began_detail: str | None
    last_seen_without: datetime | None
    first_seen_with: datetime
    last_seen_with: datetime
    first_seen_without: datetime | None
    ended_by: str | None
    decision_id: str | None
    policy_digest: str | None
    requester: str | None
    requester_assurance: str | None
    resolution_id: int | None
    person: str | None
    person_assurance: str | None
    by_approval: bool | None
    accepted_at: datetime | None
    accepted_by: str | None
    accepted_because: str | None


@dataclass(frozen=True, slots=True)
class Watched:
    """Since when which targets of which models were looked at (JSON, as in `watched_scopes`)."""

    registry: str
    workspace: str
    since: datetime
    scope: str


def counted_as() -> ColumnElement[str]:
    """Of a row of `tenures`: which of `COUNTED` it is."""
    tenure = TENURES.c
    bypass = or_(
        tenure.began_by == Cause.BYPASS, and_(tenure.began_by == Cause.RENAME, tenure.began_detail == Cause.BYPASS)
    )
    sure = func.coalesce(tenure.person_assurance, "").in_(_SURE)
    by_somebody = and_(tenure.began_by == Cause.PERSON, ~sure)
    return case(
        (tenure.began_by.is_(None), literal(UNEXPLAINED)),
        (bypass, literal(EXCEPTION)),
        (by_somebody, literal(UNKNOWN_PERSON)),
        else_=tenure.began_by,
    )


def _touches(reading: Reading) -> ColumnElement[str]:
    tenure = TENURES.c
    since = true() if reading.since is None else tenure.last_seen_with >= reading.since
    return case((and_(tenure.first_seen_with < reading.until, since), literal("seen")), else_=literal("perhaps"))


def tenures(reading: Reading) -> Select[Any]:
    """A query for every `Tenure` that touches the period, exceptions first."""
    kind, decision = counted_as(), DecisionRow
    others = {
        "counted_as": kind,
        "touches": _touches(reading),
        "policy_digest": decision.policy_digest,
        "requester": decision.requester,
        "requester_assurance": decision.requester_assurance,
    }
    rank = case({name: place for place, name in enumerate(map(str, COUNTED))}, value=kind, else_=len(COUNTED))
    return (
        columns_of(Tenure, TENURES, **others)
        .select_from(TENURES.outerjoin(decision.__table__, decision.decision_id == TENURES.c.decision_id))
        .where(*touching(reading, TENURES))
        .order_by(rank, TENURES.c.tenure_id)
    )


def _watched(reading: Reading) -> Iterator[Watched]:
    table = WatchedScopeRow.__table__
    query = columns_of(Watched, table).where(table.c.since < reading.until).order_by(table.c.id)
    return typed(Watched, reading.rows(query))


def _counts(reading: Reading, looks: LastLooks) -> dict[str, Any]:
    kind = counted_as().label("kind")
    causes = dict.fromkeys(map(str, COUNTED), 0)
    causes |= reading.counted(select(kind, func.count()).where(*touching(reading, TENURES)).group_by(kind))
    accepted = select(func.count()).where(*touching(reading, TENURES), counted_as() == EXCEPTION)
    return {
        "tenures": sum(causes.values()),
        "by_cause": causes,
        "accepted_exceptions": reading.connection.scalar(accepted.where(TENURES.c.accepted_at.is_not(None))) or 0,
        MOVED: looks.moved,
        "perhaps": reading.connection.scalar(
            select(func.count()).where(*touching(reading, TENURES), _touches(reading) == "perhaps")
        ),
    }


def _opinion(counts: Mapping[str, Any], found: list[Control], looks: LastLooks) -> str:
    causes = counts["by_cause"]
    told = [f"{causes[name]} {COUNTED[name][causes[name] != 1]}" for name in _TOLD if causes[name] or name == EXCEPTION]
    if counts["accepted_exceptions"]:
        told[-1] += f" ({counts['accepted_exceptions']} acknowledged)"
    return "; ".join([f"{counted(counts['tenures'], 'tenure')}: {', '.join(told)}", *looks.told(), observed(found)])


def _qualifications(counts: Mapping[str, Any]) -> Iterator[str]:
    causes = counts["by_cause"]
    if many := causes[UNKNOWN_PERSON]:
        yield f"{counted(many, 'tenure')} began by a person whose name is not known"
    if many := causes[Cause.UNDETERMINED]:
        yield f"for {counted(many, 'tenure')} it is not known whether a person approved"
    if many := causes[UNEXPLAINED]:
        yield f"{counted(many, 'tenure')} will be explained by the next look"
    if many := counts["perhaps"]:
        yield f"{counted(many, 'tenure')} may lie outside the period: times are known only to within two looks"


def _answer(reading: Reading) -> Answer:
    looks, found = last_looks(reading), controls(reading)
    counts = _counts(reading, looks)
    columns = ("tenure_id", "model", "version", "target", "counted_as", "first_seen_with")
    return Answer(
        _opinion(counts, found, looks),
        counts,
        [
            Section("tenures", Tenure, columns, typed(Tenure, reading.rows(tenures(reading)))),
            Section("control", Control, ("registry", "percent", "gaps", "longest_gap_seconds"), found),
            Section("watched", Watched, ("since", "scope"), _watched(reading)),
        ],
        [*doubts(reading, found), *looks.doubts(reading), *_qualifications(counts)],
    )


REPORT = Report(
    "completeness",
    "what held a target in the period, and what brought it there",
    _answer,
    ("tenures", "control", "watched"),
)
