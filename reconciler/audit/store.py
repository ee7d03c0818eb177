"""Writing the audit: one transaction for each event."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar

from sqlalchemy import Connection, Engine

from reconciler.audit.decisions import adding, judgements
from reconciler.audit.decisions.adding import Prepared
from reconciler.audit.decisions.claims import Claims, Reply
from reconciler.audit.decisions.stuck import stuck
from reconciler.audit.holding.observations import SqlObservations
from reconciler.audit.log.appending import Recording
from reconciler.audit.requests import resolutions
from reconciler.audit.requests.open_requests import OpenRequests, Picture
from reconciler.audit.running.daemons import Daemons, name_of_once
from reconciler.audit.running.pauses import paused_for
from reconciler.audit.running.states import Last, RunningStates
from reconciler.audit.session import Session
from reconciler.audit.statements import Served
from reconciler.audit.tables import now_in
from reconciler.domain.decision import Decision, Judged, Mode, Outcome, OutcomeKind
from reconciler.domain.judgements import Confirmation, Findings, LastDecision
from reconciler.domain.request import Request
from reconciler.domain.text import visible_name
from reconciler.failpoints import failpoint
from reconciler.ports import (
    CycleNote,
    Ending,
    FirstSeen,
    GoAhead,
    Gone,
    History,
    Inferred,
    Lapsed,
    Operation,
    Pending,
    Recorded,
    Stuck,
    Unread,
    Waiting,
)  # fmt: skip

LEASE = timedelta(seconds=90)


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
        # Of many processes with one cycle each, each goes on where the last one stopped.
        name = daemon if self.resident else name_of_once(daemon, self._served)
        self._daemons = Daemons(name, self._served, resident=self.resident)
        self._running = RunningStates(name, self._served)
        self._operation: Operation | None = None
        self._kept: set[str] = set()
        self.observations = SqlObservations(self._session, self._served, name)

    def now(self) -> datetime:
        with self._session.snapshot() as connection:
            return now_in(connection)

    # --- decisions -------------------------------------------------------------------------------------------

    def keep_policy(self, digest: str, text: str) -> None:
        if digest in self._kept:
            return
        with self._session.snapshot() as connection:
            known = adding.knows_policy(connection, digest)
        if not known:
            with self._session.recording() as recording:
                adding.keep_policy(recording, digest, text)
        self._kept.add(digest)

    def last_decisions(self, keys: Collection[str]) -> Mapping[str, LastDecision]:
        with self._session.snapshot() as connection:
            return judgements.last_decisions(connection, keys)

    def findings(self, decision_ids: Collection[str]) -> Mapping[str, Findings]:
        with self._session.snapshot() as connection:
            return judgements.findings(connection, decision_ids)

    def record(self, *judged: Judged) -> Sequence[Recorded]:
        ready = [adding.prepared(one, self._daemon) for one in judged]
        with self._session.recording() as recording:
            recorded = self._record(recording, ready)
            failpoint("decision to be committed")
        return recorded

    def _record(self, recording: Recording, ready: Sequence[Prepared]) -> list[Recorded]:
        added = adding.add_decisions(recording, ready)
        fence = self._claims.add(recording.connection, [one.decision_id for one in added if one.acts])
        observed = {
            one.decision_id: Outcome(OutcomeKind.OBSERVED, adding.NOT_ACTED[one.mode]) for one in added if not one.acts
        }
        adding.add_outcomes(recording, observed)
        return [Recorded(one, fence if one.acts else None) for one in added]

    # --- claims ----------------------------------------------------------------------------------------------

    def claim(self, limit: int, exclude: Collection[str], everything: bool) -> list[Pending]:
        with self._session.snapshot() as connection:
            if not self._claims.any_pending(connection):
                return []
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

    def go_ahead(self, pending: Pending, confirmation: Confirmation | None = None) -> GoAhead:
        if confirmation is None:
            with self._session.transaction() as connection:
                return self._may_act(connection, pending)
        with self._session.recording() as recording:
            answer = self._may_act(recording.connection, pending)
            if answer is GoAhead.YES:
                judgements.add_confirmation(recording, pending.decision.decision_id, confirmation, self._daemon)
            return answer

    def _may_act(self, connection: Connection, pending: Pending) -> GoAhead:
        decision = pending.decision
        if paused_for(connection) is not None:
            return GoAhead.PAUSED
        if judgements.overtaken(connection, decision):
            return GoAhead.OVERTAKEN
        if self._claims.has_older(connection, decision):
            return GoAhead.WAITS
        return GoAhead.YES if self._claims.renew(connection, pending) else GoAhead.TAKEN_OVER

    def attempted(self, pending: Pending, detail: str, retry_in: timedelta, *, in_doubt: bool) -> None:
        reply = Reply.IN_DOUBT if in_doubt else Reply.DEFINITE
        with self._session.transaction() as connection:
            self._claims.release(connection, pending, detail, retry_in, reply)

    def not_read(self, pending: Pending, detail: str, retry_in: timedelta) -> None:
        with self._session.transaction() as connection:
            self._claims.release(connection, pending, detail, retry_in, Reply.NOT_ASKED)

    def conclude(self, *endings: Ending) -> Sequence[Ending]:
        with self._session.recording() as recording:
            ended = self._end(recording, endings)
            resolved = [ending.decision.request for ending in ended if not ending.outcome.kind.leaves_open]
            self._open.forget(recording, resolved)
            resolutions.add_inferred(recording, [ending.inferred for ending in ended if ending.inferred is not None])
            failpoint("outcomes to be committed")
        return ended

    def _end(self, recording: Recording, endings: Sequence[Ending]) -> Sequence[Ending]:
        mine = self._claims.end(recording.connection, [ending.pending for ending in endings])
        ended = [ending for ending in endings if ending.decision.decision_id in mine]
        adding.add_outcomes(recording, {ending.decision.decision_id: ending.outcome for ending in ended})
        judgements.watch(recording.connection, [ending.decision.decision_id for ending in ended if ending.in_doubt])
        return ended

    def lapse(self, pending: Pending, detail: str, successor: Judged | None) -> Lapsed | None:
        lapsed = Ending(pending, Outcome(OutcomeKind.LAPSED, detail), in_doubt=pending.answer_by is not None)
        ready = [] if successor is None else [adding.prepared(successor, self._daemon)]
        with self._session.recording() as recording:
            if not self._end(recording, [lapsed]):
                return None
            recorded = self._record(recording, ready) if ready else []
            failpoint("lapse to be committed")
        return Lapsed(recorded[0] if recorded else None)

    # --- late effects ----------------------------------------------------------------------------------------

    def watched(self, everything: bool) -> Sequence[Decision]:
        with self._session.snapshot() as connection:
            return judgements.watched(connection, self._served, everything)

    def looked_at(self, decision: Decision) -> None:
        with self._session.transaction() as connection:
            judgements.looked_at(connection, decision.decision_id)

    def note_late_effect(self, decision: Decision, detail: str) -> bool:
        with self._session.recording() as recording:
            return judgements.note_late_effect(recording, decision, detail)

    def overtaken(self, decision: Decision) -> bool:
        with self._session.snapshot() as connection:
            return judgements.overtaken(connection, decision)

    # --- open requests ---------------------------------------------------------------------------------------

    def first_seen(self, unstamped: Sequence[Request]) -> Mapping[str, FirstSeen]:
        return self._open.first_seen(self._session, unstamped)

    def set_aside(self, keys: Collection[str]) -> set[str]:
        with self._session.snapshot() as connection:
            return self._open.set_aside(connection, keys)

    def reconcile_open(
        self,
        listed: Sequence[Request],
        waiting: Sequence[Waiting],
        unread: Sequence[Unread] = (),
        as_before: Collection[str] = (),
        inferred: Sequence[Inferred] = (),
        asked_at: datetime | None = None,
    ) -> None:
        self._open.reconcile(self._session, Picture(listed, waiting, unread, as_before, inferred, asked_at))

    def gone(
        self, listed: Sequence[Request], unread: Sequence[Unread], asked_at: datetime | None = None
    ) -> Sequence[Gone]:
        with self._session.snapshot() as connection:
            return resolutions.gone(connection, self._served, listed, unread, asked_at)

    def history_read_to(self) -> int:
        with self._session.snapshot() as connection:
            return resolutions.read_to(connection, self._served)

    def add_history(self, history: History) -> None:
        resolutions.add_history(self._session, self._served, history)

    def stuck(self) -> list[Stuck]:
        with self._session.snapshot() as connection:
            return stuck(connection, self._served)

    # --- daemons ---------------------------------------------------------------------------------------------

    def operate(self, operation: Operation) -> None:
        self._operation = operation
        if self._running.is_as_before(operation):
            return
        with self._session.transaction() as connection:
            said = self._running.begin(connection, operation, self._session.failed)
            failpoint("running state to be committed")
        self._heard(said)

    def share(self) -> tuple[int, int]:
        with self._session.snapshot() as connection:
            return self._daemons.share(connection)

    def sign_on(self, mode: Mode, policy_digest: str) -> None:
        """This daemon starts: `pause --wait` waits for it too, before its first cycle has ended."""
        with self._session.transaction() as connection:
            self._running.start(connection)
            self._daemons.sign_on(connection, mode, policy_digest)

    def note_cycle(self, note: CycleNote) -> None:
        said = None
        with self._session.transaction() as connection:
            if self._operation is not None:
                said = self._running.end(connection, self._operation, note.registry_down, self._session.failed)
            self._daemons.note_cycle(connection, note)
            if note.looked is not None:
                self.observations.keep(connection, note.looked)
        if said is not None:
            self._heard(said)

    def _heard(self, said: Last) -> None:
        self._running.keep(said)
        self._session.failed = False

    def sign_off(self) -> None:
        """This daemon ends: no pause waits for it, and no work is shared with it."""
        with self._session.transaction() as connection:
            self._running.stop(connection)
            self._daemons.sign_off(connection)
            self.observations.release(connection)
