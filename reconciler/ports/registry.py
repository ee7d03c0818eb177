"""What a cycle needs from an MLflow registry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from reconciler.domain.decision import Decision
from reconciler.domain.evidence.evidence import Evidence, Needs, Unreadable, VersionFacts
from reconciler.domain.holding.baselines import HeldNow
from reconciler.domain.holding.looks import Look, Wanted
from reconciler.domain.place import ModelTarget, Place
from reconciler.domain.request import Request, Requester
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target


@dataclass(frozen=True, slots=True)
class Listed:
    """A request, with what the listing said about its version (None: nothing).

    `stamped` is False for a value typed by hand, which has neither id nor time of its own yet. `covered`: whether a
    rule covers it, as the registry's daemons reported; None where the registry does not say. `held`: what holds the
    target by the audit database, where a rule compares with it.
    """

    request: Request
    version: VersionFacts | None
    stamped: bool = True
    covered: bool | None = None
    held: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Unread:
    """A target whose list of requests could not be read, and what the registry said."""

    target: Target
    said: str


class Resolution(StrEnum):
    """What somebody other than a daemon did. `GONE`: withdrawn or rejected, as far as anything tells."""

    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    GONE = "gone"
    CHANGED = "changed"  # a governed target, by an administrator, without a request
    OTHER = "other"  # of a kind that this release does not know


@dataclass(frozen=True, slots=True)
class Resolved:
    """An entry of a registry's history: who did what, where and when.

    `version` and `target` are empty where a change was about neither. `decision_id`: the daemon's decision that its
    comment names.
    """

    number: int
    what: Resolution
    model: str
    version: str
    target: str
    decider: Requester
    comment: str
    at: datetime
    request_id: str
    decision_id: str | None


@dataclass(frozen=True, slots=True)
class History:
    """The next entries of a registry's history, and the number up to which there are no others."""

    entries: Sequence[Resolved]
    read_to: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Open requests; `remark`: what an operator should know about this list, such as a late sweep.

    `unread`: the targets whose requests are not in it, where each target has a list of its own. `history`: what was
    asked for of it; None where the registry keeps none.
    """

    requests: Sequence[Listed]
    remark: str | None = None
    unread: Sequence[Unread] = ()
    history: History | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a request stands in the registry now.

    `open`: this very request is still there. `exists`: the version does. `holds`: the version holds the target
    (None: not checked). `decision_ids`: the decisions that the registry shows for this version and target.
    `told_first`: they are shown before they are carried out, so that an id alone does not prove the act.
    `tells_who`: the registry shows decisions at all, so that those of others can be told apart. `named`: the name that
    the model has now, where it is another than the request's.
    """

    open: bool
    exists: bool = True
    holds: bool | None = None
    decision_ids: tuple[str, ...] = ()
    tells_who: bool = True
    told_first: bool = False
    named: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What a registry shows of a decision, and where: the text of a version's tag, or of an entry of its history."""

    model: str
    version: str
    target: str
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for one version and target. Not `open`: `listed` is a request as if it were filed now.

    `holds`: the version already holds the target. `decided`: the sentence that the registry shows of the last decision.
    """

    listed: Listed
    open: bool
    holds: bool = False
    decided: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """How many `calls` were made; `skew`: how far the registry's clock is ahead (None: not known)."""

    calls: int = 0
    skew: timedelta | None = None


# What holds each target of a model; what could not be read is `Unreadable`.
HoldersNow = Mapping[ModelTarget, HeldNow | Unreadable]

# Returns what was counted since the meter was made.
Meter = Callable[[], Measured]


class Registry(Protocol):
    """An MLflow registry that holds transition requests. Every method may raise a `RegistryError`."""

    @property
    def uri(self) -> str: ...

    @property
    def workspace(self) -> str: ...

    def begin(self, deadline: timedelta | None) -> Meter:
        """Starts a cycle, and returns the meter that measures it.

        `deadline`: how long from now calls are allowed; later ones raise Unavailable.
        """

    @property
    def keeps_history(self) -> bool:
        """Whether the registry itself records what people do, so that nothing has to be inferred."""

    def open_requests(self, scope: Scope, history_after: int = 0, *, with_holders: bool = False) -> Listing:
        """Every open request within the scope, or an error: an incomplete list is never returned.

        A registry that is searched target by target names those whose search failed; the others' lists are whole.
        A registry that must be searched version by version lists what it searched; the remark then says whether each
        version is searched as often as configured. Ungoverned models may be listed too. Where the registry keeps
        history, the listing has what follows the number `history_after`. `with_holders`: a `look` will follow.
        """

    @property
    def hides_people(self) -> bool:
        """Whether a person may approve a request, filed and resolved between two looks, without a trace."""

    @property
    def shows_decisions(self) -> bool:
        """Whether a version names the decisions that were made about it."""

    def look(self, wanted: Wanted) -> Look:
        """What holds the governed targets. What the list of open requests has shown of it costs no further call."""

    def look_at(self, places: Sequence[Place]) -> Look:
        """The same of these versions and models, each read by itself. What the account may not see is left out."""

    def point_out(self, model: str, version: str, tag: str, said: str) -> None:
        """Writes into a registry whose requests are tags, beside a tag that is none, what is wrong with it."""

    def standing_of(self, request: Request) -> Standing:
        """How a request that nobody of us has decided stands."""

    def evidence(self, wanted: Sequence[tuple[Listed, Needs]], now: datetime) -> dict[str, Evidence]:
        """Evidence by request key. What cannot be read is `Unreadable` within it, not an error."""

    def held_now(self, asked: Collection[ModelTarget], *, all_of: bool = False) -> HoldersNow:
        """What holds each of these targets now. What cannot be read is `Unreadable`, not an error.

        `all_of`: every version in a stage, where the newest alone may take a call less.
        """

    def standings(self, decisions: Sequence[Decision]) -> dict[str, Standing]:
        """How the requests of these decisions stand now, by decision id."""

    def standing(self, decision: Decision) -> Standing:
        """How one request stands, read by itself; also of an open one it says what the registry shows of decisions."""

    def standing_elsewhere(self, decision: Decision, created: int) -> Standing | None:
        """How a decision stands whose version is gone by its name: another name may show that it was carried out.

        `created`: when the version that was judged was created, by which a copy of it is told apart. None: nothing
        shows it.
        """

    def stamp(self, request: Request) -> None:
        """Writes the request's id and time into the registry, where it was typed by hand."""

    def act(self, decision: Decision) -> Standing | None:
        """Approves or rejects, and returns the standing that the reply shows; None: it must be read.

        May be called again after any failure.
        """
