"""What happens in a pass: each step returns it, the log reports it, and the summary counts it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reconciler.domain.decision import Decision, OutcomeKind
from reconciler.domain.holding.drift import Change
from reconciler.domain.place import Place
from reconciler.domain.request import Request
from reconciler.domain.scope import Scope
from reconciler.domain.text import visible, visible_name
from reconciler.domain.times import iso
from reconciler.domain.verdict import VerdictKind
from reconciler.domain.weight import NORMAL, Weight
from reconciler.ports import Unread
from reconciler.ports.observations import Attributed, Stray

NOT_ACTED_ON = "would be "
_PAST_TENSE = {VerdictKind.APPROVE: "approved", VerdictKind.REJECT: "rejected"}
VERDICTS = tuple(_PAST_TENSE.values())


@dataclass(frozen=True, slots=True)
class Event:
    """Something that an operator follows. `kind` is decided, abstained, outcome, bypass, drift or stray-tag."""

    kind: str
    model: str
    version: str
    target: str
    text: str
    decision_id: str | None = None
    verdict: str | None = None
    weight: Weight = NORMAL


Tell = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened, as the summary counts it.

    Args:
        verdict: a decision was recorded: `approved`, or `would be approved`.
        outcome: what became of a decision.
        abstained: the code of an abstention.
        in_error: a request is left in error.
        in_doubt: the next cycle finds out whether it was done.
        unavailable: what could not be reached.
        unlisted: the target whose requests could not be listed, and why.
        resolved: the key of a request that is no longer open.
        moved: the request whose version was brought to its target.
    """

    verdict: str | None = None
    outcome: OutcomeKind | None = None
    abstained: str | None = None
    in_error: bool = False
    in_doubt: bool = False
    unavailable: str | None = None
    unlisted: str | None = None
    resolved: str | None = None
    moved: Request | None = None


def of_unread(unread: Sequence[Unread], scope: Scope) -> list[Happening]:
    """Where no target's list could be read, the registry could not be."""
    if unread and len(unread) == len(scope.targets):
        return [Happening(unavailable=unread[0].said)]
    return [Happening(unlisted=f"requests to {item.target} could not be listed: {item.said}") for item in unread]


def past_tense(verdict: VerdictKind, acts: bool) -> str:
    """`approved`, or `would be approved` where it is not acted on."""
    return _PAST_TENSE[verdict] if acts else NOT_ACTED_ON + _PAST_TENSE[verdict]


def event(kind: str, request: Request, text: str, decision: Decision | None = None, weight: Weight = NORMAL) -> Event:
    id, verdict = (decision.decision_id, str(decision.verdict)) if decision else (None, None)
    place = request.place
    return Event(kind, place.model, place.version, str(place.target), f"{place.text}: {text}", id, verdict, weight)


def of_bypass(found: Attributed) -> Event:
    """A version holds a target, and nothing on record brought it there."""
    place = found.place
    text = f"{place.version_text} holds {place.target} without a decision, first seen at {iso(found.first_seen)}"
    remedy = f"(tenure {found.tenure_id}: see `mlflow-reconciler status`)"
    return Event("bypass", place.model, place.version, str(place.target), f"{text} {remedy}", weight=Weight.FAILED)


def of_drift(place: Place, tenure_id: int, changes: Sequence[Change]) -> Event:
    """A holder is not what was approved any more, or is so again."""
    first, many = changes[0], len(changes)
    others = f" and {many - 1} more" if many > 1 else ""
    text = f"{place.version_text} holds {place.target}, and changed after its approval: {visible(first.field)}{others}"
    remedy = f"(tenure {tenure_id}: see `mlflow-reconciler audit report drift`)"
    weight = Weight.FAILED if any(one.judged != one.found for one in changes) else NORMAL
    return Event("drift", place.model, place.version, str(place.target), f"{text} {remedy}", weight=weight)


def of_stray(found: Stray, said: str) -> Event:
    """A tag looks like a request, and is none."""
    subject = f"{visible_name(found.model)} version {visible_name(found.version)}"
    return Event("stray-tag", found.model, found.version, "", f"{subject}: {visible(said)}", weight=Weight.FAILED)
