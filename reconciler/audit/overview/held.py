"""What held which target when, model by model, and which models there is most to say about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, case, desc, func, or_, select

from reconciler.audit.reporting import Reading, touching
from reconciler.audit.reports.completeness import EXCEPTION, Tenure, counted_as, tenures
from reconciler.audit.streaming import typed
from reconciler.audit.tables import DecisionRow
from reconciler.audit.views import TENURES, OfTenure

_EXCEPTIONS = func.count(case((counted_as() == EXCEPTION, 1)))


class Lane(NamedTuple):
    """A target of a model."""

    registry: str
    workspace: str
    model: str
    target: str


@dataclass(frozen=True, slots=True)
class Held(OfTenure):
    """A tenure, as far as it is drawn: from the first look that saw it until the first that did not."""

    counted_as: str
    first_seen_with: datetime
    first_seen_without: datetime | None
    accepted_by: str | None

    @property
    def lane(self) -> Lane:
        return Lane(self.registry, self.workspace, self.model, self.target)


@dataclass(frozen=True, slots=True)
class Lanes:
    """Targets and what held them.

    Args:
        all_lanes: how many there are, beside those that are here.
        cut: there are more tenures in these lanes, older than those that are here.
    """

    lanes: Sequence[Lane]
    held: Sequence[Held]
    all_lanes: int
    cut: bool


def lanes_of(reading: Reading, most_lanes: int, most_tenures: int) -> Lanes:
    """Lanes with exceptions first, then those in which most happened."""
    place = [TENURES.c[name] for name in Lane._fields]
    grouped = select(*place).where(*touching(reading, TENURES)).group_by(*place)
    ranked = grouped.order_by(desc(_EXCEPTIONS), desc(func.count()), *place).limit(most_lanes)
    lanes = [Lane(*row) for row in reading.connection.execute(ranked)]
    every = reading.connection.scalar(select(func.count()).select_from(grouped.subquery())) or 0
    held = _held(reading, lanes, most_tenures + 1)
    return Lanes(sorted(lanes), held[:most_tenures], every, len(held) > most_tenures)


def _held(reading: Reading, lanes: Sequence[Lane], most: int) -> list[Held]:
    """The newest first."""
    if not lanes:
        return []
    names = [field.name for field in fields(Held) if field.name != "counted_as"]
    here = or_(*(and_(*(TENURES.c[name] == value for name, value in lane._asdict().items())) for lane in lanes))
    query: Any = select(*(TENURES.c[name] for name in names), counted_as().label("counted_as"))
    newest = query.where(*touching(reading, TENURES), here).order_by(TENURES.c.tenure_id.desc()).limit(most)
    return list(typed(Held, reading.rows(newest)))


def first_tenures(reading: Reading, most: int, *, only: Sequence[str] = ()) -> list[Tenure]:
    """Tenures, exceptions first; `only` those that are counted as one of these."""
    conditions = [counted_as().in_(only)] if only else []
    return list(typed(Tenure, reading.rows(tenures(reading).where(*conditions).limit(most))))


@dataclass(frozen=True, slots=True)
class OfModel:
    """What a period had of a model."""

    model: str
    tenures: int
    exceptions: int
    decisions: int


def models_of(reading: Reading, most: int) -> tuple[list[OfModel], int]:
    """Those with most exceptions first, then with most decisions; and how many there are in all."""
    tenure, row = TENURES.c, DecisionRow
    held = select(tenure.model, func.count().label("many"), _EXCEPTIONS.label("exceptions"))
    held = held.where(*touching(reading, TENURES)).group_by(tenure.model)
    decided: Any = select(row.model, func.count().label("many"))
    decided = decided.where(*reading.about(row.__table__, "decided_at")).group_by(row.model)
    tenures_of, exceptions_of = Counter[str](), Counter[str]()
    for one in reading.rows(held):
        tenures_of[one.model], exceptions_of[one.model] = one.many, one.exceptions
    decisions_of = Counter({one.model: one.many for one in reading.rows(decided)})
    names = sorted(
        {*tenures_of, *decisions_of},
        key=lambda name: (-exceptions_of[name], -decisions_of[name], -tenures_of[name], name),
    )
    found = [OfModel(name, tenures_of[name], exceptions_of[name], decisions_of[name]) for name in names[:most]]
    return found, len(names)
