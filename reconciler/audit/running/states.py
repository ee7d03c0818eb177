"""What a daemon says of itself: since when it runs, on which terms, and when it did not.

A row says from when something is so; the next row of the same daemon ends it. One is written when anything changes, and
at least once a day. A daemon that was killed cannot say so: the next one that starts says it, as of its last cycle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, func, select

from reconciler import __version__
from reconciler.audit.log.appending import recorded
from reconciler.audit.running.pauses import ALIVE
from reconciler.audit.running.tables import RunningStateRow
from reconciler.audit.statements import Served
from reconciler.audit.tables import DaemonRow, db_now, now_in
from reconciler.domain.text import visible, visible_name
from reconciler.domain.times import millis_of
from reconciler.ports.audit_values import Operation

# At least one row in this time, however little changes.
_RESTATED_AFTER: Final = timedelta(days=1)
# A daemon of which nothing was heard for so many of its intervals did not operate.
_SILENT_INTERVALS: Final = 3


class State(StrEnum):
    """What a daemon was doing.

    `REGISTRY_DOWN`: its cycles could not list the registry's requests. `DATABASE_GAP`, `STOOD_STILL`: no cycle of it
    ended, because the audit database could not be written, or for no reason that it knows of.
    """

    RUNNING = "running"
    PAUSED = "paused"
    REGISTRY_DOWN = "registry_down"
    DATABASE_GAP = "database_gap"
    STOOD_STILL = "stood_still"
    ENDED = "ended"


_KILLED: Final = "it never signed off: killed, or cut off"


class Said(NamedTuple):
    """What a row says, but for its times."""

    state: State
    mode: str
    policy_digest: str
    policy_file: str
    loaded_by: str
    interval_ms: int
    detail: str = ""

    @classmethod
    def of(cls, operation: Operation, state: State) -> Said:
        return cls(
            state,
            str(operation.mode),
            operation.policy_digest,
            visible_name(operation.policy_file),
            visible_name(operation.loaded_by),
            millis_of(operation.interval),
            "" if operation.paused is None else visible(operation.paused),
        )


class Last(NamedTuple):
    """What a daemon that has not ended said last, when that was written, and when a cycle of it last began or ended."""

    said: Said
    written: datetime
    heard: datetime


class Clocks:
    """Seconds by this host: the most that passed by any of its clocks, of which one stops and the other jumps."""

    def __init__(self, clocks: tuple[Callable[[], float], ...] = (time.monotonic, time.time)) -> None:
        self._clocks = clocks
        self._before = [clock() for clock in clocks]

    def passed(self) -> timedelta:
        """Since the last `restart`."""
        return timedelta(
            seconds=max(clock() - before for clock, before in zip(self._clocks, self._before, strict=True))
        )

    def restart(self) -> None:
        self._before = [clock() for clock in self._clocks]


class RunningStates:
    """The rows of one daemon. What it says is remembered (`keep`) when it is committed.

    Args:
        name: host:pid, or host:once-… where each cycle is a process of its own.
    """

    def __init__(self, name: str, served: Served, clocks: Clocks | None = None) -> None:
        self._name = name
        self._served = served
        self._here = served.among(RunningStateRow)
        self._clocks = clocks or Clocks()
        self._memory: Last | None = None

    def keep(self, last: Last) -> None:
        self._memory = last
        self._clocks.restart()

    # --- cycles ----------------------------------------------------------------------------------------------

    def is_as_before(self, operation: Operation) -> bool:
        """Whether a cycle that begins on these terms has nothing to say. It asks no database."""
        memory = self._memory
        if memory is None or self._clocks.passed() > _SILENT_INTERVALS * operation.interval:
            return False
        return self._begun(operation) == memory.said

    def begin(self, connection: Connection, operation: Operation, database_failed: bool) -> Last:
        """A cycle begins: its decisions are made on these terms, so they are written before."""
        may_take = _SILENT_INTERVALS * operation.interval
        return self._say(connection, self._begun(operation), may_take, database_failed)

    def end(self, connection: Connection, operation: Operation, registry_down: bool, database_failed: bool) -> Last:
        """A cycle ended, which may have taken as long as it may."""
        state = State.PAUSED if operation.paused is not None else State.RUNNING
        if registry_down and state is State.RUNNING:
            state = State.REGISTRY_DOWN
        may_take = _SILENT_INTERVALS * operation.interval + operation.longest_cycle
        return self._say(connection, Said.of(operation, state), may_take, database_failed)

    def _begun(self, operation: Operation) -> Said:
        """Whether the registry answers again is known when the cycle ends."""
        if operation.paused is not None:
            return Said.of(operation, State.PAUSED)
        was_down = self._memory is not None and self._memory.said.state is State.REGISTRY_DOWN
        return Said.of(operation, State.REGISTRY_DOWN if was_down else State.RUNNING)

    def _say(self, connection: Connection, said: Said, may_take: timedelta, database_failed: bool) -> Last:
        # Of cycles that are processes of their own, each remembers what the one before it said.
        now, memory = now_in(connection), self._memory or self._last_of(connection, self._name)
        rows: list[tuple[Said, datetime]] = []
        if memory is not None and now - memory.heard > may_take:
            silent = State.DATABASE_GAP if database_failed else State.STOOD_STILL
            rows.append((memory.said._replace(state=silent, detail=""), memory.heard))
        if rows or memory is None or said != memory.said or now - memory.written >= _RESTATED_AFTER:
            rows.append((said, now))
        self._add(connection, rows)
        return Last(said, now if rows or memory is None else memory.written, now)

    # --- beginnings and ends ---------------------------------------------------------------------------------

    def start(self, connection: Connection) -> None:
        """Ends what daemons that are gone left open, as of the last that was heard of each."""
        now, alone = now_in(connection), connection.dialect.name == "sqlite"
        ends = []
        for name in self._candidates(connection, now):
            last = self._last_of(connection, name)
            if last is None:
                continue
            may_live = max(ALIVE, timedelta(milliseconds=_SILENT_INTERVALS * last.said.interval_ms))
            # A SQLite file has one owner, and a name belongs to one process.
            if alone or name == self._name or now - last.heard > may_live:
                ends.append((name, last))
        for name, last in ends:
            self._add(connection, [(last.said._replace(state=State.ENDED, detail=_KILLED), last.heard)], name)

    def stop(self, connection: Connection) -> None:
        """This daemon signs off."""
        if self._memory is not None:
            self._add(connection, [(self._memory.said._replace(state=State.ENDED, detail=""), now_in(connection))])

    def _candidates(self, connection: Connection, now: datetime) -> list[str]:
        """Daemons of this registry that may be open: each says something every day, and is a row of `daemons`."""
        row, daemon = RunningStateRow, DaemonRow
        recent = self._here & (row.at > now - 2 * _RESTATED_AFTER)
        newest = select(func.max(row.id)).where(recent).group_by(row.daemon)
        said = select(row.daemon, row.state).where(row.id.in_(newest))
        states = {found.daemon: found.state for found in connection.execute(said)}
        known = set(connection.scalars(select(daemon.name).where(self._served.among(daemon))))
        # After thousands of restarts nearly all have ended, and none of those is asked about by itself.
        return sorted({name for name, state in states.items() if state != State.ENDED} | (known - states.keys()))

    def _last_of(self, connection: Connection, name: str) -> Last | None:
        """None where it has ended."""
        row, daemon = RunningStateRow, DaemonRow
        heard = select(daemon.last_cycle_at).where(daemon.name == name, self._served.among(daemon)).scalar_subquery()
        newest = select(row.__table__, heard.label("cycle_at")).where(self._here, row.daemon == name)
        found: Any = connection.execute(newest.order_by(row.id.desc()).limit(1)).one_or_none()
        if found is None or found.state == State.ENDED:
            return None
        said = Said(State(found.state), *(getattr(found, name) for name in Said._fields[1:]))
        return Last(said, found.at, max(found.at, found.cycle_at or found.at))

    def _add(self, connection: Connection, rows: Sequence[tuple[Said, datetime]], name: str | None = None) -> None:
        if not rows:
            return
        here = self._served.columns | {"daemon": name or self._name}
        with recorded(connection) as recording:
            for said, since in rows:
                values = {**here, **said._asdict(), "since": since, "at": db_now(), "product_version": __version__}
                recording.add(RunningStateRow, values)
