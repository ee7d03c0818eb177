"""Decisions judged by another policy: what would differ, and whether by the policy or by what checks mean today."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from reconciler.domain.agreement import Recorded
from reconciler.domain.codes import CommonCode
from reconciler.domain.engines.current import ENGINE
from reconciler.domain.evidence.captured import as_captured
from reconciler.domain.evidence.evidence import Evidence, Needs
from reconciler.domain.policy import Policy
from reconciler.domain.request import Request
from reconciler.domain.verdict import CheckResult, Result, Role, Verdict, VerdictKind
from reconciler.judging import judge_again

# What a check finds for want of a value that stored evidence does not have: nobody can tell what would have come of it.
# A holder that nobody approved, or that is not there, was captured: of that an abstention would have come.
_CANNOT_TELL: Final = frozenset(
    {
        CommonCode.WITHHELD,
        CommonCode.UNREADABLE,
        CommonCode.CHECK_ERROR,
        CommonCode.UNDETERMINED,
        CommonCode.NOT_OBSERVED,
    }
)
# Of one check.
NOT_ASKED = "not asked"


class Change(StrEnum):
    SAME = "same"
    DIFFERS = "differs"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """What would make a verdict another one."""

    POLICY = "policy"
    ENGINE = "engine"  # what checks mean today: the policy of then gives the same
    BOTH = "both"
    UNCLEAR = "unclear"  # an earlier engine judged it, and the policy of then cannot be judged by today's


@dataclass(frozen=True, slots=True)
class ChangedCheck:
    """A check with another result. `sentence`: what it says now."""

    check: str
    recorded: str
    would: str
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What would come of a decision. `would`: approve, reject or abstain."""

    change: Change
    would: str = ""
    reason_code: str = ""
    cause: Cause | None = None
    checks: tuple[ChangedCheck, ...] = ()
    why: str = ""


@dataclass(frozen=True, slots=True)
class Judging:
    """A decision with what it was judged on, and the policy that was in force."""

    recorded: Recorded
    request: Request
    evidence: Evidence
    policy: Policy


def needs_of(then: Policy, now: Policy, request: Request) -> Needs:
    """What of the stored evidence is looked at."""
    return Needs.together([then.needs(request), now.needs(request)])


def replayed(judging: Judging, new: Policy) -> Replayed:
    """What the new policy says, by today's engine and as of then."""
    would = _judged(judging, new)
    if _cannot_be_told(would):
        return Replayed(Change.UNKNOWN, why=_told(next(_untold(would))))
    if _effect(would) == _recorded_effect(judging.recorded):
        return Replayed(Change.SAME)
    checks = tuple(_changed_checks(judging.recorded, would))
    return Replayed(
        Change.DIFFERS, str(would.kind), str(would.reason_code), _cause(judging, would), checks, would.reason
    )


def _judged(judging: Judging, policy: Policy) -> Verdict:
    then, now = (one.needs(judging.request) for one in (judging.policy, policy))
    return judge_again(ENGINE, policy, judging.request, as_captured(judging.evidence, then, now))


def _cause(judging: Judging, would: Verdict) -> Cause:
    as_before = _judged(judging, judging.policy)
    if _cannot_be_told(as_before):
        return Cause.POLICY if judging.recorded.engine == ENGINE else Cause.UNCLEAR
    if _effect(as_before) == _recorded_effect(judging.recorded):
        return Cause.POLICY
    return Cause.ENGINE if _effect(as_before) == _effect(would) else Cause.BOTH


def _effect(verdict: Verdict) -> tuple[str, bool]:
    """What differs for whoever asks, and for whom holds the target."""
    return str(verdict.kind), verdict.archive_existing and verdict.kind is VerdictKind.APPROVE


def _recorded_effect(recorded: Recorded) -> tuple[str, bool]:
    return recorded.verdict, recorded.archive_existing and recorded.verdict == VerdictKind.APPROVE


def _cannot_be_told(verdict: Verdict) -> bool:
    return verdict.kind is VerdictKind.ABSTAIN and any(True for _ in _untold(verdict))


def _untold(verdict: Verdict) -> Iterator[CheckResult]:
    """The checks that decide, and could not be told; of alternatives the whole, where one of its parts could not."""
    whole = None
    for check in verdict.checks:
        if check.role is not Role.PART:
            whole = check if check.role is Role.DECIDES and check.result is Result.UNKNOWN else None
        if whole is not None and check.result is Result.UNKNOWN and check.code in _CANNOT_TELL:
            yield whole


def _told(check: CheckResult) -> str:
    return f"{check.name}: {check.observed}"


def _changed_checks(recorded: Recorded, would: Verdict) -> Iterator[ChangedCheck]:
    """Of the checks that decide: those with another result, and those of only one policy that do not pass."""
    before = {check.name: check for check in recorded.checks if check.role == Role.DECIDES}
    after = {check.name: check for check in would.deciding}
    replaced = {check.name: f"replaced by {check.note}" for check in would.checks if check.role is Role.OVERRIDDEN}
    for name, new in after.items():
        old = before[name].result if name in before else NOT_ASKED
        if old != new.result and not (old == NOT_ASKED and new.result is Result.PASSED):
            yield ChangedCheck(name, old, str(new.result), new.sentence)
    for name, check in before.items():
        if name not in after and check.result != Result.PASSED:
            yield ChangedCheck(name, check.result, replaced.get(name, NOT_ASKED))
