"""What would be decided now; nothing is recorded, and nothing is written anywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Protocol

from reconciler.cycle import JUDGED_TOGETHER, PAST_TENSE, CycleSummary, Event, PolicyInForce, batches, event, verdicts
from reconciler.domain.decision import Mode
from reconciler.domain.evidence import Evidence
from reconciler.domain.request import Request
from reconciler.domain.target import Target
from reconciler.domain.verdict import Verdict, VerdictKind
from reconciler.ports import Found, Listed, Registry, RegistryError


class Asking(Registry, Protocol):
    """A registry in which one version can be looked up."""

    def find(self, model: str, version: str, target: Target, now: datetime) -> Found: ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """`open_request` is False where nobody asked yet; `request` then is as it would be."""

    request: Request
    verdict: Verdict
    evidence: Evidence
    open_request: bool


def explain(
    registry: Asking, in_force: PolicyInForce, model: str, version: str, target: Target, now: datetime
) -> Explanation:
    """Judges as a cycle would at `now`.

    Raises:
        NotFound: there is no such version.
        Unavailable, Refused: the registry could not be asked.
    """
    found = registry.find(model, version, target, now)
    listed = _as_seen_at(found.listed, now)
    [(_, verdict, evidence)] = verdicts(registry, in_force.policy, [listed], now)
    return Explanation(listed.request, verdict, evidence, open_request=found.open)


def preview(
    registry: Registry, in_force: PolicyInForce, mode: Mode, now: datetime, on_event: Callable[[Event], None]
) -> CycleSummary:
    """What a cycle would decide at `now` about every open request."""
    started = monotonic()
    summary = CycleSummary(mode)
    try:
        listed = registry.open_requests(in_force.policy.scope())
        summary.open = len(listed)
        for batch in batches([_as_seen_at(one, now) for one in listed], JUDGED_TOGETHER):
            for one, verdict, _ in verdicts(registry, in_force.policy, batch, now):
                on_event(_foreseen(one.request, verdict, summary))
    except RegistryError as error:
        summary.unavailable = str(error)
    summary.duration = timedelta(seconds=monotonic() - started)
    return summary


def _foreseen(request: Request, verdict: Verdict, summary: CycleSummary) -> Event:
    if verdict.kind is VerdictKind.ABSTAIN:
        summary.abstentions[verdict.reason_code] += 1
        summary.in_error += verdict.reason_code == "unreadable"
        return event("abstained", request, f"would abstain ({verdict.reason_code}): {verdict.reason}")
    summary.verdicts[f"would be {PAST_TENSE[verdict.kind]}"] += 1
    return event("decided", request, f"would {verdict.kind}: {verdict.reason}")


def _as_seen_at(listed: Listed, now: datetime) -> Listed:
    if listed.stamped:
        return listed
    return replace(listed, request=listed.request.seen_first(listed.request.id, now))
