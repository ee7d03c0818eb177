"""The policy applied to a request: pure, deterministic, and an error is always an abstention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType

from reconciler.domain.checks.any_of import AnyOf, AnyOfCode
from reconciler.domain.checks.base import Check
from reconciler.domain.codes import CommonCode, FindingCode, ReasonCode
from reconciler.domain.engines import earlier
from reconciler.domain.engines.applying import (
    Applying,
    Doubted,
    Overrides,
    applying,
    overridden,
    perhaps_overridden,
)
from reconciler.domain.engines.current import ENGINE
from reconciler.domain.engines.results import Find, JudgedCheck, first_unknown, found, judged, why_unknown
from reconciler.domain.evidence.evidence import Evidence
from reconciler.domain.evidence.requester_facts import RequesterFacts
from reconciler.domain.policy import Policy, Rule
from reconciler.domain.request import Request
from reconciler.domain.text import quoted, visible
from reconciler.domain.verdict import CheckResult, Result, Role, Verdict, VerdictKind


@dataclass(frozen=True, slots=True)
class Engine:
    """What an engine makes of checks: what each finds, and which may be replaced by one that could not be judged."""

    find: Find
    doubted: Callable[[Sequence[Applying]], Doubted]


_TODAY = Engine(lambda check, evidence, now: check.find(evidence, now), perhaps_overridden)


def evaluate(policy: Policy, request: Request, evidence: Evidence, now: datetime) -> Verdict:
    """The verdict of today's engine."""
    return evaluate_by(_TODAY, policy, request, evidence, now)


def evaluate_by(engine: Engine, policy: Policy, request: Request, evidence: Evidence, now: datetime) -> Verdict:
    """Every check of every rule that applies, and the strictest reading of those that decide.

    A check that failed rejects, since nothing that is still unknown could mend it. Else one that could not be judged
    makes the whole an abstention.
    """
    evidence = evidence.knowing(RequesterFacts.of(request, policy.people))
    rules = [one for rule in policy.rules_for(request) if (one := applying(rule, evidence, now)) is not None]
    if not rules:
        return Verdict(VerdictKind.ABSTAIN, ReasonCode.NO_POLICY)
    waited = now - request.requested_at
    judging = _Judging(engine.find, evidence, now, waited, overridden(rules), engine.doubted(rules))
    checks = tuple(check for one in rules for check in judging.of_rule(one))
    kind, code = combined(checks)
    if code == ReasonCode.ONLY_ADVISORY:
        return Verdict(kind, code, checks, tuple(one.rule.name for one in rules), detail=_advice(checks))
    deciding = [one.rule for one in rules if one.decides]
    names = tuple(rule.name for rule in deciding)
    opinions = {rule.archive_existing for rule in deciding} - {None} if request.target.may_archive else set()
    if kind is VerdictKind.APPROVE and len(opinions) > 1:
        detail = _conflict(deciding)
        return Verdict(VerdictKind.ABSTAIN, ReasonCode.CONFLICTING_RULES, checks, names, detail=detail)
    archive = request.target.may_archive and (True in opinions or (not opinions and policy.defaults.archive_existing))
    return Verdict(kind, code, checks, names, archive)


def combined(checks: Sequence[JudgedCheck]) -> tuple[VerdictKind, ReasonCode]:
    """The verdict that checks give, of now or as they were recorded: only those that decide count."""
    deciding = [check for check in checks if check.role is Role.DECIDES]
    if not deciding:
        return VerdictKind.ABSTAIN, ReasonCode.ONLY_ADVISORY
    return _strictest(deciding)


def _strictest(checks: Sequence[JudgedCheck]) -> tuple[VerdictKind, ReasonCode]:
    if any(check.result is Result.FAILED for check in checks):
        return VerdictKind.REJECT, ReasonCode.CHECKS_FAILED
    unknown = {check.code for check in checks if check.result is Result.UNKNOWN}
    if unknown:
        return VerdictKind.ABSTAIN, why_unknown(unknown)
    return VerdictKind.APPROVE, ReasonCode.ALL_CHECKS_PASSED


@dataclass(frozen=True, slots=True)
class _Judging:
    """What checks find in one request's evidence, and which checks others stand in for."""

    find: Find
    evidence: Evidence
    now: datetime
    waited: timedelta
    overrides: Overrides
    doubted: Doubted

    def of_rule(self, applying: Applying) -> Iterator[CheckResult]:
        if applying.unclear is not None:
            yield applying.unclear
            return
        rule = applying.rule
        for required in rule.require:
            role, note = self._role(applying, required)
            if isinstance(required, AnyOf):
                whole, *parts = self._alternatives(rule, required, role, note)
            else:
                (whole, parts) = self._checked(rule, required), []
                whole = whole if role is Role.DECIDES and not note else replace(whole, role=role, note=note)
            yield self._perhaps_replaced(rule, required, whole)
            yield from parts

    def _perhaps_replaced(self, rule: Rule, required: Check | AnyOf, whole: CheckResult) -> CheckResult:
        """One that failed rejects nothing where it may be that another check stands in its place."""
        doubt = self.doubted.get((rule.name, required.id)) if _may_be_replaced(required) else None
        if doubt is None or whole.role is not Role.DECIDES or whole.result is not Result.FAILED:
            return whole
        by, code = doubt
        observed = visible(f"{whole.observed}; whether {by} replaces this check could not be told", 500)
        return replace(whole, result=Result.UNKNOWN, code=code, observed=observed, observed_number=None)

    def _role(self, applying: Applying, required: Check | AnyOf) -> tuple[Role, str]:
        by = self.overrides.get((applying.rule.name, required.id))
        if by and _may_be_replaced(required):
            return Role.OVERRIDDEN, ", ".join(by)
        if applying.advises:
            return Role.ADVISES, applying.advises
        return (Role.ADVISES, "advisory") if required.level == "advisory" else (Role.DECIDES, "")

    def _checked(self, rule: Rule, check: Check) -> CheckResult:
        finding = found(self.find, check, self.evidence, self.now)
        return judged(rule, check, check.expected, finding, self.waited)

    def _alternatives(self, rule: Rule, required: AnyOf, role: Role, note: str) -> Iterator[CheckResult]:
        """The whole, then its parts: one passes, or none can, or it cannot be told."""
        tried = [[self._checked(rule, check) for check in checks] for checks in required.any_of]
        result, code = _of_alternatives(tried)
        yield CheckResult(
            rule=visible(rule.name),
            check=visible(required.title, 300),
            result=result,
            code=code,
            expected=visible(required.expected, 500),
            observed=visible(_observed(tried, result), 500),
            guard=visible(_guards(tried), 500),
            role=role,
            id=required.id or "",
            why=visible(required.why or "", 300),
            help=visible(required.help or "", 300),
            note=note,
            remedy=required.remedy,
        )
        for number, checks in enumerate(tried, 1):
            for check in checks:
                yield replace(check, role=Role.PART, note=f"alternative {number} of {required.name}")


def _may_be_replaced(required: Check | AnyOf) -> bool:
    return required.overridable and not required.overrides


def _of_alternatives(tried: Sequence[Sequence[CheckResult]]) -> tuple[Result, FindingCode]:
    kinds = [_strictest(checks)[0] for checks in tried]
    if VerdictKind.APPROVE in kinds:
        return Result.PASSED, CommonCode.OK
    unclear = [checks for checks, kind in zip(tried, kinds, strict=True) if kind is VerdictKind.ABSTAIN]
    if not unclear:
        return Result.FAILED, AnyOfCode.NONE_PASSES
    codes = {check.code for checks in unclear for check in checks if check.result is Result.UNKNOWN}
    return Result.UNKNOWN, first_unknown(codes)


def _observed(tried: Sequence[Sequence[CheckResult]], result: Result) -> str:
    """The alternative that passes, else what stands in the way of each."""
    told = []
    for number, checks in enumerate(tried, 1):
        if result is Result.PASSED and _strictest(checks)[0] is VerdictKind.APPROVE:
            return f"alternative {number} passes: " + ", ".join(check.sentence for check in checks)
        open_ones = [check.sentence for check in checks if check.result is not Result.PASSED]
        told.append(f"alternative {number}: " + ", ".join(open_ones))
    return "; ".join(told)


def _guards(tried: Sequence[Sequence[CheckResult]]) -> str:
    """Of each tag that an alternative rests on, who may change it."""
    guarded = (check for checks in tried for check in checks if check.guard)
    return "; ".join(dict.fromkeys(f"{check.check}: {check.guard}" for check in guarded))


def _advice(checks: Sequence[CheckResult]) -> str:
    """What the checks would have said, had they decided."""
    advising = [check for check in checks if check.role is Role.ADVISES]
    kind, _ = _strictest(advising)
    met = sum(check.result is Result.PASSED for check in advising)
    rest = [
        f"{check.sentence} ({check.origin}; {check.note})" for check in advising if check.result is not Result.PASSED
    ]
    said = "; ".join([f"{met} of {len(advising)} passed", *rest])
    return f"no check that matches decides; they would {kind}: {said}"


def _conflict(rules: Sequence[Rule]) -> str:
    wants, refuses = (
        ", ".join(quoted(rule.name) for rule in rules if rule.archive_existing is opinion) for opinion in (True, False)
    )
    return f"every check passed, but rules disagree: archive_existing is true in {wants} and false in {refuses}"


Evaluate = Callable[[Policy, Request, Evidence, datetime], Verdict]

# By the number that is stored with a decision. The last is engine `ENGINE`, of today.
ENGINES: Mapping[int, Evaluate] = MappingProxyType(
    {
        1: partial(earlier.evaluate, earlier.FIRST),
        2: partial(earlier.evaluate, earlier.SECOND),
        3: partial(evaluate_by, Engine(earlier.find_third, earlier.doubted)),
        4: partial(evaluate_by, Engine(_TODAY.find, earlier.doubted)),
        ENGINE: evaluate,
    }
)

Combine = Callable[[Sequence[JudgedCheck]], tuple[VerdictKind, ReasonCode]]

# How each engine makes the verdict of its checks.
COMBINED: Mapping[int, Combine] = MappingProxyType(
    {1: earlier.strictest, 2: earlier.strictest, 3: combined, 4: combined, ENGINE: combined}
)
