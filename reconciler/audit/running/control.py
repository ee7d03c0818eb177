"""How much of a period the control was running, and when it was not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select

from reconciler.audit.reporting import Reading, overlapping, shown
from reconciler.audit.running.tables import RunningStateRow
from reconciler.audit.statements import Served
from reconciler.audit.views import GAPS
from reconciler.domain.text import counted
from reconciler.domain.times import duration_text


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which no daemon of a registry was running, as far as it lies in the period."""

    registry: str
    workspace: str
    began_at: datetime
    ended_at: datetime
    seconds: float

    @property
    def length(self) -> timedelta:
        return self.ended_at - self.began_at


@dataclass(frozen=True, slots=True)
class Control:
    """How one registry was looked after in a period.

    Args:
        percent: of the period, with one decimal, cut and not rounded: 100 means no gap.
        gaps: how many are longer than what was asked for.
    """

    registry: str
    workspace: str
    began_at: datetime
    ended_at: datetime
    percent: float
    gaps: int
    longest_gap_seconds: float
    all_gaps: int
    gap_seconds: float


def gaps_of(reading: Reading, served: Served) -> Iterator[Gap]:
    """Every gap in the period, the first first. The time before the registry's first daemon is one."""
    began = _began(reading, served)
    first = first_state(reading, served)
    if first is None or first > began:
        yield from _clipped(served, began, first or reading.until, began, reading.until)
    if first is None:
        return
    gap, silence = GAPS.c, reading.asked.longer_than
    here = gap.registry == served.registry, gap.workspace == served.workspace
    query = select(gap.began_at, gap.ended_at).where(*here, *overlapping(reading, gap.began_at, gap.ended_at))
    for row in reading.rows(query.order_by(gap.began_at)):
        # Since the last cycle, nothing was due yet.
        if row.ended_at is not None or reading.now - row.began_at > silence:
            yield from _clipped(served, row.began_at, row.ended_at or reading.now, began, reading.until)


def _clipped(served: Served, began_at: datetime, ended_at: datetime, since: datetime, until: datetime) -> Iterator[Gap]:
    began_at, ended_at = max(began_at, since), min(ended_at, until)
    if began_at < ended_at:
        yield Gap(served.registry, served.workspace, began_at, ended_at, (ended_at - began_at).total_seconds())


def _began(reading: Reading, served: Served) -> datetime:
    """When the period begins: where it has no beginning, with the record."""
    return reading.since or first_state(reading, served) or reading.until


def first_state(reading: Reading, served: Served) -> datetime | None:
    """When the record of what its daemons did begins."""
    row = RunningStateRow
    first: datetime | None = reading.connection.scalar(select(func.min(row.since)).where(served.among(row)))
    return first


def control_of(reading: Reading, served: Served) -> Control:
    began = min(_began(reading, served), reading.until)
    lengths = [gap.length for gap in gaps_of(reading, served)]
    missing, whole = sum(lengths, timedelta()), reading.until - began
    named = [length for length in lengths if length > reading.asked.longer_than]
    return Control(
        served.registry,
        served.workspace,
        began,
        reading.until,
        _percent(whole - missing, whole),
        len(named),
        max(lengths, default=timedelta()).total_seconds(),
        len(lengths),
        missing.total_seconds(),
    )


def _percent(part: timedelta, whole: timedelta) -> float:
    """Cut after one decimal, so that what is missing is never rounded away. Of no time at all nothing was observed."""
    return (part * 1000 // whole) / 10 if whole else 0.0


def controls(reading: Reading) -> list[Control]:
    return [control_of(reading, served) for served in reading.registries]


def observed(found: list[Control]) -> str:
    """How much of the period was observed, as part of an opinion: of several registries, of the one with the least."""
    if not found:
        return "no daemon is on record"
    least = min(found, key=lambda control: control.percent)
    of = f" ({shown(Served(least.registry, least.workspace))}, the least of {len(found)})" if len(found) > 1 else ""
    return f"the control observed {least.percent:g} % of the period{of}"


def doubts(reading: Reading, found: list[Control]) -> Iterator[str]:
    """What gaps leave open."""
    if not found:
        yield "no daemon of this release ever ran on this database"
    for control in found:
        where = f" at {shown(Served(control.registry, control.workspace))}" if len(found) > 1 else ""
        if control.began_at >= control.ended_at:
            yield f"nothing is on record of the period{where}: it ends before the first daemon ran, or is in the future"
        if control.gaps:
            longest = duration_text(timedelta(seconds=control.longest_gap_seconds))
            least = duration_text(reading.asked.longer_than)
            gaps = counted(control.gaps, "gap")
            yield f"{gaps} longer than {least}{where}, the longest {longest}: what came and went then was not seen"
