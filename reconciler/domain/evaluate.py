"""The policy applied to a request: pure, deterministic, and an error is always an abstention."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from reconciler.domain.checks import judge
from reconciler.domain.evidence import Evidence
from reconciler.domain.policy import Policy
from reconciler.domain.request import Request
from reconciler.domain.verdict import CheckResult, Result, Verdict, VerdictKind


def evaluate(policy: Policy, request: Request, evidence: Evidence, now: datetime) -> Verdict:
    """Every check of every rule that matches, and the strictest reading of them all.

    A single check that could not be told makes the whole an abstention: nothing is rejected on half the evidence.
    """
    rules = policy.rules_for(request)
    names = tuple(rule.name for rule in rules)
    if not rules:
        return Verdict(VerdictKind.ABSTAIN, "no_policy")
    checks = tuple(judge(rule, check, request, evidence, now) for rule in rules for check in rule.require)
    kind, code = _strictest(checks)
    archive = any(rule.archive_existing for rule in rules) and request.target.may_archive
    return Verdict(kind, code, checks, names, archive)


def _strictest(checks: Sequence[CheckResult]) -> tuple[VerdictKind, str]:
    unknown = {check.code for check in checks if check.result is Result.UNKNOWN}
    if "unreadable" in unknown:
        return VerdictKind.ABSTAIN, "unreadable"
    if unknown:
        return VerdictKind.ABSTAIN, "waiting" if "waiting" in unknown else "missing"
    if any(check.result is Result.FAILED for check in checks):
        return VerdictKind.REJECT, "checks_failed"
    return VerdictKind.APPROVE, "all_checks_passed"
