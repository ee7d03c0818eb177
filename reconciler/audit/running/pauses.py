"""Pausing every daemon on a database, and whether each has obeyed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, select

from reconciler.audit.session import Session
from reconciler.audit.tables import DaemonRow, PauseEventRow, db_now, now_in
from reconciler.domain.text import visible, visible_name

PAUSE, RESUME = "pause", "resume"

# A daemon runs if its last cycle ended within this time, and it did not sign off.
ALIVE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that runs on this database. `obeys`: one of its cycles has ended since the last pause or resume."""

    name: str
    last_heard: timedelta
    obeys: bool


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause that is in force."""

    at: datetime
    person: str
    reason: str


def pause_in_force(engine: Engine) -> Pause | None:
    with Session(engine).snapshot() as connection:
        return _in_force(connection)


def paused_for(connection: Connection) -> str | None:
    """Why acts are paused; None: they are not."""
    pause = _in_force(connection)
    return None if pause is None else pause.reason


def _in_force(connection: Connection) -> Pause | None:
    row = PauseEventRow
    last = select(row.action, row.at, row.person, row.reason).order_by(row.id.desc()).limit(1)
    found = connection.execute(last).one_or_none()
    return Pause(found.at, found.person, found.reason) if found is not None and found.action == PAUSE else None


def note_pause(engine: Engine, action: str, reason: str, person: str) -> bool:
    """Pauses or resumes every daemon on this database. False where that changed nothing."""
    with Session(engine).recording() as recording:
        if (paused_for(recording.connection) is not None) == (action == PAUSE):
            return False
        values = {"action": action, "reason": visible(reason), "person": visible_name(person)}
        recording.add(PauseEventRow, values | {"at": db_now()})
    return True


def running(engine: Engine) -> list[Running]:
    """Those that run, by name. Every act checks for a pause first, so the end of a cycle proves obedience."""
    alive = select(DaemonRow.name, DaemonRow.last_cycle_at).where(DaemonRow.ended_at.is_(None))
    with Session(engine).snapshot() as connection:
        now = now_in(connection)
        since = connection.scalar(select(PauseEventRow.at).order_by(PauseEventRow.id.desc()).limit(1))
        rows = connection.execute(alive.where(DaemonRow.last_cycle_at > now - ALIVE).order_by(DaemonRow.name)).all()
    return [Running(row.name, now - row.last_cycle_at, since is not None and row.last_cycle_at > since) for row in rows]
