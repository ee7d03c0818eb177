"""What each daemon records about itself: that it runs, and how its last cycle went."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta

from sqlalchemy import Connection, delete, exists, insert, select, update

from reconciler.audit.running.pauses import ALIVE
from reconciler.audit.statements import Served
from reconciler.audit.tables import DaemonRow, db_now, now_in
from reconciler.domain.decision import Mode
from reconciler.domain.text import visible
from reconciler.domain.times import millis_of
from reconciler.ports import CycleNote

# How long `status` shows a daemon that was never heard from again.
_REMEMBERED = timedelta(days=1)
# The sentence of a daemon whose first cycle has not ended.
NO_CYCLE_YET = ""


def name_of_once(daemon: str, served: Served) -> str:
    """The name under which cycles that are processes of their own follow one another: one for each place and host."""
    place = hashlib.sha256(json.dumps([served.registry, served.workspace]).encode()).hexdigest()
    return f"{daemon.rpartition(':')[0]}:once-{place[:8]}"


class Daemons:
    """The rows of one registry's and workspace's daemons, written by the one named `name` (host:pid).

    Args:
        resident: more cycles will follow; False for one cycle run by hand.
    """

    def __init__(self, name: str, served: Served, *, resident: bool) -> None:
        self._name = name
        self._served = served
        self._here = served.among(DaemonRow)
        self._resident = resident
        self._noted = False

    def share(self, connection: Connection) -> tuple[int, int]:
        """This daemon's index (from 0), and how many daemons there are."""
        now = now_in(connection)
        alive = (DaemonRow.last_cycle_at > now - ALIVE) & DaemonRow.ended_at.is_(None)
        names = sorted({self._name, *connection.scalars(select(DaemonRow.name).where(alive, self._here))})
        return names.index(self._name), len(names)

    def sign_on(self, connection: Connection, mode: Mode, policy_digest: str) -> None:
        now = now_in(connection)
        # Daemons that were killed before their first cycle ended, which may happen again and again.
        gone = (DaemonRow.sentence == NO_CYCLE_YET) & (DaemonRow.last_cycle_at < now - ALIVE)
        connection.execute(delete(DaemonRow).where(gone | (DaemonRow.name == self._name)))
        values = {
            "name": self._name,
            "started_at": now,
            "last_cycle_at": now,
            "sentence": NO_CYCLE_YET,
            "ok": False,
            "mode": str(mode),
            "policy_digest": policy_digest,
            "duration_ms": 0,
            **self._served.columns,
        }
        connection.execute(insert(DaemonRow).values(values))

    def note_cycle(self, connection: Connection, note: CycleNote) -> None:
        values = {
            "last_cycle_at": db_now(),
            "sentence": visible(note.sentence),
            "ok": note.ok,
            "mode": str(note.mode),
            "policy_digest": note.policy_digest,
            "duration_ms": millis_of(note.duration),
            **self._served.columns,
            "problem": None if note.problem is None else visible(note.problem),
            "skew_ms": None if note.skew is None else millis_of(note.skew),
            "ended_at": None if self._resident else db_now(),
        }
        mine = update(DaemonRow).where(DaemonRow.name == self._name)
        if connection.execute(mine.values(values)).rowcount == 0:
            connection.execute(insert(DaemonRow).values(name=self._name, started_at=db_now(), **values))
        if not self._noted:
            self._forget(connection)
            self._noted = True

    def sign_off(self, connection: Connection) -> None:
        mine = DaemonRow.name == self._name
        connection.execute(delete(DaemonRow).where(mine, DaemonRow.sentence == NO_CYCLE_YET))
        connection.execute(update(DaemonRow).where(mine).values(ended_at=db_now()))

    def _forget(self, connection: Connection) -> None:
        """Drops daemons that ended or are silent, except the latest of each registry, which shows its last cycle."""
        now = now_in(connection)
        # A start closes the periods of those that are silent first, as of their last cycle, which stands here.
        others = self._here & DaemonRow.ended_at.is_not(None) & (DaemonRow.name != self._name)
        silent = (DaemonRow.last_cycle_at < now - _REMEMBERED) & _IS_NOT_THE_LAST
        connection.execute(delete(DaemonRow).where(others | silent if self._resident else others))


_LATER = DaemonRow.__table__.alias("later")
_IS_NOT_THE_LAST = exists().where(
    _LATER.c.registry == DaemonRow.registry,
    _LATER.c.workspace == DaemonRow.workspace,
    _LATER.c.last_cycle_at > DaemonRow.last_cycle_at,
)
