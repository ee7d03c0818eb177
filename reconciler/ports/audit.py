"""What a cycle needs of the audit database: a small protocol for each thing that is kept there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from reconciler.domain.decision import Decision, Judged, Mode, Outcome
from reconciler.domain.request import Request

# --- what goes in and comes out --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FirstSeen:
    id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why an open request is not decided or not concluded yet. `retry_in` None: at the next cycle.

    `failed`: not by its own nature, but because something could not be read.
    """

    request: Request
    code: str
    detail: str
    retry_in: timedelta | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision that was just committed. `fence` None: nothing is to be done about it in this mode."""

    decision: Decision
    fence: int | None


@dataclass(frozen=True, slots=True)
class Pending:
    """A decision without an outcome that is ours to carry out.

    `attempts` counts acts that were tried, `failures` how often the last answer was the same in a row.

    `fence` is the claim's number: whoever claims it later gets a higher one, and then only that daemon may conclude it.
    """

    decision: Decision
    attempts: int
    fence: int
    failures: int = 0


class GoAhead(Enum):
    """Whether a claimed decision may be carried out this very moment."""

    YES = "yes"
    TAKEN_OVER = "taken over"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Stuck:
    """What fails for long, or again and again with the same words. `kind`: "decision" or "request"."""

    kind: str
    decision_id: str | None
    registry: str
    workspace: str
    model: str
    version: str
    target: str
    since: datetime
    failures: int
    said: str


@dataclass(frozen=True, slots=True)
class CycleNote:
    """What `status` tells of the last cycle of one daemon."""

    sentence: str
    ok: bool
    mode: Mode
    policy_digest: str
    duration: timedelta
    skew: timedelta | None = None
    problem: str | None = None


# --- the protocols ---------------------------------------------------------------------------------------------


class Clock(Protocol):
    def now(self) -> datetime:
        """The database's clock."""


class Decisions(Protocol):
    """What was decided. It is only added to."""

    def keep_policy(self, digest: str, text: str) -> None:
        """Keeps the policy's text, once per digest."""

    def settled(self, keys: Collection[str], mode: Mode) -> set[str]:
        """The keys that need no verdict: decided in this mode, or by an acting decision in any."""

    def record(self, judged: Judged) -> Recorded | None:
        """Commits the decision with its checks, and claims it; with outcome `observed` where the mode does not act.

        None: another daemon decided this request first.
        """


class Claims(Protocol):
    """Which daemon carries a decision out."""

    def claim(self, limit: int, exclude: Collection[str], everything: bool) -> list[Pending]:
        """Claims acting decisions without an outcome, oldest first, that nobody has leased, or not any more.

        `exclude`: ids of decisions. `everything`: also those whose next attempt is not due.
        """

    def restore_claims(self, stop: Callable[[], bool]) -> None:
        """Finds acting decisions whose working state was lost, so that they are claimed again.

        It reads the ids of all decisions, in parts: once per process is enough. `stop` is asked between two parts.
        """

    def paused(self) -> str | None:
        """The reason that acts are paused for; None: they are not."""

    def go_ahead(self, pending: Pending) -> GoAhead:
        """Renews the lease of a claim right before the act; says no where another has it, or acts are paused."""

    def attempted(self, pending: Pending, detail: str, retry_in: timedelta) -> None:
        """Counts one act that did not succeed, sets the decision aside for `retry_in` and lets go of it."""

    def not_read(self, pending: Pending, detail: str, retry_in: timedelta) -> None:
        """As `attempted`, where it could not even be read how the decision stands: no act is counted."""

    def conclude(self, pending: Pending, outcome: Outcome) -> bool:
        """Records what became of a decision, and forgets its request. False: another has taken it over, and will.

        A request whose decision failed stays open, and is not forgotten.
        """


class OpenRequests(Protocol):
    """The working picture of what is open: since when, and what it waits for."""

    def first_seen(self, unstamped: Sequence[Request]) -> Mapping[str, FirstSeen]:
        """When each of these hand-typed requests was first seen, by fingerprint and place; new ones get id and time.

        Returned by `Request.key` of the request as passed. What is no longer listed is forgotten by `reconcile_open`.
        """

    def set_aside(self, keys: Collection[str]) -> set[str]:
        """The keys whose next attempt is not due yet."""

    def reconcile_open(self, listed: Sequence[Request], waiting: Sequence[Waiting]) -> None:
        """Replaces the working picture of open requests: those that are open, and why those waiting wait."""

    def stuck(self) -> list[Stuck]:
        """What of this registry fails for ten minutes, or the third time in the same way."""


class Heartbeats(Protocol):
    """Which daemons run, and how their last cycles went."""

    def share(self) -> tuple[int, int]:
        """Which of the daemons that serve this registry now this one is (from 0), and how many there are."""

    def note_cycle(self, note: CycleNote) -> None:
        """Keeps the sentence of the last cycle of this daemon."""


class AuditLog(Clock, Decisions, Claims, OpenRequests, Heartbeats, Protocol):
    """The audit database. Every method may raise `AuditUnavailable`, and then has changed nothing."""
