"""Deciding: judge open requests on their evidence, and record each decision before acting on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.cycle.due import Due
from reconciler.cycle.happening import Happening, Tell, event, past_tense
from reconciler.cycle.policy_in_force import PolicyInForce
from reconciler.cycle.retries import FIRST_RETRY
from reconciler.domain.codes import ReasonCode
from reconciler.domain.decision import Decision, Judged, Mode, conditional
from reconciler.domain.judgements import Findings, LastDecision, findings_of
from reconciler.domain.request import Request
from reconciler.domain.verdict import Verdict, VerdictKind
from reconciler.domain.weight import Weight
from reconciler.failpoints import failpoint
from reconciler.judging import Judgement, judge_batch
from reconciler.ports import AuditLog, Listed, Pending, Recorded, Registry, Waiting

Last = Mapping[str, LastDecision]
# What is to be recorded: a judgement, and the decision that it follows; None: the first about its request.
New = tuple[Judgement, LastDecision | None]


@dataclass(frozen=True, slots=True)
class BatchDecided:
    """`pending`: decisions to be carried out. `waiting`: requests that were not decided, and why."""

    pending: Sequence[Pending]
    waiting: Sequence[Waiting]
    happened: Sequence[Happening]


class Deciding:
    """Decides requests in one pass."""

    def __init__(
        self, registry: Registry, audit: AuditLog, in_force: PolicyInForce, mode: Mode, due: Due, tell: Tell
    ) -> None:
        self._registry = registry
        self._audit = audit
        self._in_force = in_force
        self._mode = mode
        self._due = due
        self._tell = tell

    def with_holders(self, listed: Sequence[Listed]) -> list[Listed]:
        """The same requests, with what holds the target by the audit database where a rule compares with it."""
        policy = self._in_force.policy
        compared = {entry.request.key for entry in listed if policy.needs(entry.request).holder}
        if not compared:
            return list(listed)
        asked = {entry.request.place.model_target for entry in listed if entry.request.key in compared}
        held = self._audit.observations.held(asked)
        return [
            replace(entry, held=held.get(entry.request.place.model_target, ()))
            if entry.request.key in compared
            else entry
            for entry in listed
        ]

    def decide(self, batch: Sequence[Listed], last: Last) -> BatchDecided:
        """Judges a batch and records its decisions.

        Args:
            last: the decisions of those that are judged again.

        Raises:
            RegistryError: the evidence could not be requested; nothing in this batch is decided.
        """
        new: list[New] = []
        waiting: list[Waiting] = []
        now = self._audit.now()
        found = self._findings(batch, last)
        record = self._audit.observations
        for judgement in judge_batch(self._registry, self._in_force.policy, batch, now, record=record):
            before = last.get(judgement.listed.request.key)
            if judgement.verdict.kind is VerdictKind.ABSTAIN:
                waiting.append(self._abstain(judgement, before))
            elif before is None or self._is_new(judgement, before, found.get(before.decision_id), now):
                new.append((judgement, before))
        recorded = self._record(new) if new else []
        happened = [Happening(verdict=past_tense(one.decision.verdict, one.decision.acts)) for one in recorded]
        happened += [Happening(abstained=wait.code, in_error=wait.failed) for wait in waiting]
        pending = [Pending(one.decision, 0, one.fence) for one in recorded if one.fence is not None]
        return BatchDecided(pending, waiting, happened)

    def _findings(self, batch: Sequence[Listed], last: Last) -> Mapping[str, Findings]:
        ids = [last[entry.request.key].decision_id for entry in batch if entry.request.key in last]
        return self._audit.findings(ids) if ids else {}

    def _abstain(self, judgement: Judgement, before: LastDecision | None) -> Waiting:
        request, verdict = judgement.listed.request, judgement.verdict
        unreadable = verdict.reason_code == ReasonCode.UNREADABLE
        retry_in = FIRST_RETRY if unreadable else None
        if before is not None:
            retry_in = self._due.again.judged(judgement.listed, recorded=False)
        self._tell_abstention(request, verdict)
        waiting = Waiting(request, verdict.reason_code, verdict.reason, retry_in, unreadable)
        if before is None:
            self._due.turns.waits(judgement.listed, waiting)
        return waiting

    def _tell_abstention(self, request: Request, verdict: Verdict) -> None:
        action = conditional(verdict.kind, self._mode is not Mode.OBSERVE)
        text = f"{action} ({verdict.reason_code}): {verdict.reason}"
        self._tell(event("abstained", request, text, weight=Weight.EXPECTED))

    def _judged(self, judgement: Judgement, before: LastDecision | None) -> Judged:
        return Judged(
            judgement.listed.request,
            judgement.verdict,
            judgement.evidence,
            self._mode,
            self._in_force.digest,
            judgement=1 if before is None else before.judgement + 1,
            replaces=None if before is None else before.replaced_by_next,
        )

    def _is_new(self, judgement: Judgement, before: LastDecision, found: Findings | None, now: datetime) -> bool:
        """Whether a request that was judged again needs a new decision. If not, it is judged again later."""
        verdict = judgement.verdict
        differs = findings_of(verdict.checks) != found
        if before.must_be_followed(verdict.kind, self._mode, differs=differs, now=now):
            return True
        self._due.again.judged(judgement.listed, recorded=False)
        return False

    def _record(self, new: Sequence[New]) -> list[Recorded]:
        """The recorded decisions: all but those of requests that another daemon decided first, or again."""
        judged = [self._judged(judgement, before) for judgement, before in new]
        recorded = {one.decision.request.key: one for one in self._audit.record(*judged)}
        failpoint("decision committed")
        for judgement, before in new:
            one = recorded.get(judgement.listed.request.key)
            self._due.again.judged(judgement.listed, recorded=one is not None)
            if before is not None:
                failpoint("judged again")
            if one is not None:
                self._tell_decision(one.decision)
        return list(recorded.values())

    def _tell_decision(self, decision: Decision) -> None:
        action = conditional(decision.verdict, decision.acts)
        self._tell(event("decided", decision.request, f"{action}: {decision.reason}", decision))
