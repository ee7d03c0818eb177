"""What the looks do not tell yet: what decisions moved since the last one, and what was never looked at whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, case, exists, func, null, or_, select

from reconciler.audit.holding.looks import HELD
from reconciler.audit.holding.tables import LookRow, ObservationRow, WatchedScopeRow
from reconciler.audit.reporting import Reading, overlapping, shown
from reconciler.audit.statements import Served
from reconciler.audit.tables import DecisionRow, OutcomeRow
from reconciler.domain.decision import OutcomeKind
from reconciler.domain.text import counted
from reconciler.domain.times import iso
from reconciler.domain.verdict import VerdictKind

MOVED: Final = "moved_since_the_last_look"


def moved_since(reading: Reading) -> int:
    """Decisions that moved a version in the period, and since whose act nobody has looked at that kind of target.

    A registry that nobody has looked at has none: `never_looked` tells of it.
    """
    older = _older(reading)
    if older is None:
        return 0
    decision, outcome, look, seen = DecisionRow, OutcomeRow, LookRow, ObservationRow
    looked = case((decision.target.like("@%"), look.aliases_as_of), else_=look.stages_as_of)
    at_its_place = (getattr(seen, name) == getattr(decision, name) for name in _PLACE)
    is_seen = exists().where(*at_its_place, seen.seen == HELD, seen.at >= decision.decided_at)
    same = and_(look.registry == decision.registry, look.workspace == decision.workspace)
    both = decision.__table__.join(outcome.__table__, outcome.decision_id == decision.decision_id)
    query = (
        select(func.count())
        .select_from(both.join(look.__table__, same))
        .where(
            *reading.among(decision.__table__),
            *overlapping(reading, outcome.at, null()),
            outcome.id > older,
            decision.acts,
            decision.verdict == str(VerdictKind.APPROVE),
            outcome.outcome == str(OutcomeKind.APPLIED),
            or_(looked.is_(None), outcome.at > looked),
            ~is_seen,
        )
    )
    return reading.connection.scalar(query) or 0


_PLACE: Final = ("registry", "workspace", "model", "version", "target")


def _older(reading: Reading) -> int | None:
    """An outcome before which every look has seen everything: of a long history only the end is read. None: no look."""
    looks = _looks(reading)
    moments = [_as_of(looks[served]) for served in reading.registries if served in looks]
    if not moments:
        return None
    if None in moments:
        return 0
    row = OutcomeRow
    first = min(moment for moment in moments if moment is not None)
    before = select(row.id).where(row.at <= first).order_by(row.id.desc()).limit(1)
    return reading.connection.scalar(before) or 0


def _looks(reading: Reading) -> Mapping[Served, Any]:
    rows = reading.connection.execute(select(LookRow.__table__))
    return {Served(row.registry, row.workspace): row for row in rows}


def _as_of(look: Any) -> datetime | None:
    """As of when all kinds that are looked at were seen. A policy may govern one kind only."""
    return min((moment for moment in (look.stages_as_of, look.aliases_as_of) if moment is not None), default=None)


def never_looked(reading: Reading) -> list[Served]:
    """The registries where not everything had been looked at before the period ended."""
    return [served for served in reading.registries if not _was_looked_at(reading, served)]


def _was_looked_at(reading: Reading, served: Served) -> bool:
    row = WatchedScopeRow
    whole: ColumnElement[bool] = exists().where(served.among(row), row.since < reading.until)
    return bool(reading.connection.scalar(select(whole)))


def told(moved: int, never: list[Served]) -> list[str]:
    """The same as parts of an opinion, which must not sound complete."""
    if never:
        return ["not everything that holds a target was looked at yet"]
    are = "is" if moved == 1 else "are"
    return [f"{counted(moved, 'decision')} since the last look {are} not in it"] if moved else []


def doubts(reading: Reading, moved: int, never: list[Served]) -> Iterator[str]:
    several, looks = len(reading.registries) > 1, _looks(reading)
    for served in reading.registries:
        where = f" at {shown(served)}" if several else ""
        as_of = _as_of(looks[served]) if served in looks else None
        if served in never:
            yield f"not everything that holds a target{where} had been looked at when the period ended"
        elif as_of is not None and reading.until - as_of > reading.asked.longer_than:
            yield f"what holds a target{where} was last looked at on {iso(as_of)}: what came since is not in it"
    if moved:
        versions = "a version" if moved == 1 else "versions"
        yield f"{counted(moved, 'decision')} moved {versions} since the last look, and will be in it after the next one"
