"""Writing the audit: one transaction for each event."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar

from sqlalchemy import Engine

from reconciler.audit import decisions
from reconciler.audit.claims import Claims
from reconciler.audit.daemons import Daemons
from reconciler.audit.open_requests import OpenRequests
from reconciler.audit.pauses import paused_for
from reconciler.audit.session import Session
from reconciler.audit.statements import Served
from reconciler.audit.stuck import stuck
from reconciler.audit.tables import now_in
from reconciler.domain.decision import Judged, Mode, Outcome, OutcomeKind
from reconciler.domain.request import Request
from reconciler.domain.text import visible_name
from reconciler.failpoints import failpoint
from reconciler.ports.audit import CycleNote, FirstSeen, GoAhead, Pending, Recorded, Stuck, Waiting
from reconciler.ports.registry import Unread

LEASE = timedelta(seconds=90)

_NOT_ACTED = {
    Mode.OBSERVE: "mode observe: nothing was done",
    Mode.APPROVE_ONLY: "mode approve-only: left for a person",
}


class SqlAuditLog:
    """`AuditLog` of one registry and workspace, on SQLite or PostgreSQL. `daemon` names this process: host:pid."""

    # More cycles will follow.
    resident: ClassVar[bool] = True

    def __init__(
        self,
        engine: Engine,
        daemon: str,
        registry: str,
        workspace: str = "",
        lease: timedelta = LEASE,
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_answer` is called after each transaction, as a sign that the database answers."""
        self._session = Session(engine, on_answer)
        self._daemon = daemon
        self._served = Served(visible_name(registry), visible_name(workspace))
        self._claims = Claims(daemon, self._served, lease)
        self._open = OpenRequests(self._served)
        self._daemons = Daemons(daemon, self._served, resident=self.resident)
        self._kept: set[str] = set()

    def now(self) -> datetime:
        with self._session.snapshot() as connection:
            return now_in(connection)

    # --- decisions -------------------------------------------------------------------------------------------

    def keep_policy(self, digest: str, text: str) -> None:
        if digest in self._kept:
            return
        with self._session.snapshot() as connection:
            known = decisions.knows_policy(connection, digest)
        if not known:
            with self._session.recording() as recording:
                decisions.keep_policy(recording, digest, text)
        self._kept.add(digest)

    def settled(self, keys: Collection[str], mode: Mode) -> set[str]:
        with self._session.snapshot() as connection:
            return decisions.settled(connection, keys, mode)

    def record(self, judged: Judged) -> Recorded | None:
        fence = None
        with self._session.recording() as recording:
            decision = decisions.add_decision(recording, judged, self._daemon)
            if decision is None:
                return None
            if judged.acts:
                fence = self._claims.add(recording.connection, decision.decision_id)
            else:
                observed = Outcome(OutcomeKind.OBSERVED, _NOT_ACTED[judged.mode])
                decisions.add_outcome(recording, decision.decision_id, observed)
            failpoint("decision to be committed")
        return Recorded(decision, fence)

    # --- claims ----------------------------------------------------------------------------------------------

    def claim(self, limit: int, exclude: Collection[str], everything: bool) -> list[Pending]:
        with self._session.transaction() as connection:
            claimed = self._claims.claim(connection, limit, exclude, everything)
            failpoint("claims to be committed")
        return claimed

    def restore_claims(self, stop: Callable[[], bool]) -> None:
        lost: list[str] = []
        last: str | None = ""
        while last is not None and not stop():
            with self._session.snapshot() as connection:
                found, last = self._claims.lost(connection, last)
            lost += found
        if lost:
            with self._session.transaction() as connection:
                self._claims.restore(connection, lost)

    def paused(self) -> str | None:
        with self._session.snapshot() as connection:
            return paused_for(connection)

    def go_ahead(self, pending: Pending) -> GoAhead:
        with self._session.transaction() as connection:
            if paused_for(connection) is not None:
                return GoAhead.PAUSED
            if not self._claims.renew(connection, pending):
                return GoAhead.TAKEN_OVER
            return GoAhead.WAITS if self._claims.has_older(connection, pending.decision) else GoAhead.YES

    def attempted(self, pending: Pending, detail: str, retry_in: timedelta) -> None:
        with self._session.transaction() as connection:
            self._claims.release(connection, pending, detail, retry_in, acted=True)

    def not_read(self, pending: Pending, detail: str, retry_in: timedelta) -> None:
        with self._session.transaction() as connection:
            self._claims.release(connection, pending, detail, retry_in, acted=False)

    def conclude(self, pending: Pending, outcome: Outcome) -> bool:
        with self._session.recording() as recording:
            if not self._claims.end(recording.connection, pending):
                return False
            decisions.add_outcome(recording, pending.decision.decision_id, outcome)
            if outcome.kind is not OutcomeKind.FAILED:
                self._open.forget(recording.connection, pending.decision.request)
            failpoint("outcome to be committed")
        return True

    # --- open requests ---------------------------------------------------------------------------------------

    def first_seen(self, unstamped: Sequence[Request]) -> Mapping[str, FirstSeen]:
        with self._session.transaction() as connection:
            return self._open.first_seen(connection, unstamped)

    def set_aside(self, keys: Collection[str]) -> set[str]:
        with self._session.snapshot() as connection:
            return self._open.set_aside(connection, keys)

    def reconcile_open(
        self, listed: Sequence[Request], waiting: Sequence[Waiting], unread: Sequence[Unread] = ()
    ) -> None:
        with self._session.transaction() as connection:
            self._open.reconcile(connection, listed, waiting, unread)

    def stuck(self) -> list[Stuck]:
        with self._session.snapshot() as connection:
            return stuck(connection, self._served)

    # --- daemons ---------------------------------------------------------------------------------------------

    def share(self) -> tuple[int, int]:
        with self._session.snapshot() as connection:
            return self._daemons.share(connection)

    def sign_on(self, mode: Mode, policy_digest: str) -> None:
        """This daemon starts: `pause --wait` waits for it too, before its first cycle has ended."""
        with self._session.transaction() as connection:
            self._daemons.sign_on(connection, mode, policy_digest)

    def note_cycle(self, note: CycleNote) -> None:
        with self._session.transaction() as connection:
            self._daemons.note_cycle(connection, note)

    def sign_off(self) -> None:
        """This daemon ends: no pause waits for it, and no work is shared with it."""
        with self._session.transaction() as connection:
            self._daemons.sign_off(connection)


class OneCycleLog(SqlAuditLog):
    """The log of one cycle run by hand. It is not a replica: no pause waits for it, and it takes no share of work."""

    resident: ClassVar[bool] = False
