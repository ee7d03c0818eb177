"""What a cycle needs of the world, and the errors the world may answer with.

Adapters translate their libraries' errors into these and raise nothing else on purpose. The audit's half has a file of
its own; whoever needs a port imports it from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from reconciler.audit_port import AuditLog as AuditLog
from reconciler.audit_port import CycleNote as CycleNote
from reconciler.audit_port import FirstSeen as FirstSeen
from reconciler.audit_port import GoAhead as GoAhead
from reconciler.audit_port import Pending as Pending
from reconciler.audit_port import Recorded as Recorded
from reconciler.audit_port import Stuck as Stuck
from reconciler.audit_port import Waiting as Waiting
from reconciler.domain.decision import Decision
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
