"""What goes into the audit database and comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from reconciler.domain.decision import Decision, Mode, Outcome
from reconciler.domain.request import Request
from reconciler.ports.observations import Looked
from reconciler.ports.registry import Resolution


@dataclass(frozen=True, slots=True)
class FirstSeen:
    id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why an open request is not decided or not concluded yet. `retry_in` None: at the next cycle.

    `failed`: it waits because something could not be read, not by its own nature.
    """

    request: Request
    code: str
    detail: str
    retry_in: timedelta | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision that was just committed. `fence` None: this mode does not act on it."""

    decision: Decision
    fence: int | None


@dataclass(frozen=True, slots=True)
class Pending:
    """A decision without an outcome, which this daemon is to carry out.

    `attempts` counts the acts tried, `failures` how often in a row the last answer was the same.

    `fence` is the claim's number. A later claim gets a higher one; then only its daemon may conclude the decision.
    `answer_by`: until when an act that got no definite answer may still take effect; None: none is under way.
    """

    decision: Decision
    attempts: int
    fence: int
    failures: int = 0
    answer_by: datetime | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """A claimed decision, and what became of it. `in_doubt`: its act may still take effect, so it is watched.

    `inferred`: what somebody else did with its request; None: nobody did, or the registry itself keeps that.
    """

    pending: Pending
    outcome: Outcome
    in_doubt: bool = False
    inferred: Inferred | None = None

    @property
    def decision(self) -> Decision:
        return self.pending.decision


@dataclass(frozen=True, slots=True)
class Lapsed:
    """A decision that was ended as `lapsed`. `successor`: the one recorded in its place, or None."""

    successor: Recorded | None = None


class GoAhead(Enum):
    """Whether a claimed decision may be carried out right now."""

    YES = "yes"
    TAKEN_OVER = "taken over"
    WAITS = "waits for an older decision"
    OVERTAKEN = "an earlier decision about the same request took effect late"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Stuck:
    """Something that has failed for long, or repeatedly with the same message.

    `kind`: "decision", "request", or "list" of a target's requests, which has neither model nor version.
    """

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
class Gone:
    """An open request of an earlier cycle that is not listed any more, and its key. Names are as they may be shown.

    `held_before`: its version was on record as a holder of the target before it was asked for.
    """

    key: str
    request: Request
    held_before: bool = False


@dataclass(frozen=True, slots=True)
class Inferred:
    """What somebody unknown did with a request, as far as the registry shows. `said`: what that rests on."""

    key: str
    request: Request
    what: Resolution
    said: str


@dataclass(frozen=True, slots=True)
class Operation:
    """The terms on which a daemon runs its cycles.

    Args:
        mode: as configured, whether acts are paused or not.
        policy_file: where the policy was read; `loaded_by`: by which account, on which host.
        interval: between two cycles; `longest_cycle`: how long one may take.
        paused: why acts are paused; None: they are not.
    """

    mode: Mode
    policy_digest: str
    policy_file: str
    loaded_by: str
    interval: timedelta
    longest_cycle: timedelta
    paused: str | None


@dataclass(frozen=True, slots=True)
class CycleNote:
    """What `status` shows of one daemon's last cycle. `looked`: what its look leaves for the next one."""

    sentence: str
    ok: bool
    mode: Mode
    policy_digest: str
    duration: timedelta
    skew: timedelta | None = None
    problem: str | None = None
    registry_down: bool = False
    looked: Looked | None = None
