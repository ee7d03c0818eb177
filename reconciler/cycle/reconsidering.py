"""A decision is carried out on fresh evidence and by the policy in force only: else it is judged again first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from reconciler.cycle.policy_in_force import PolicyInForce
from reconciler.domain.codes import ReasonCode
from reconciler.domain.decision import Judged, Mode, conditional
from reconciler.domain.engines.current import ENGINE
from reconciler.domain.judgements import Confirmation, Findings, findings_of
from reconciler.domain.verdict import VerdictKind
from reconciler.judging import Judgement, judge_batch
from reconciler.ports import AuditLog, Listed, Pending, Registry


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The judgement is the same, and the act may follow."""

    confirmation: Confirmation


@dataclass(frozen=True, slots=True)
class Changed:
    """It is another one, so the decision lapses. `successor`: what is decided instead; None: it abstains."""

    why: str
    successor: Judged | None


@dataclass(frozen=True, slots=True)
class Unclear:
    """Something could not be read, which says nothing about the decision."""

    detail: str


Reconsidered = Confirmed | Changed | Unclear


class Reconsidering:
    """Judges pending decisions again. `evidence_age`: up to this age one of the policy in force needs no other."""

    def __init__(
        self, registry: Registry, audit: AuditLog, in_force: PolicyInForce, mode: Mode, evidence_age: timedelta
    ) -> None:
        self._registry = registry
        self._audit = audit
        self._in_force = in_force
        self.mode = mode
        self._evidence_age = evidence_age

    def is_needed(self, pending: Pending, now: datetime) -> bool:
        """On a retry, after an act that may have been sent, by another policy, and when the evidence is old.

        Always where a rule compares with what holds the target, which may change from one act to the next.
        """
        if self.compares(pending):
            return True
        retried = pending.attempts > 0 or pending.answer_by is not None
        other_policy = pending.decision.policy_digest != self._in_force.digest
        return retried or other_policy or now - pending.decision.decided_at > self._evidence_age

    def compares(self, pending: Pending) -> bool:
        """Whether a rule compares with what holds the target."""
        return self._in_force.policy.needs(pending.decision.request).holder

    def must_follow(self, later: Pending, earlier: Pending) -> bool:
        """Whether the earlier of two decisions is settled before the later is even read again.

        Of those for one place one act resolves both. Others may contend, or be compared with what the earlier brings.
        """
        mine, its = later.decision.request, earlier.decision.request
        if mine.place == its.place:
            return False
        same_target = mine.place.model_target == its.place.model_target
        return later.decision.contends_with(earlier.decision) or (same_target and self.compares(later))

    def reconsider(self, batch: Sequence[Pending], now: datetime) -> Mapping[str, Reconsidered]:
        """How each is judged now, by decision id. The evidence of all is read together.

        Raises:
            RegistryError: the evidence could not be requested at all.
        """
        if not batch:
            return {}
        found = self._audit.findings([pending.decision.decision_id for pending in batch])
        # The list was read before, and may be old by now: the version is read as well.
        listed = [Listed(pending.decision.request, None) for pending in batch]
        record = self._audit.observations
        judgements = judge_batch(self._registry, self._in_force.policy, listed, now, record=record)
        judged = {one.listed.request.key: one for one in judgements}
        ids = {pending.decision.decision_id: pending for pending in batch}
        return {id: self._compared(one, judged[one.decision.request.key], found[id]) for id, one in ids.items()}

    def _compared(self, pending: Pending, judgement: Judgement, found: Findings) -> Reconsidered:
        decision, verdict = pending.decision, judgement.verdict
        if verdict.reason_code == ReasonCode.UNREADABLE:
            return Unclear(f"not acted on, because it could not be judged again: {verdict.reason}")
        same_policy = decision.policy_digest == self._in_force.digest
        if same_policy and verdict.kind is decision.verdict and findings_of(verdict.checks) == found:
            return Confirmed(Confirmation(verdict, self._in_force.digest, judgement.evidence, ENGINE))
        action = conditional(verdict.kind, self.mode.acts_on(verdict.kind) or verdict.kind is VerdictKind.ABSTAIN)
        by = "" if same_policy else f" by policy {self._in_force.digest[:12]}"
        why = f"judged again{by} before it was carried out: {action}: {verdict.reason}"
        return Changed(why, self._successor(pending, judgement))

    def _successor(self, pending: Pending, judgement: Judgement) -> Judged | None:
        if judgement.verdict.kind is VerdictKind.ABSTAIN:
            return None
        decision = pending.decision
        return Judged(
            decision.request,
            judgement.verdict,
            judgement.evidence,
            self.mode,
            self._in_force.digest,
            judgement=decision.judgement + 1,
            replaces=decision.decision_id,
        )
