"""Whether the control operated: since when, in which mode, with which gaps and pauses, and how long requests took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Final

from sqlalchemy import func, select

from reconciler.audit.reporting import Answer, Reading, Report, Section, columns_of, overlapping
from reconciler.audit.running.control import Control, Gap, controls, doubts, gaps_of, observed
from reconciler.audit.running.pauses import PAUSE
from reconciler.audit.streaming import typed
from reconciler.audit.tables import PauseEventRow
from reconciler.audit.views import RUNNING, TIMES
from reconciler.domain.text import counted
from reconciler.domain.times import duration_text

# What `decision_times` says of a request's time: a typed one states none, and counts from when it was first seen.
_KINDS: Final = {"stated": "dated", "first seen": "typed"}


@dataclass(frozen=True, slots=True)
class Interval:
    """A daemon was in one state, on the same terms. Times as in `running_periods`, not cut at the period's."""

    registry: str
    workspace: str
    daemon: str
    state: str
    mode: str
    policy_digest: str
    loaded_by: str
    product_version: str
    detail: str
    began_at: datetime
    ended_at: datetime | None
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Pause:
    at: datetime
    action: str
    reason: str
    person: str


@dataclass(frozen=True, slots=True)
class Took:
    """Seconds from request to first decision: the least that so many of a hundred did not exceed."""

    requests: str
    decided: int
    p50_seconds: int | None
    p95_seconds: int | None
    most_seconds: int | None


def _intervals(reading: Reading) -> Iterator[Interval]:
    period = RUNNING.c
    query = columns_of(Interval, RUNNING).where(*overlapping(reading, period.began_at, period.last_seen_at))
    return typed(Interval, reading.rows(query.order_by(period.began_at, period.daemon)))


def _seconds(reading: Reading) -> dict[str, int]:
    """How long daemons were in each state and mode within the period; replicas count each for itself."""
    sums: Counter[str] = Counter()
    for interval in _intervals(reading):
        began = max(interval.began_at, reading.since or interval.began_at)
        ended = min(interval.ended_at or interval.last_seen_at, reading.until)
        key = interval.mode if interval.state == "running" else interval.state
        sums[key] += max(round((ended - began).total_seconds()), 0)
    return dict(sums.most_common())


def _long_gaps(reading: Reading) -> Iterator[Gap]:
    for served in reading.registries:
        yield from (gap for gap in gaps_of(reading, served) if gap.length > reading.asked.longer_than)


def _pauses(reading: Reading) -> Iterator[Pause]:
    """What was paused and resumed in the period, and first the pause that was in force when it began."""
    table = PauseEventRow.__table__
    if reading.since is not None:
        before = columns_of(Pause, table).where(table.c.at < reading.since).order_by(table.c.id.desc()).limit(1)
        yield from (last for last in typed(Pause, reading.rows(before)) if last.action == PAUSE)
    here = columns_of(Pause, table).where(*reading.within(table.c.at))
    yield from typed(Pause, reading.rows(here.order_by(table.c.id)))


def _took(reading: Reading, kind: str) -> Took:
    """The database sorts, and is asked for the rows at two places."""
    about = [*reading.about(TIMES, "decided_at"), TIMES.c.requested_at_is == kind]
    many, most = reading.connection.execute(select(func.count(), func.max(TIMES.c.seconds)).where(*about)).one()

    def place(percent: int) -> int | None:
        query = select(TIMES.c.seconds).where(*about).order_by(TIMES.c.seconds)
        return reading.connection.scalar(query.limit(1).offset(max(ceil(many * percent / 100) - 1, 0)))

    return Took(_KINDS[kind], many, place(50), place(95), most)


def _opinion(found: list[Control], pauses: int, took: Sequence[Took]) -> str:
    parts = [observed(found), counted(sum(control.gaps for control in found), "gap"), counted(pauses, "pause")]
    for one in took:
        if one.p50_seconds is not None and one.p95_seconds is not None:
            half, most = (duration_text(timedelta(seconds=value)) for value in (one.p50_seconds, one.p95_seconds))
            asked = counted(one.decided, f"{one.requests} request")
            parts.append(f"{asked}: half decided within {half}, 95 % within {most}")
    return "; ".join(parts)


def _answer(reading: Reading) -> Answer:
    found, seconds = controls(reading), _seconds(reading)
    took = [_took(reading, kind) for kind in _KINDS]
    many = sum(event.action == PAUSE for event in _pauses(reading))
    counts = {
        "gaps": sum(control.gaps for control in found),
        "pauses": many,
        "decided": sum(one.decided for one in took),
        "seconds": seconds,
    }
    gaps = ("registry", "began_at", "ended_at", "seconds")
    times = ("requests", "decided", "p50_seconds", "p95_seconds", "most_seconds")
    return Answer(
        _opinion(found, many, took),
        counts,
        [
            Section(
                "intervals", Interval, ("daemon", "state", "mode", "began_at", "last_seen_at"), _intervals(reading)
            ),
            Section("control", Control, ("registry", "percent", "gaps", "longest_gap_seconds"), found),
            Section("gaps", Gap, gaps, _long_gaps(reading)),
            Section("pauses", Pause, ("at", "action", "person", "reason"), _pauses(reading)),
            Section("times", Took, times, took),
        ],
        [*doubts(reading, found), *_observing(seconds)],
    )


def _observing(seconds: dict[str, int]) -> Iterator[str]:
    if watched := seconds.get("observe"):
        yield f"daemons only observed for {duration_text(timedelta(seconds=watched))}: nothing was carried out then"


REPORT = Report(
    "operated",
    "whether the control ran: gaps, pauses, modes, time to decision",
    _answer,
    ("intervals", "control", "gaps", "pauses", "times"),
)
