"""What a cycle needs from the audit database to keep record of what holds a target."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from reconciler.domain.evidence.holder_facts import Arrival
from reconciler.domain.evidence.tenure_facts import TimeHeld
from reconciler.domain.holding.baselines import Holding
from reconciler.domain.holding.causes import Explained
from reconciler.domain.holding.drift import Change
from reconciler.domain.holding.earlier_names import EarlierMove, Recognised
from reconciler.domain.holding.looks import Kind, Tenure
from reconciler.domain.holding.tenures import Began, Ended
from reconciler.domain.place import ModelTarget, Place
from reconciler.domain.scope import Scope


@dataclass(frozen=True, slots=True)
class AsOf:
    """As of when everything of a kind, and everything at all, was seen."""

    kinds: Mapping[Kind, datetime] = field(default_factory=dict)
    everything: datetime | None = None
    aliases_take: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is on record: the open tenures, and what is watched. `scope` None: nothing was ever watched.

    `shown`: which models were shown, by group, as `domain.holding.shown` writes them.
    """

    tenures: Sequence[Tenure]
    scope: Scope | None
    shown: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Watch:
    """The lease to look, with what the last look left.

    Args:
        now: the database's time before this look.
        fence: changes with the holder of the lease.
        changed_since: as `Wanted.changed_since`.
        known: what is on record, where the fence is another than the caller's.
    """

    now: datetime
    fence: int
    changed_since: int | None
    as_of: AsOf
    known: Known | None

    def is_due(self, full_look: timedelta) -> bool:
        """Whether to look at everything. Where the database's clock was set back, the last look is yet to come."""
        last = self.as_of.everything
        return last is None or not timedelta() <= self.now - last < full_look

    def since(self, kind: Kind) -> timedelta | None:
        """How long ago all of a kind was seen; None: not yet."""
        as_of = self.as_of.kinds.get(kind)
        return None if as_of is None else self.now - as_of


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look leaves for the next one. `problem`: why it ended early."""

    fence: int
    changed_since: int | None
    as_of: AsOf
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class NewTenure:
    """`not_since`: the last look that saw the place empty. `first_look`: it was never looked at before.

    `requested`: a request for it was listed in the same pass; those of earlier passes are on record. `watched`: no rule
    governs the target, so nothing has to explain it. `remade`: what was requested there was an earlier version.
    """

    began: Began
    not_since: datetime | None
    first_look: bool
    requested: bool = False
    watched: bool = False
    remade: bool = False


@dataclass(frozen=True, slots=True)
class EndOfTenure:
    """`held_at`: the last look that saw it held."""

    ended: Ended
    held_at: datetime


@dataclass(frozen=True, slots=True)
class Traces:
    """Which traces people leave in a registry.

    Args:
        people_hide: a person's approval may leave none.
        kept: every approval leaves an entry in a history, so that a request that is still open explains nothing.
        ahead: how far the registry's clock is ahead of the database's; None: not known.
    """

    people_hide: bool = False
    kept: bool = False
    ahead: timedelta | None = None


# Which of these moves a registry shows to be of the version that was seen under another name.
Recognise = Callable[[Sequence[EarlierMove]], Recognised]


@dataclass(frozen=True, slots=True)
class Attributed:
    """An observation was explained. `began`: it is a beginning, and else an end."""

    tenure_id: int
    place: Place
    began: bool
    explained: Explained
    first_seen: datetime


@dataclass(frozen=True, slots=True)
class Attributions:
    """What was explained; `left`: something is not explained yet."""

    done: Sequence[Attributed]
    left: bool


@dataclass(frozen=True, slots=True)
class Stray:
    """A tag that looks like a request and is none."""

    model: str
    version: str
    tag: str


@dataclass(frozen=True, slots=True)
class Approved:
    """A tenure that a decision began.

    Args:
        judged: the evidence that the decision rests on, as JSON data; `{"redacted": true}` where a part was removed.
        seen: by field, what is on record of it since, where a look found another value.
    """

    tenure_id: int
    decision_id: str
    judged: Mapping[str, Any]
    seen: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Drift:
    """A value of a tenure's version that is another than when it was last looked at."""

    tenure_id: int
    decision_id: str
    change: Change


class Arrivals(Protocol):
    """How what holds a target came there, and since when it does, by the audit database."""

    def arrivals(self, holdings: Sequence[Holding]) -> Mapping[Place, Arrival]:
        """What is on record about each; those of which nothing is are left out. May raise `AuditUnavailable`."""

    def times_held(self, holdings: Sequence[Holding]) -> Mapping[Place, TimeHeld]:
        """As `arrivals`: for how long, without a break, looks have seen each of these."""


class Observations(Arrivals, Protocol):
    """What holds a governed target. Every method may raise `AuditUnavailable`, and then has changed nothing.

    Those that take a fence do nothing, and return None, where another replica has the lease meanwhile.
    """

    def watch(self, known_fence: int | None, lease: timedelta) -> Watch | None:
        """Takes or keeps the lease to look. None: another replica has it."""

    def observe(self, fence: int, ended: Sequence[EndOfTenure], began: Sequence[NewTenure]) -> Sequence[Tenure] | None:
        """Records ends, then beginnings. Returns the tenures that began."""

    def keep_scope(self, fence: int, scope: Scope, since: datetime) -> bool | None:
        """Records what is watched from now on, where that is new."""

    def keep_shown(self, fence: int, groups: Mapping[int, str]) -> bool | None:
        """Keeps which models were shown, in these groups."""

    def hide(self, fence: int, seen: Mapping[int, datetime | None]) -> bool | None:
        """Keeps when these tenures were last seen, which cannot be read any more; None: they can be."""

    def held(self, asked: Collection[ModelTarget]) -> Mapping[ModelTarget, Sequence[str]]:
        """What holds each of these targets, as it was last seen and explained: a text for each version that does."""

    def attribute(self, fence: int, traces: Traces, recognise: Recognise) -> Attributions | None:
        """Explains what can be explained. To be called when a cycle has looked, and has read every list of requests.

        Args:
            recognise: asked, outside any transaction, about what would be a bypass, and decisions about other names.
        """

    def approved(self, tenure_ids: Sequence[int]) -> Sequence[Approved]:
        """Those of these tenures that a decision began, with what it rests on; not where its evidence is damaged."""

    def begun_elsewhere(self, key: str) -> Sequence[Place]:
        """What began since this request was on record, and may be its version under another name of the model."""

    def created(self, decision_ids: Collection[str]) -> Mapping[str, int]:
        """When the versions were created that these decisions judged, by the registry's clock, as far as is known."""

    def drifted(self, fence: int, drifts: Sequence[Drift]) -> bool | None:
        """Records what changed."""

    def keep_strays(self, fence: int, seen: Sequence[Stray], *, all_seen: bool) -> Sequence[Stray] | None:
        """Keeps these, and forgets all others where all were seen. Returns those not pointed out in the registry."""

    def pointed_out(self, strays: Sequence[Stray]) -> None:
        """Those are not returned any more."""

    def open_bypasses(self) -> int:
        """How many bypasses are neither gone, nor approved since, nor acknowledged."""
