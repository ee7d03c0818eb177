"""How engines 1 and 2 made a verdict, and what checks meant to engines 2, 3 and 4. It stays as it is, for ever.

Decisions that they judged are judged again by this. Engines 1 and 2 had one level of checks and no alternatives, and
one check that could not be judged made the whole an abstention. What single checks meant to engine 1 is in
`first`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from reconciler.domain.checks.any_of import AnyOf
from reconciler.domain.checks.base import Check, Finding
from reconciler.domain.checks.compare import CompareCheck
from reconciler.domain.checks.documentation import DocumentationCheck
from reconciler.domain.checks.run import RunCheck
from reconciler.domain.checks.tag import TagCheck
from reconciler.domain.codes import ReasonCode
from reconciler.domain.engines import first
from reconciler.domain.engines.applying import Applying, Doubted
from reconciler.domain.engines.results import Find, JudgedCheck, found, judged, why_unknown
from reconciler.domain.evidence.evidence import Evidence
from reconciler.domain.policy import Policy
from reconciler.domain.request import Request
from reconciler.domain.verdict import Result, Verdict, VerdictKind


@dataclass(frozen=True, slots=True)
class Meaning:
    """What checks mean to an engine: what each finds, and what passes, for people."""

    find: Find
    expected: Callable[[Check], str]


def _find_second(check: Check, evidence: Evidence, now: datetime) -> Finding:
    """A run that ended in the future was not too old."""
    if isinstance(check, RunCheck):
        return check.judged(evidence, now, timedelta.max)
    return find_third(check, evidence, now)


def find_third(check: Check, evidence: Evidence, now: datetime) -> Finding:
    """Numbers that were compared had no bounds, and the host of an address could be anything, as in `https://.`."""
    if isinstance(check, CompareCheck):
        return check.within(None, evidence)
    if isinstance(check, TagCheck):
        return check.judged(evidence, now, _is_address_with_any_host)
    if isinstance(check, DocumentationCheck):
        return check.judged(evidence, _is_address_with_any_host)
    return check.find(evidence, now)


def doubted(_rules: Sequence[Applying]) -> Doubted:
    """To engines 3 and 4 a check that failed rejected, also where it could not be told whether another replaces it."""
    return {}


def _is_address_with_any_host(text: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    allowed = schemes or ("http", "https")
    return parts.scheme in allowed and bool(parts.hostname) and text.isprintable() and " " not in text


FIRST = Meaning(first.find, first.expected)
SECOND = Meaning(_find_second, lambda check: check.expected)


def evaluate(meaning: Meaning, policy: Policy, request: Request, evidence: Evidence, now: datetime) -> Verdict:
    """Every check of every rule that matches, and the strictest reading of them all."""
    rules = policy.rules_for(request)
    if not rules:
        return Verdict(VerdictKind.ABSTAIN, ReasonCode.NO_POLICY)
    waited = now - request.requested_at
    checks = tuple(
        judged(rule, check, meaning.expected(check), found(meaning.find, check, evidence, now), waited)
        for rule in rules
        for check in rule.require
        if not isinstance(check, AnyOf)
    )
    kind, code = strictest(checks)
    archive = any(rule.archive_existing for rule in rules) and request.target.may_archive
    return Verdict(kind, code, checks, tuple(rule.name for rule in rules), archive)


def strictest(checks: Sequence[JudgedCheck]) -> tuple[VerdictKind, ReasonCode]:
    unknown = {check.code for check in checks if check.result is Result.UNKNOWN}
    if unknown:
        return VerdictKind.ABSTAIN, why_unknown(unknown)
    if any(check.result is Result.FAILED for check in checks):
        return VerdictKind.REJECT, ReasonCode.CHECKS_FAILED
    return VerdictKind.APPROVE, ReasonCode.ALL_CHECKS_PASSED
