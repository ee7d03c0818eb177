"""What the policy says of a request, with every reason as data and one text for all readers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from reconciler.domain.codes import FindingCode, ReasonCode
from reconciler.domain.text import cut_at_word, visible


class Result(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"  # could not tell


class VerdictKind(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"
    ABSTAIN = "abstain"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One condition of one rule, judged. `code` is stable for machines; texts are already visible.

    `source` says where the observed value was read: run, logged model, dataset, step, or version.
    """

    rule: str
    check: str
    result: Result
    code: FindingCode
    expected: str
    observed: str
    observed_number: float | None = None
    source: str = ""

    @property
    def sentence(self) -> str:
        """`validation_accuracy 0.94, at least 0.9 required`; longer where what was found is not a number."""
        subject = self.check.removeprefix("metric ")
        if self.observed_number is not None:
            return f"{subject} {self.observed}, {self.expected} required"
        return f"{subject}: {self.observed}; required: {self.expected}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done about a request, and on what grounds: each check of each rule that matched."""

    kind: VerdictKind
    reason_code: ReasonCode
    checks: tuple[CheckResult, ...] = ()
    rules: tuple[str, ...] = ()
    archive_existing: bool = False

    @property
    def rule(self) -> str:
        """The names of the rules that matched, joined by a comma."""
        return ", ".join(self.rules)

    @property
    def reason(self) -> str:
        """The same words in the registry, in `explain`, in the log and in the report. At most 4,000 bytes."""
        return cut_at_word(_REASONS[self.kind](self), 4000)


def _approved(verdict: Verdict) -> str:
    return "; ".join(dict.fromkeys(check.sentence for check in verdict.checks))


def _rejected(verdict: Verdict) -> str:
    failed = [check for check in verdict.checks if check.result is Result.FAILED]
    reasons = "; ".join(f"{check.sentence} ({check.rule})" for check in failed)
    return reasons if len(verdict.checks) == 1 else f"{len(failed)} of {len(verdict.checks)} checks failed: {reasons}"


def _abstained(verdict: Verdict) -> str:
    if verdict.reason_code == ReasonCode.NO_POLICY:
        return "no rule of the policy covers this model and target, so it is left alone"
    unknown = [check for check in verdict.checks if check.result is Result.UNKNOWN]
    return "could not tell: " + "; ".join(f"{check.sentence} ({visible(check.rule)})" for check in unknown)


_REASONS = {
    VerdictKind.APPROVE: _approved,
    VerdictKind.REJECT: _rejected,
    VerdictKind.ABSTAIN: _abstained,
}
