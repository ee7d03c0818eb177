"""The policy applied to a request: pure, deterministic, and an error is always an abstention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Protocol

from reconciler.domain import first_engine
from reconciler.domain.checks.base import Check, Finding, OnMissing
from reconciler.domain.codes import CommonCode, FindingCode, ReasonCode
from reconciler.domain.engine import ENGINE
from reconciler.domain.evidence import Evidence
from reconciler.domain.policy import Policy, Rule
from reconciler.domain.request import Request
from reconciler.domain.text import visible
from reconciler.domain.verdict import CheckResult, Result, Verdict, VerdictKind
from reconciler.domain.withheld import Withheld


@dataclass(frozen=True, slots=True)
class Meaning:
    """What checks mean to an engine: what each finds, and what passes, for people."""

    find: Callable[[Check, Evidence, datetime], Finding]
    expected: Callable[[Check], str]


_TODAY = Meaning(lambda check, evidence, now: check.find(evidence, now), lambda check: check.expected)
_FIRST = Meaning(first_engine.find, first_engine.expected)


def evaluate(policy: Policy, request: Request, evidence: Evidence, now: datetime, meaning: Meaning = _TODAY) -> Verdict:
    """Every check of every rule that matches, and the strictest reading of them all.

    A single check that could not be judged makes the whole an abstention: nothing is rejected on half the evidence.
    """
    rules = policy.rules_for(request)
    if not rules:
        return Verdict(VerdictKind.ABSTAIN, ReasonCode.NO_POLICY)
    waited = now - request.requested_at
    checks = tuple(
        _judged(rule, check, meaning.expected(check), _found(meaning, check, evidence, now), waited)
        for rule in rules
        for check in rule.require
    )
    kind, code = _strictest(checks)
    archive = any(rule.archive_existing for rule in rules) and request.target.may_archive
    return Verdict(kind, code, checks, tuple(rule.name for rule in rules), archive)


def _found(meaning: Meaning, check: Check, evidence: Evidence, now: datetime) -> Finding:
    try:
        return meaning.find(check, evidence, now)
    except Withheld as withheld:
        return Finding(CommonCode.WITHHELD, str(withheld), unreadable=True)


def _judged(rule: Rule, check: Check, expected: str, finding: Finding, waited: timedelta) -> CheckResult:
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
    )


# Reading once more helps no more: they are told apart from what could not be read.
_NOT_SHOWN = frozenset({CommonCode.WITHHELD, CommonCode.UNDETERMINED})


def _result(check: Check, finding: Finding, waited: timedelta) -> tuple[Result, FindingCode]:
    if finding.unreadable:
        return Result.UNKNOWN, finding.code if finding.code in _NOT_SHOWN else CommonCode.UNREADABLE
    if finding.code == CommonCode.OK:
        return Result.PASSED, CommonCode.OK
    if finding.missing and waited < check.grace:
        return Result.UNKNOWN, CommonCode.WAITING
    if finding.missing and check.on_missing is OnMissing.ABSTAIN:
        return Result.UNKNOWN, finding.code
    return Result.FAILED, finding.code


class Judged(Protocol):
    """A check as far as the verdict depends on it: of now, or as it was recorded."""

    @property
    def result(self) -> Result: ...

    @property
    def code(self) -> str: ...


def _strictest(checks: Sequence[Judged]) -> tuple[VerdictKind, ReasonCode]:
    unknown = {check.code for check in checks if check.result is Result.UNKNOWN}
    if CommonCode.UNREADABLE in unknown:
        return VerdictKind.ABSTAIN, ReasonCode.UNREADABLE
    if CommonCode.WITHHELD in unknown:
        return VerdictKind.ABSTAIN, ReasonCode.WITHHELD
    if CommonCode.UNDETERMINED in unknown:
        return VerdictKind.ABSTAIN, ReasonCode.UNDETERMINED
    if unknown:
        return VerdictKind.ABSTAIN, ReasonCode.WAITING if CommonCode.WAITING in unknown else ReasonCode.MISSING
    if any(check.result is Result.FAILED for check in checks):
        return VerdictKind.REJECT, ReasonCode.CHECKS_FAILED
    return VerdictKind.APPROVE, ReasonCode.ALL_CHECKS_PASSED


Evaluate = Callable[[Policy, Request, Evidence, datetime], Verdict]

# By the number that is stored with a decision. The last is engine `ENGINE`, of today.
ENGINES: Mapping[int, Evaluate] = MappingProxyType({1: partial(evaluate, meaning=_FIRST), ENGINE: evaluate})

Combine = Callable[[Sequence[Judged]], tuple[VerdictKind, ReasonCode]]

# How each engine makes the verdict of its checks. All of them so far read them in the same way.
COMBINED: Mapping[int, Combine] = MappingProxyType(dict.fromkeys(ENGINES, _strictest))
