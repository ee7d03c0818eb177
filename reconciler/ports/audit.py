"""What a cycle needs from the audit database: a small protocol for each thing that is kept there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from reconciler.domain.decision import Decision, Judged
from reconciler.domain.judgements import Confirmation, Findings, LastDecision
from reconciler.domain.request import Request
from reconciler.ports.audit_values import (
    CycleNote,
    Ending,
    FirstSeen,
    GoAhead,
    Gone,
    Inferred,
    Lapsed,
    Operation,
    Pending,
    Recorded,
    Stuck,
    Waiting,
)
from reconciler.ports.observations import Observations
from reconciler.ports.registry import History, Unread


class Clock(Protocol):
    def now(self) -> datetime:
        """The time by the database's clock."""


class Decisions(Protocol):
    """What was decided; append-only."""

    def keep_policy(self, digest: str, text: str) -> None:
        """Keeps the policy's text, once per digest."""

    def last_decisions(self, keys: Collection[str]) -> Mapping[str, LastDecision]:
        """The newest decision about each request, by `Request.key`; those never decided are left out."""

    def findings(self, decision_ids: Collection[str]) -> Mapping[str, Findings]:
        """What the checks of these decisions found, by decision id."""

    def record(self, *judged: Judged) -> Sequence[Recorded]:
        """Commits decisions with their checks, all or none, and claims them.

        Where the mode does not act, the outcome is `observed`. Requests that another daemon decided meanwhile are left
        out.
        """


class Claims(Protocol):
    """Which daemon carries a decision out."""

    def claim(self, limit: int, exclude: Collection[str], everything: bool) -> list[Pending]:
        """Claims acting decisions without an outcome whose lease is free or has expired, oldest first.

        `exclude`: ids of decisions. `everything`: also those whose next attempt is not due.
        """

    def restore_claims(self, stop: Callable[[], bool]) -> None:
        """Finds acting decisions whose working state was lost, so that they are claimed again.

        It reads the ids of all decisions, in parts: once per process is enough. `stop` is asked between two parts.
        """

    def paused(self) -> str | None:
        """Why acts are paused; None: they are not."""

    def go_ahead(self, pending: Pending, confirmation: Confirmation | None = None) -> GoAhead:
        """Renews a claim's lease right before the act, which may take effect until that lease ends.

        Where the act may follow, `confirmation` is recorded in the same transaction. Refuses where another daemon holds
        the claim, acts are paused, an earlier decision about the same request took effect late, or an older decision
        that contends with it (`Decision.contends_with`) is not settled yet, whoever carries that out.
        """

    def attempted(self, pending: Pending, detail: str, retry_in: timedelta, *, in_doubt: bool) -> None:
        """Counts one act that did not succeed, sets the decision aside for `retry_in` and releases it.

        `in_doubt`: the answer was not definite, so the act may still take effect.
        """

    def not_read(self, pending: Pending, detail: str, retry_in: timedelta) -> None:
        """As `attempted`, where the decision's standing could not even be read: no act is counted."""

    def conclude(self, *endings: Ending) -> Sequence[Ending]:
        """Records the outcomes of decisions and forgets their requests, all in one transaction.

        A request whose decision failed or lapsed stays open, and is not forgotten.

        Returns: those that were recorded. Another daemon has taken the others over, and will record them.
        """

    def lapse(self, pending: Pending, detail: str, successor: Judged | None) -> Lapsed | None:
        """Ends the decision as `lapsed` and records its successor, both or neither. None: another daemon has it.

        It is watched where an act of it got no definite answer.
        """


class Watches(Protocol):
    """Decisions that ended while an act of theirs had no definite answer."""

    def watched(self, everything: bool) -> Sequence[Decision]:
        """Those that are to be looked at now; `everything`: all."""

    def looked_at(self, decision: Decision) -> None:
        """The registry does not show it as carried out: it is looked at again later, or no more after a day."""

    def note_late_effect(self, decision: Decision, detail: str) -> bool:
        """Records that the decision took effect after it had ended, and watches it no more.

        False, with nothing recorded: it is known already, or a later approval of ours explains what is shown.
        """

    def overtaken(self, decision: Decision) -> bool:
        """Whether an earlier decision about the same request took effect late, after this one was recorded."""


class OpenRequests(Protocol):
    """The working picture of open requests: since when each is open, and what it waits for."""

    def first_seen(self, unstamped: Sequence[Request]) -> Mapping[str, FirstSeen]:
        """When each of these hand-typed requests was first seen, by fingerprint and place; new ones get id and time.

        Keyed by the `Request.key` of the request as passed. `reconcile_open` forgets what is no longer listed.
        """

    def set_aside(self, keys: Collection[str]) -> set[str]:
        """The keys whose next attempt is not due yet."""

    def reconcile_open(
        self,
        listed: Sequence[Request],
        waiting: Sequence[Waiting],
        unread: Sequence[Unread] = (),
        as_before: Collection[str] = (),
        inferred: Sequence[Inferred] = (),
        asked_at: datetime | None = None,
    ) -> None:
        """Replaces the working picture: which requests are open, and why the waiting ones wait.

        `unread`: the targets whose list could not be read; what was open for them is kept. `as_before`: keys of
        requests that were not judged because they wait as an earlier cycle noted. `inferred`: what became of those
        that are `gone`; it is history, unless another daemon has recorded it first. `asked_at`: when the list was
        asked for; what another daemon saw first after that is kept, since it may be missing for no other reason.
        """

    def gone(
        self, listed: Sequence[Request], unread: Sequence[Unread], asked_at: datetime | None = None
    ) -> Sequence[Gone]:
        """What the picture has as open, and is not listed any more; not what a decision is being carried out about.

        `asked_at` as in `reconcile_open`.
        """

    def history_read_to(self) -> int:
        """Up to which number the registry's own history has been read."""

    def add_history(self, history: History) -> None:
        """Keeps the entries that are no acts of ours, and up to where the history has been read."""

    def stuck(self) -> list[Stuck]:
        """What has failed in this registry for ten minutes, or three times in a row in the same way."""


class Heartbeats(Protocol):
    """Which daemons run, on which terms, and how their last cycles went."""

    def operate(self, operation: Operation) -> None:
        """A cycle begins on these terms, whose policy is kept already. A change of them is a row of history."""

    def share(self) -> tuple[int, int]:
        """This daemon's index (from 0) among those that serve this registry now, and how many there are."""

    def note_cycle(self, note: CycleNote) -> None:
        """Keeps the sentence of the last cycle of this daemon."""


class AuditLog(Clock, Decisions, Claims, Watches, OpenRequests, Heartbeats, Protocol):
    """The audit database. Every method may raise `AuditUnavailable`, and then has changed nothing."""

    @property
    def observations(self) -> Observations:
        """What holds a governed target."""
