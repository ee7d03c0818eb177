"""What the looks do not tell yet: what decisions moved since the last one, and what was never looked at whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    exists,
    func,
    null,
    or_,
    select,
    text,
    true,
)

from reconciler.audit.holding.looks import HELD
from reconciler.audit.holding.tables import LookRow, ObservationRow, WatchedScopeRow
from reconciler.audit.reporting import Reading, overlapping, shown
from reconciler.audit.running.states import State
from reconciler.audit.running.tables import RunningStateRow
from reconciler.audit.statements import Served
from reconciler.audit.tables import DaemonRow, DecisionRow, OutcomeRow, UtcMillis
from reconciler.domain.decision import OutcomeKind
from reconciler.domain.text import counted
from reconciler.domain.times import iso
from reconciler.domain.verdict import VerdictKind

MOVED: Final = "moved_since_the_last_look"
_PLACE: Final = ("registry", "workspace", "model", "version", "target")
# A daemon that died had been seen at its last cycle; the one in which it died was not longer than this.
_LONGEST_CYCLE: Final = timedelta(days=1)
# Replicas get their numbers and their times in no common order.
_OUT_OF_ORDER: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class LastLooks:
    """As of when each registry was looked at last.

    Args:
        moved: decisions that moved a version in the period, and since whose act nobody has looked at that kind of
            target. A registry that nobody has looked at has none: `never` tells of it.
        never: the registries where not everything had been looked at before the period ended.
    """

    moved: int
    never: list[Served]
    as_of: Mapping[Served, datetime | None]

    def told(self) -> list[str]:
        """Parts of an opinion, which must not sound complete."""
        if self.never:
            return ["not every target has been looked at yet"]
        are = "is" if self.moved == 1 else "are"
        return [f"{counted(self.moved, 'decision')} since the last look {are} not included"] if self.moved else []

    def doubts(self, reading: Reading) -> Iterator[str]:
        for served in reading.registries:
            where = f" at {shown(served)}" if len(reading.registries) > 1 else ""
            as_of = self.as_of.get(served)
            if served in self.never:
                yield f"not every target{where} had been looked at when the period ended"
            elif as_of is not None and reading.until - as_of > reading.asked.longer_than:
                yield f"the holders{where} were last looked at on {iso(as_of)}: later changes are not included"
        if self.moved:
            versions, many = "a version" if self.moved == 1 else "versions", counted(self.moved, "decision")
            yield f"{many} moved {versions} since the last look, and will be included after the next one"


def last_looks(reading: Reading) -> LastLooks:
    looks = _looks(reading)
    as_of = {served: looks[served] for served in reading.registries if served in looks}
    moved = sum(_moved_since(reading, served, moment) for served, moment in as_of.items())
    return LastLooks(moved, [served for served in reading.registries if not _was_looked_at(reading, served)], as_of)


def _looks(reading: Reading) -> dict[Served, datetime | None]:
    """As of when all kinds that are looked at were seen. A policy may govern one kind only."""
    rows = reading.connection.execute(select(LookRow.__table__))
    return {
        Served(row.registry, row.workspace): min(filter(None, (row.stages_as_of, row.aliases_as_of)), default=None)
        for row in rows
    }


def _moved_since(reading: Reading, served: Served, as_of: datetime | None) -> int:
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
            served.among(decision),
            _between(reading.connection, as_of, _last_active(reading.connection, served)),
            decision.acts,
            decision.verdict == str(VerdictKind.APPROVE),
            outcome.outcome == str(OutcomeKind.APPLIED),
            or_(looked.is_(None), outcome.at > looked),
            ~is_seen,
        )
    )
    return reading.connection.scalar(query) or 0


def _was_looked_at(reading: Reading, served: Served) -> bool:
    row = WatchedScopeRow
    whole: ColumnElement[bool] = exists().where(served.among(row), row.since < reading.until)
    return bool(reading.connection.scalar(select(whole)))


# --- of a long history only a part is read -------------------------------------------------------------------


def _between(connection: Connection, since: datetime | None, until: datetime | None) -> ColumnElement[bool]:
    """Outcomes of about that time, by their numbers, which no index of times is needed for."""
    row = OutcomeRow
    begun = true() if since is None else row.id > _outcome_at(connection, since - _OUT_OF_ORDER)
    return begun if until is None else and_(begun, row.id <= _outcome_at(connection, until + _OUT_OF_ORDER))


_SEARCH: Final = text("""
    WITH RECURSIVE halves (found, step) AS (
        SELECT CAST(0 AS BIGINT), CAST(1099511627776 AS BIGINT)
        UNION ALL
        SELECT found + CASE WHEN coalesce(
            (SELECT at FROM outcomes WHERE id <= found + step ORDER BY id DESC LIMIT 1) <= :moment, true
        ) THEN step ELSE 0 END, step / 2 FROM halves WHERE step > 0
    ) SELECT max(found) FROM halves
""").bindparams(bindparam("moment", type_=UtcMillis))


def _outcome_at(connection: Connection, moment: datetime) -> int:
    """A number that outcomes until that moment do not exceed, and later ones do: found by halving, in forty steps."""
    return int(connection.scalar(_SEARCH, {"moment": moment}) or 0)


def _last_active(connection: Connection, served: Served) -> datetime | None:
    """After this no daemon of a registry recorded anything; None where that cannot be told, or one may be running."""
    row, daemon = RunningStateRow, DaemonRow
    last = select(func.max(row.id)).where(served.among(row)).group_by(row.daemon)
    same = and_(daemon.name == row.daemon, served.among(daemon))
    both = row.__table__.outerjoin(daemon.__table__, same)
    query: Any = select(row.state, row.at, daemon.last_cycle_at).select_from(both).where(row.id.in_(last))
    # The row of a daemon that works for another registry by now is not there: nothing tells when it died here.
    seen = [found.at if found.state == State.ENDED else found.last_cycle_at for found in connection.execute(query)]
    return max(seen) + _LONGEST_CYCLE if seen and None not in seen else None
