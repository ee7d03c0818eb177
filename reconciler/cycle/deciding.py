"""Deciding: judge open requests on their evidence, and record each decision before acting on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.cycle.acting import FIRST_RETRY
from reconciler.cycle.happening import Happening, Tell, event, past_tense
from reconciler.domain.codes import ReasonCode
from reconciler.domain.decision import Judged, Mode, conditional
from reconciler.domain.policy import Policy
from reconciler.domain.request import Request
from reconciler.domain.verdict import Verdict, VerdictKind
from reconciler.domain.weight import Weight
from reconciler.failpoints import failpoint
from reconciler.judging import judge_batch
from reconciler.ports import AuditLog, Listed, Pending, Recorded, Registry, Waiting


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    policy: Policy
    digest: str
    text: str


@dataclass(frozen=True, slots=True)
class BatchDecided:
    """`pending`: decisions to be carried out. `waiting`: requests that were not decided, and why."""

    pending: Sequence[Pending]
    waiting: Sequence[Waiting]
    happened: Sequence[Happening]


class Deciding:
    """Decides requests in one pass."""

    def __init__(self, registry: Registry, audit: AuditLog, in_force: PolicyInForce, mode: Mode, tell: Tell) -> None:
        self._registry = registry
        self._audit = audit
        self._in_force = in_force
        self._mode = mode
        self._tell = tell

    def decide(self, batch: Sequence[Listed]) -> BatchDecided:
        """Judges a batch and records its decisions.

        Raises:
            RegistryError: the evidence could not be requested; nothing in this batch is decided.
        """
        recorded: list[Recorded] = []
        waiting: list[Waiting] = []
        for judgement in judge_batch(self._registry, self._in_force.policy, batch, self._audit.now()):
            request, verdict = judgement.listed.request, judgement.verdict
            if verdict.kind is VerdictKind.ABSTAIN:
                waiting.append(self._abstain(request, verdict))
            else:
                judged = Judged(request, verdict, judgement.evidence, self._mode, self._in_force.digest)
                recorded += self._record(judged)
        happened = [Happening(verdict=past_tense(new.decision.verdict, new.decision.acts)) for new in recorded]
        happened += [Happening(abstained=wait.code, in_error=wait.failed) for wait in waiting]
        pending = [Pending(new.decision, 0, new.fence) for new in recorded if new.fence is not None]
        return BatchDecided(pending, waiting, happened)

    def _abstain(self, request: Request, verdict: Verdict) -> Waiting:
        unreadable = verdict.reason_code == ReasonCode.UNREADABLE
        action = conditional(verdict.kind, self._mode is not Mode.OBSERVE)
        text = f"{action} ({verdict.reason_code}): {verdict.reason}"
        self._tell(event("abstained", request, text, weight=Weight.EXPECTED))
        return Waiting(request, verdict.reason_code, verdict.reason, FIRST_RETRY if unreadable else None, unreadable)

    def _record(self, judged: Judged) -> list[Recorded]:
        """The recorded decision; empty where another daemon decided this request first."""
        recorded = self._audit.record(judged)
        if recorded is None:
            return []
        failpoint("decision committed")
        decision, action = recorded.decision, conditional(recorded.decision.verdict, judged.acts)
        self._tell(event("decided", judged.request, f"{action}: {decision.reason}", decision))
        return [recorded]
