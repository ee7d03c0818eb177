"""What a cycle needs of an MLflow registry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from reconciler.domain.decision import Decision
from reconciler.domain.evidence import Evidence, Needs, VersionFacts
from reconciler.domain.request import Request
from reconciler.domain.scope import Scope


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
class Listing:
    """Open requests; `remark`: what an operator should know of this list, such as a promise that was not kept."""

    requests: Sequence[Listed]
    remark: str | None = None


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
    """How many `calls` were made; `skew`: how far the registry's clock is ahead (None: it did not tell)."""

    calls: int = 0
    skew: timedelta | None = None


# Tells, whenever it is called, what was counted since it was made.
Meter = Callable[[], Measured]


class Registry(Protocol):
    """An MLflow registry that holds transition requests. Every method may raise a `RegistryError`."""

    @property
    def uri(self) -> str: ...

    @property
    def workspace(self) -> str: ...

    def begin(self, deadline: timedelta | None) -> Meter:
        """A cycle starts: whatever is asked of the registry after `deadline` from now raises Unavailable.

        Returns what measures this cycle.
        """

    def open_requests(self, scope: Scope) -> Listing:
        """Every open request within the scope, or an error: a list that was not read to its end is no list.

        A registry that must be looked through version by version lists what it looked at; the remark then says
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
