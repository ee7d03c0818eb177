"""What a cycle needs of the world, and the errors the world may answer with.

Adapters translate their libraries' errors into these and raise nothing else on purpose.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Protocol

from reconciler.domain.decision import Decision, Judged, Mode, Outcome
from reconciler.domain.errors import ExitCode, ReconcilerError
from reconciler.domain.evidence import Evidence, Needs, VersionFacts
from reconciler.domain.request import Request
from reconciler.domain.scope import Scope


class RegistryError(ReconcilerError):
    """The registry did not do what was asked."""

    exit_code = ExitCode.UNREACHABLE


class Unavailable(RegistryError):
    """Could not tell: no answer, a broken one, or "later". After a write it may or may not have happened."""


class Refused(RegistryError):
    """Not allowed (401, 403)."""


class NotFound(RegistryError):
    """The registry says definitely that there is no such thing. `near`: names that may have been meant."""

    exit_code = ExitCode.NO_SUCH

    def __init__(self, message: str, near: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.near = tuple(near)


class Conflict(RegistryError):
    """The registry's state forbids it (409)."""

    exit_code = ExitCode.NEGATIVE


class Invalid(RegistryError):
    """The registry calls the request malformed (400); repeating it will not help."""

    exit_code = ExitCode.USAGE


class AuditUnavailable(ReconcilerError):
    """The audit database cannot be reached or cannot record. Nothing may be done without it."""

    exit_code = ExitCode.UNREACHABLE


class SchemaMismatch(ReconcilerError):
    """The audit database is of another revision, or no audit database; the message names the remedy."""

    exit_code = ExitCode.MISCONFIGURED


class NoSuchDecision(ReconcilerError):
    """The audit holds no such decision."""

    exit_code = ExitCode.NO_SUCH


class AmbiguousDecision(ReconcilerError):
    """The beginning of an id that more than one decision has."""

    exit_code = ExitCode.USAGE


class AlreadyServed(ReconcilerError):
    """Another daemon serves this SQLite file; the message names it."""

    exit_code = ExitCode.MISCONFIGURED


@dataclass(frozen=True, slots=True)
class Listed:
    """A request, with what the listing told of its version on the way (None: the listing tells nothing).

    `stamped` is False for a value typed by hand, which has neither id nor time of its own yet. `covered` is what the
    registry heard from its daemons: whether a rule of theirs covers it; None where it does not say.
    """

    request: Request
    version: VersionFacts | None
    stamped: bool = True
    covered: bool | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a request stands in the registry now.

    `open`: this very request is still there. `exists`: the version does. `holds`: the version holds the target
    (None: not looked at). `decision_id`: the decision that the registry shows for this version and target.
    `tells_who`: the registry shows decisions at all, so that another's is known to be another's.
    """

    open: bool
    exists: bool = True
    holds: bool | None = None
    decision_id: str | None = None
    tells_who: bool = True


@dataclass(frozen=True, slots=True)
class Found:
    """What was found when one version and target were asked about; not `open`: as if somebody asked now.

    `holds`: the version holds the target already. `decided`: what the registry last said of a decision about the two.
    """

    listed: Listed
    open: bool
    holds: bool = False
    decided: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """`calls` since the cycle began; `skew`: how far the registry's clock is ahead (None: it did not tell)."""

    calls: int = 0
    skew: timedelta | None = None


class Registry(Protocol):
    """An MLflow registry that holds transition requests. Every method may raise a `RegistryError`."""

    @property
    def uri(self) -> str: ...

    @property
    def workspace(self) -> str: ...

    def begin(self, deadline: timedelta | None) -> None:
        """A cycle starts: whatever is asked of the registry after `deadline` from now raises Unavailable."""

    def open_requests(self, scope: Scope) -> list[Listed]:
        """Every open request within the scope, or an error: a list that was not read to its end is no list.

        A registry that must be looked through version by version lists what it looked at; `remark` then says
        whether each is looked at as often as was promised. Ungoverned models may be listed too.
        """

    def evidence(self, wanted: Sequence[tuple[Listed, Needs]], now: datetime) -> dict[str, Evidence]:
        """Evidence by request key. What cannot be read is `Unreadable` inside, not an error."""

    def standings(self, decisions: Sequence[Decision]) -> dict[str, Standing]:
        """How the requests of these decisions stand now, by decision id."""

    def stamp(self, request: Request) -> None:
        """Writes the request's id and time into the registry, where it was typed by hand."""

    def act(self, decision: Decision) -> Standing | None:
        """Approves or rejects, and returns what the reply shows of it; None: only reading will tell.

        May be called again after any failure.
        """

    def remark(self) -> str | None:
        """What an operator should know of the last list, such as a promise that was not kept."""

    def measured(self) -> Measured:
        """What was counted since `begin`."""


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
class Pending:
    """A decision without an outcome that is ours to carry out.

    `attempts` counts acts that were tried, `failures` how often the last answer was the same in a row.

    `fence` is the claim's number: whoever claims it later gets a higher one, and then only he may conclude it.
    """

    decision: Decision
    attempts: int
    fence: int
    failures: int = 0


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
class Recorded:
    """A decision that was just committed. `fence` None: nothing is to be done about it in this mode."""

    decision: Decision
    fence: int | None


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


class GoAhead(Enum):
    """Whether a claimed decision may be carried out this very moment."""

    YES = "yes"
    TAKEN_OVER = "taken over"
    PAUSED = "paused"


class AuditLog(Protocol):
    """The audit database. Every method may raise `AuditUnavailable`, and then has changed nothing."""

    def now(self) -> datetime:
        """The database's clock."""

    def keep_policy(self, digest: str, text: str) -> None:
        """Keeps the policy's text, once per digest."""

    def first_seen(self, unstamped: Sequence[Request]) -> Mapping[str, FirstSeen]:
        """When each of these hand-typed requests was first seen, by fingerprint and place; new ones get id and time.

        Returned by `Request.key` of the request as passed. What is no longer listed is forgotten by `reconcile_open`.
        """

    def settled(self, keys: Collection[str], mode: Mode) -> set[str]:
        """The keys that need no verdict: decided in this mode, or by an acting decision in any."""

    def set_aside(self, keys: Collection[str]) -> set[str]:
        """The keys whose next attempt is not due yet."""

    def record(self, judged: Judged) -> Recorded | None:
        """Commits the decision with its checks, and claims it; with outcome `observed` where the mode does not act.

        None: another daemon decided this request first.
        """

    def claim(self, limit: int, but: Collection[str], everything: bool) -> list[Pending]:
        """Claims acting decisions without an outcome, oldest first, that nobody has leased, or not any more.

        `but`: decision ids to leave out. `everything`: also those whose next attempt is not due.
        """

    def go_ahead(self, pending: Pending) -> GoAhead:
        """Renews the lease of a claim right before the act; says no where another has it, or acts are paused."""

    def paused(self) -> str | None:
        """The reason that acts are paused for; None: they are not."""

    def attempted(self, pending: Pending, detail: str, retry_in: timedelta) -> None:
        """Counts one act that did not succeed, sets the decision aside for `retry_in` and lets go of it."""

    def not_read(self, pending: Pending, detail: str, retry_in: timedelta) -> None:
        """As `attempted`, where it could not even be read how the decision stands: no act is counted."""

    def conclude(self, pending: Pending, outcome: Outcome) -> bool:
        """Records what became of a decision, and forgets its request. False: another has taken it over, and will.

        A request whose decision failed stays open, and is not forgotten.
        """

    def share(self) -> tuple[int, int]:
        """Which of the daemons that serve this registry now this one is (from 0), and how many there are."""

    def reconcile_open(self, listed: Sequence[Request], waiting: Sequence[Waiting]) -> None:
        """Replaces the working picture of open requests: those that are open, and why those waiting wait."""

    def stuck(self) -> list[Stuck]:
        """What of this registry fails for ten minutes, or the third time in the same way."""

    def note_cycle(self, note: CycleNote) -> None:
        """Keeps the sentence of the last cycle of this daemon."""
