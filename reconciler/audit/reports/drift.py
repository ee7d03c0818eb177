"""What changed after it was approved: a holder against what its decision rests on, both values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, select

from reconciler.audit.holding.tables import DriftRow, LookRow
from reconciler.audit.reporting import (
    Answer,
    Reading,
    Report,
    Section,
    columns_of,
    overlapping,
    shown,
    touching,
)
from reconciler.audit.statements import Served
from reconciler.audit.streaming import typed
from reconciler.audit.views import TENURES, OfTenure
from reconciler.domain.text import counted
from reconciler.domain.times import iso

# What became of a change: it was last seen so, a later look found something else, or the tenure is over.
_ENDED = STILL, CHANGED_AGAIN, AS_JUDGED, OVER = "still", "changed_again", "as_judged_again", "no_longer_held"


@dataclass(frozen=True, slots=True)
class Drifted(OfTenure):
    """A field that was another than it was judged.

    Args:
        judged: what the decision rests on; None: there was none.
        found: what was there instead; None: there was none.
        first_seen: the look that found it so.
        until: the look that found something else there, or that the tenure is over; None: neither.
    """

    decision_id: str
    field: str
    judged: str | None
    found: str | None
    first_seen: datetime
    until: datetime | None
    ended: str


def _changes(reading: Reading) -> Any:
    """Each row of `drifts` with the next one of the same field, and the tenure that it is about."""
    row = DriftRow
    mine: dict[str, Any] = {"partition_by": (row.tenure_id, row.field), "order_by": row.id}
    following: dict[str, ColumnElement[Any]] = {
        "next_at": func.lead(row.at).over(**mine),
        "next_is_judged": func.lead(case((row.found.is_not_distinct_from(row.judged), 1), else_=0)).over(**mine),
    }
    query: Select[Any] = select(row.__table__, *(column.label(name) for name, column in following.items()))
    # What was found later than the period's end is of another report.
    return query.where(row.at < reading.until).subquery()


@dataclass(frozen=True, slots=True)
class _Found:
    """The changes of the period as SQL: where they come from, which they are, and what became of each."""

    change: Any
    source: Any
    until: ColumnElement[Any]
    ended: ColumnElement[str]
    conditions: list[ColumnElement[bool]]


def _found(reading: Reading) -> _Found:
    change = _changes(reading)
    over = and_(change.c.next_at.is_(None), TENURES.c.first_seen_without < reading.until)
    until = case((over, TENURES.c.first_seen_without), else_=change.c.next_at)
    ended = case(
        (over, literal(OVER)),
        (change.c.next_at.is_(None), literal(STILL)),
        (change.c.next_is_judged == 1, literal(AS_JUDGED)),
        else_=literal(CHANGED_AGAIN),
    )
    differs = change.c.found.is_distinct_from(change.c.judged)
    conditions = [differs, *reading.among(TENURES), *overlapping(reading, change.c.at, until)]
    source = TENURES.join(change, change.c.tenure_id == TENURES.c.tenure_id)
    return _Found(change, source, until, ended, conditions)


def _drifted(reading: Reading, found: _Found) -> Iterator[Drifted]:
    change = found.change.c
    own = {name: change[name] for name in ("decision_id", "field", "judged", "found")}
    times = {"first_seen": change.at, "until": found.until, "ended": found.ended}
    rank = case({name: place for place, name in enumerate(_ENDED)}, value=found.ended)
    query = columns_of(Drifted, TENURES, **own, **times).select_from(found.source).where(*found.conditions)
    return typed(Drifted, reading.rows(query.order_by(rank, change.tenure_id, change.field, change.id)))


def _counts(reading: Reading, found: _Found) -> dict[str, Any]:
    ended = found.ended.label("ended")
    grouped = select(ended, func.count()).select_from(found.source).where(*found.conditions).group_by(ended)
    holders = select(func.count(found.change.c.tenure_id.distinct())).select_from(found.source)
    approved = select(func.count()).where(*touching(reading, TENURES), TENURES.c.decision_id.is_not(None))
    by_end = dict.fromkeys(_ENDED, 0) | reading.counted(grouped)
    return {
        "approved_holders": reading.connection.scalar(approved) or 0,
        "changed_holders": reading.connection.scalar(holders.where(*found.conditions)) or 0,
        "changes": sum(by_end.values()),
        "by_end": by_end,
    }


def _doubts(reading: Reading) -> Iterator[str]:
    """When holders were last looked at: what changed later is not known."""
    row = LookRow
    for served in reading.registries:
        last = reading.connection.scalar(select(row.everything_as_of).where(served.among(row)))
        if last is None or (reading.since is not None and last <= reading.since):
            when = "were never looked at" if last is None else f"were last looked at {iso(last)}, before the period"
            yield f"the holders at {shown(served)} {when}"
        elif many := _not_yet_again(reading, served, last):
            were = counted(many, "approved holder was", "approved holders were")
            last_look = f"when everything was last looked at ({iso(last)})"
            yield f"{were} first seen {last_look} or later: what changed since is not known"


def _not_yet_again(reading: Reading, served: Served, last: datetime) -> int:
    """How many were read at most once since they were approved."""
    mine = (TENURES.c.registry == served.registry, TENURES.c.workspace == served.workspace)
    since = TENURES.c.first_seen_with >= last
    query = select(func.count()).where(*touching(reading, TENURES), *mine, TENURES.c.decision_id.is_not(None), since)
    return reading.connection.scalar(query) or 0


def _answer(reading: Reading) -> Answer:
    found = _found(reading)
    counts = _counts(reading, found)
    changed, many = counts["changed_holders"], counts["changes"]
    still = counts["by_end"][STILL]
    told = f": {counted(many, 'change')}, {still} of them still so when last looked at" if many else ""
    return Answer(
        f"{changed} of {counted(counts['approved_holders'], 'approved holder')} changed after approval{told}",
        counts,
        [
            Section(
                "changes", Drifted, ("model", "version", "field", "judged", "found", "ended"), _drifted(reading, found)
            )
        ],
        list(_doubts(reading)),
    )


REPORT = Report("drift", "what changed of holders after they were approved", _answer, ("changes",))
