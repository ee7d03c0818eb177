"""Deciding: judge open requests on their evidence, and record each decision before acting on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.cycle.happening import Happening, Tell, event, past_tense
from reconciler.cycle.judging_again import JudgingAgain
from reconciler.cycle.policy_in_force import PolicyInForce
from reconciler.cycle.retries import FIRST_RETRY
from reconciler.domain.codes import ReasonCode
from reconciler.domain.decision import Judged, Mode, conditional
from reconciler.domain.judgements import Findings, LastDecision, findings_of
from reconciler.domain.request import Request
from reconciler.domain.verdict import Verdict, VerdictKind
from reconciler.domain.weight import Weight
from reconciler.failpoints import failpoint
from reconciler.judging import Judgement, judge_batch
from reconciler.ports import AuditLog, Listed, Pending, Recorded, Registry, Waiting

Last = Mapping[str, LastDecision]


@dataclass(frozen=True, slots=True)
class BatchDecided:
    """`pending`: decisions to be carried out. `waiting`: requests that were not decided, and why."""

    pending: Sequence[Pending]
    waiting: Sequence[Waiting]
    happened: Sequence[Happening]


class Deciding:
    """Decides requests in one pass."""

    def __init__(
        self, registry: Registry, audit: AuditLog, in_force: PolicyInForce, mode: Mode, again: JudgingAgain, tell: Tell
    ) -> None:
        self._registry = registry
        self._audit = audit
        self._in_force = in_force
        self._mode = mode
        self.again = again
        self._tell = tell

    def decide(self, batch: Sequence[Listed], last: Last) -> BatchDecided:
        """Judges a batch and records its decisions.

        Args:
            last: the decisions of those that are judged again.

        Raises:
            RegistryError: the evidence could not be requested; nothing in this batch is decided.
        """
        recorded: list[Recorded] = []
        waiting: list[Waiting] = []
        now = self._audit.now()
        found = self._findings(batch, last)
        for judgement in judge_batch(self._registry, self._in_force.policy, batch, now):
            before = last.get(judgement.listed.request.key)
            if judgement.verdict.kind is VerdictKind.ABSTAIN:
                waiting.append(self._abstain(judgement, before))
            elif before is None:
                recorded += self._record(self._judged(judgement, None))
            else:
                recorded += self._record_again(judgement, before, found.get(before.decision_id), now)
        happened = [Happening(verdict=past_tense(new.decision.verdict, new.decision.acts)) for new in recorded]
        happened += [Happening(abstained=wait.code, in_error=wait.failed) for wait in waiting]
        pending = [Pending(new.decision, 0, new.fence) for new in recorded if new.fence is not None]
        return BatchDecided(pending, waiting, happened)

    def _findings(self, batch: Sequence[Listed], last: Last) -> Mapping[str, Findings]:
        ids = [last[entry.request.key].decision_id for entry in batch if entry.request.key in last]
        return self._audit.findings(ids) if ids else {}

    def _abstain(self, judgement: Judgement, before: LastDecision | None) -> Waiting:
        request, verdict = judgement.listed.request, judgement.verdict
        unreadable = verdict.reason_code == ReasonCode.UNREADABLE
        retry_in = FIRST_RETRY if unreadable else None
        if before is not None:
            retry_in = self.again.judged(judgement.listed, recorded=False)
        self._tell_abstention(request, verdict)
        return Waiting(request, verdict.reason_code, verdict.reason, retry_in, unreadable)

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

    def _record(self, judged: Judged) -> list[Recorded]:
        """The recorded decision; empty where another daemon decided this request first."""
        recorded = self._audit.record(judged)
        if recorded is None:
            return []
        failpoint("decision committed")
        self._tell_decision(judged, recorded)
        return [recorded]

    def _record_again(
        self, judgement: Judgement, before: LastDecision, found: Findings | None, now: datetime
    ) -> list[Recorded]:
        """As `_record`; empty also where the judgement is the one that is recorded already."""
        verdict = judgement.verdict
        differs = findings_of(verdict.checks) != found
        recorded = None
        if before.must_be_followed(verdict.kind, self._mode, differs=differs, now=now):
            recorded = self._audit.record(self._judged(judgement, before))
        self.again.judged(judgement.listed, recorded=recorded is not None)
        if recorded is None:
            return []
        failpoint("judged again")
        self._tell_decision(self._judged(judgement, before), recorded)
        return [recorded]

    def _tell_decision(self, judged: Judged, recorded: Recorded) -> None:
        decision, action = recorded.decision, conditional(recorded.decision.verdict, judged.acts)
        self._tell(event("decided", judged.request, f"{action}: {decision.reason}", decision))
