"""From what a check found to its result: what every engine has in common."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Protocol

from reconciler.domain.checks.base import Check, Finding, OnMissing
from reconciler.domain.codes import AbsenceCode, CommonCode, FindingCode, ReasonCode
from reconciler.domain.evidence.evidence import Evidence
from reconciler.domain.evidence.withheld import Withheld
from reconciler.domain.policy import Rule
from reconciler.domain.text import visible
from reconciler.domain.verdict import CheckResult, Result, Role

# They are told apart from what could not be read.
_NOT_SHOWN = frozenset(
    {
        CommonCode.WITHHELD,
        CommonCode.UNDETERMINED,
        CommonCode.HOLDER_UNAPPROVED,
        AbsenceCode.NO_HOLDER,
        CommonCode.NOT_OBSERVED,
        CommonCode.HELD_TOO_SHORT,
        CommonCode.OUTSIDE_WINDOW,
        CommonCode.CHECK_ERROR,
    }
)
_ORDER = (
    (CommonCode.UNREADABLE, ReasonCode.UNREADABLE),
    (CommonCode.CHECK_ERROR, ReasonCode.UNREADABLE),
    (CommonCode.WITHHELD, ReasonCode.WITHHELD),
    (CommonCode.UNDETERMINED, ReasonCode.UNDETERMINED),
    (CommonCode.HOLDER_UNAPPROVED, ReasonCode.UNDETERMINED),
    (AbsenceCode.NO_HOLDER, ReasonCode.UNDETERMINED),
    (CommonCode.NOT_OBSERVED, ReasonCode.NOT_OBSERVED),
    (CommonCode.WAITING, ReasonCode.WAITING),
    (CommonCode.HELD_TOO_SHORT, ReasonCode.HELD_TOO_SHORT),
    (CommonCode.OUTSIDE_WINDOW, ReasonCode.OUTSIDE_WINDOW),
)


class JudgedCheck(Protocol):
    """A check as far as the verdict depends on it: of now, or as it was recorded."""

    @property
    def result(self) -> Result: ...

    @property
    def code(self) -> str: ...

    @property
    def role(self) -> Role: ...


# What a check finds, by an engine.
Find = Callable[[Check, Evidence, datetime], Finding]


def found(find: Find, check: Check, evidence: Evidence, now: datetime) -> Finding:
    try:
        return find(check, evidence, now)
    except Withheld as withheld:
        return withheld_finding(withheld)


def withheld_finding(withheld: Withheld) -> Finding:
    return Finding(CommonCode.WITHHELD, str(withheld), unreadable=True)


def judged(rule: Rule, check: Check, expected: str, finding: Finding, waited: timedelta) -> CheckResult:
    """The result of one check of one rule; texts come out visible."""
    result, code = _result(check, finding, waited)
    return CheckResult(
        rule=visible(rule.name),
        check=visible(check.title, 300),
        result=result,
        code=code,
        expected=visible(expected, 500),
        observed=visible(finding.observed, 500),
        observed_number=finding.number,
        source=visible(finding.source, 500),
        guard=finding.guard,
        id=check.id or "",
        why=visible(check.why or "", 300),
        help=visible(check.help or "", 300),
        remedy=check.remedy,
    )


def _result(check: Check, finding: Finding, waited: timedelta) -> tuple[Result, FindingCode]:
    if finding.unreadable:
        return Result.UNKNOWN, code_of_unread(finding)
    if finding.code == CommonCode.OK:
        return Result.PASSED, CommonCode.OK
    if finding.missing and waited < check.grace:
        return Result.UNKNOWN, CommonCode.WAITING
    if finding.missing and check.on_missing is OnMissing.ABSTAIN:
        return Result.UNKNOWN, finding.code
    return Result.FAILED, finding.code


def code_of_unread(finding: Finding) -> FindingCode:
    return finding.code if finding.code in _NOT_SHOWN else CommonCode.UNREADABLE


def why_unknown(codes: Collection[str]) -> ReasonCode:
    """The reason of an abstention whose checks could not be judged for these codes."""
    return next((reason for code, reason in _ORDER if code in codes), ReasonCode.MISSING)


def first_unknown(codes: Collection[FindingCode]) -> FindingCode:
    """Of several codes of what could not be judged, the one that gives `why_unknown`."""
    return next((code for code, _ in _ORDER if code in codes), min(codes, key=str))
