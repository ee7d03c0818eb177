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


class Role(StrEnum):
    """What a check has to say in the verdict."""

    DECIDES = "decides"
    ADVISES = "advises"  # it observes, is advisory, or its rule begins later
    OVERRIDDEN = "overridden"  # a check of another rule stands in its place
    PART = "part"  # of alternatives, which decide or advise as a whole


class VerdictKind(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"
    ABSTAIN = "abstain"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One condition of one rule, judged. `code` is stable for machines; texts are already visible.

    `source` says where the observed value was read: run, logged model, dataset, step, or version; `guard` who may
    change the tag that it was read from. `id`, `why` and `help` are the policy's; `note` says why it does not decide,
    `remedy` what to do where it does not pass.
    """

    rule: str
    check: str
    result: Result
    code: FindingCode
    expected: str
    observed: str
    observed_number: float | None = None
    source: str = ""
    guard: str = ""
    role: Role = Role.DECIDES
    id: str = ""
    why: str = ""
    help: str = ""
    note: str = ""
    remedy: str = ""

    @property
    def name(self) -> str:
        """How the policy names it: `tier-1/auc`."""
        return f"{self.rule}/{self.id or self.check}"

    @property
    def read_from(self) -> str:
        """`version; the tag is protected`."""
        return visible("; ".join(filter(None, (self.source, self.guard))), 500)

    @property
    def origin(self) -> str:
        """Its rule, and what the policy says about it: `tier-1; Model risk standard 4.2`."""
        return "; ".join(filter(None, (self.rule, self.why, self.help)))

    @property
    def sentence(self) -> str:
        """`validation_accuracy 0.94, at least 0.9 required`; longer where more was found than a number."""
        subject = self.check.removeprefix("metric ")
        if self.observed_number is not None and ";" not in self.observed:
            return f"{subject} {self.observed}, {self.expected} required"
        return f"{subject}: {self.observed}; required: {self.expected}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done about a request, and on what grounds: each check of each rule that matched.

    `rules` are those that decide; where none does, those that advise. `detail` says what `reason_code` alone does not.
    """

    kind: VerdictKind
    reason_code: ReasonCode
    checks: tuple[CheckResult, ...] = ()
    rules: tuple[str, ...] = ()
    archive_existing: bool = False
    detail: str = ""

    @property
    def rule(self) -> str:
        """The names of the rules that matched, joined by a comma."""
        return ", ".join(self.rules)

    @property
    def deciding(self) -> tuple[CheckResult, ...]:
        return tuple(check for check in self.checks if check.role is Role.DECIDES)

    @property
    def reason(self) -> str:
        """The same words in the registry, in `explain`, in the log and in the report. At most 4,000 bytes."""
        replaced = cut_at_word(self._replaced, 1500)
        told = cut_at_word(_REASONS[self.kind](self), 4000 - len(replaced.encode("utf-8", "replace"))) + replaced
        return cut_at_word(told + self._advice, 4000)

    @property
    def _replaced(self) -> str:
        """Which checks others stand in for; it is told however long the rest is."""
        replaced = [f"{check.name} by {check.note}" for check in self.checks if check.role is Role.OVERRIDDEN]
        return f"; replaced: {', '.join(replaced)}" if replaced else ""

    @property
    def _advice(self) -> str:
        """What advice was not met."""
        advice = [
            f"{check.sentence} ({check.origin}; {check.note})"
            for check in self.checks
            if check.role is Role.ADVISES and check.result is not Result.PASSED
        ]
        return (
            f"; advice not met: {'; '.join(advice)}" if advice and self.reason_code != ReasonCode.ONLY_ADVISORY else ""
        )


def _approved(verdict: Verdict) -> str:
    return "; ".join(dict.fromkeys(check.sentence for check in verdict.deciding))


def _rejected(verdict: Verdict) -> str:
    checks = verdict.deciding
    failed = [check for check in checks if check.result is Result.FAILED]
    reasons = "; ".join(f"{check.sentence} ({check.origin})" for check in failed)
    return reasons if len(checks) == 1 else f"{len(failed)} of {len(checks)} checks failed: {reasons}"


def _abstained(verdict: Verdict) -> str:
    if verdict.reason_code == ReasonCode.NO_POLICY:
        return "no rule of the policy covers this model and target, so it is left alone"
    if verdict.reason_code in {ReasonCode.ONLY_ADVISORY, ReasonCode.CONFLICTING_RULES}:
        return verdict.detail
    unknown = [check for check in verdict.deciding if check.result is Result.UNKNOWN]
    return "could not tell: " + "; ".join(f"{check.sentence} ({visible(check.rule)})" for check in unknown)


_REASONS = {
    VerdictKind.APPROVE: _approved,
    VerdictKind.REJECT: _rejected,
    VerdictKind.ABSTAIN: _abstained,
}
