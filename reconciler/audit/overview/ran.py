"""How the control ran: what it was doing on each day, and which policies were in force when."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import func, select

from reconciler.audit.reporting import Reading, overlapping
from reconciler.audit.running.control import first_state
from reconciler.audit.running.states import State
from reconciler.audit.statements import Served
from reconciler.audit.tables import DecisionRow
from reconciler.audit.views import POLICY_PERIODS, RUNNING, TENURES
from reconciler.domain.decision import Mode

_DAY: Final = timedelta(days=1)
# A strip has at most so many parts: of a longer period each is of several days.
_MOST_PARTS: Final = 184
_MOST_BANDS: Final = 200

Change = tuple[datetime, int, "Doing"]


class Doing(StrEnum):
    """What a registry's daemons were doing together: of replicas, what the most active one did."""

    ACTING = "acting"
    OBSERVING = "observing"
    PAUSED = "paused"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Part:
    """A day, or several, of a registry; `shares` of it, which sum up to 1."""

    registry: str
    workspace: str
    began_at: datetime
    ended_at: datetime
    shares: dict[Doing, float]


@dataclass(frozen=True, slots=True)
class Band:
    """A policy was in force at a registry, by whichever of its daemons."""

    registry: str
    workspace: str
    policy_digest: str
    began_at: datetime
    ended_at: datetime


def began_of(reading: Reading) -> datetime:
    """When the period begins; where it has no beginning, with the first thing on record."""
    if reading.since is not None:
        return min(reading.since, reading.until)
    first = [first_state(reading, served) for served in reading.registries]
    columns: tuple[Any, ...] = (DecisionRow.decided_at, TENURES.c.first_seen_with)
    first += [reading.connection.scalar(select(func.min(column))) for column in columns]
    return min((moment for moment in first if moment is not None), default=reading.until)


# --- by day ----------------------------------------------------------------------------------------------------


def strip_of(reading: Reading) -> list[Part]:
    return [part for served in reading.registries for part in _parts(reading, served)]


def _parts(reading: Reading, served: Served) -> Iterator[Part]:
    edges = _edges(began_of(reading), reading.until)
    spent: list[Counter[Doing]] = [Counter() for _ in edges[1:]]
    at = 0
    for began, ended, doing in _stretches(reading, served, edges[0], edges[-1]):
        while began < ended:
            while edges[at + 1] <= began:
                at += 1
            until = min(ended, edges[at + 1])
            spent[at][doing] += (until - began) / timedelta(seconds=1)  # type: ignore[assignment]
            began = until
    for (begins, ends), seconds in zip(pairwise(edges), spent, strict=True):
        whole = (ends - begins).total_seconds()
        shares = {doing: seconds[doing] / whole for doing in Doing if doing is not Doing.DOWN}
        yield Part(*_registry_of(served), begins, ends, shares | {Doing.DOWN: max(1 - sum(shares.values()), 0.0)})


def _registry_of(served: Served) -> tuple[str, str]:
    return served.registry, served.workspace


def _edges(began: datetime, ended: datetime) -> list[datetime]:
    """Midnights of UTC between the two, which are edges themselves."""
    days = timedelta(days=max(-(-(ended - began) // _DAY) // _MOST_PARTS, 0) + 1)
    midnight = began.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    inner = []
    while (midnight := midnight + days) < ended:
        inner.append(midnight)
    return [began, *inner, ended] if began < ended else [began]


def _stretches(
    reading: Reading, served: Served, began: datetime, ended: datetime
) -> Iterator[tuple[datetime, datetime, Doing]]:
    """Times in which something was doing, the first first; between them it was down."""
    going: Counter[Doing] = Counter()
    before = began
    for moment, change, doing in heapq.merge(*_changes(reading, served)):
        at = min(max(moment, began), ended)
        busiest = next((kind for kind in Doing if going[kind] > 0), None)
        if busiest is not None and before < at:
            yield before, at, busiest
        before = max(before, at)
        going[doing] += change


def _changes(reading: Reading, served: Served) -> tuple[list[Change], list[Change]]:
    """When something began, and when something ended."""
    began: list[Change] = []
    ended: list[Change] = []
    period = RUNNING.c
    here = period.registry == served.registry, period.workspace == served.workspace
    names = (period.state, period.mode, period.began_at, period.ended_at, period.last_seen_at)
    query = select(*names).where(*here, *overlapping(reading, period.began_at, period.last_seen_at))
    for row in reading.rows(query.order_by(period.began_at)):
        doing = _doing(row.state, row.mode)
        if doing is not Doing.DOWN:
            began.append((row.began_at, 1, doing))
            ended.append((_until(reading, row), -1, doing))
    return began, sorted(ended)


def _until(reading: Reading, row: Any) -> datetime:
    """Since the last cycle of what goes on, nothing was due yet."""
    last: datetime = row.ended_at or row.last_seen_at
    going_on = row.ended_at is None and reading.now - last <= reading.asked.longer_than
    return reading.now if going_on else last


def _doing(state: str, mode: str) -> Doing:
    if state == State.PAUSED:
        return Doing.PAUSED
    if state != State.RUNNING:
        return Doing.DOWN
    return Doing.OBSERVING if mode == Mode.OBSERVE else Doing.ACTING


# --- policies --------------------------------------------------------------------------------------------------


def bands_of(reading: Reading) -> list[Band]:
    """The newest policies; times in which one was in force again and again, or at several daemons, are one."""
    period = POLICY_PERIODS.c
    query = select(POLICY_PERIODS).where(*overlapping(reading, period.began_at, period.last_seen_at))
    bands: dict[tuple[str, str], list[Band]] = {}
    for row in reading.rows(query.order_by(period.registry, period.workspace, period.began_at)):
        mine = bands.setdefault((row.registry, row.workspace), [])
        last = mine.pop() if mine and mine[-1].policy_digest == row.policy_digest else None
        began = last.began_at if last else row.began_at
        ended = max(_until(reading, row), last.ended_at) if last else _until(reading, row)
        mine.append(Band(row.registry, row.workspace, row.policy_digest, began, min(ended, reading.until)))
        del mine[:-_MOST_BANDS]
    return [band for mine in bands.values() for band in mine]


def nearest_to(reading: Reading) -> Band | None:
    """Of a period without a policy in force: the last one before it, else the first one after; None: there is none."""
    period = POLICY_PERIODS.c
    before = select(POLICY_PERIODS).where(period.began_at < reading.until).order_by(period.last_seen_at.desc())
    after = select(POLICY_PERIODS).where(period.began_at >= reading.until).order_by(period.began_at)
    for query in (before, after):
        for row in reading.rows(query.limit(1)):
            return Band(row.registry, row.workspace, row.policy_digest, row.began_at, row.last_seen_at)
    return None
