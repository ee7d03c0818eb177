"""What holds a governed target now, judged as if it were asked for today. Nothing is recorded, nothing is written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain, groupby, takewhile
from typing import Final, NamedTuple, Protocol

from reconciler.cycle.batches import batches
from reconciler.domain.checks.any_of import AnyOf
from reconciler.domain.checks.requester import RequesterCode
from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.evidence import Absent, Evidence, VersionFacts
from reconciler.domain.holding.looks import Look
from reconciler.domain.holding.tenures import Holders, changes_in
from reconciler.domain.place import Place
from reconciler.domain.policy import Policy
from reconciler.domain.request import NOBODY, Request, Requester
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.domain.text import visible
from reconciler.domain.verdict import CheckResult, Result, Role, Verdict
from reconciler.judging import JUDGED_TOGETHER, judge_batch
from reconciler.ports import Listed, Registry

# No grace is longer: what is missing of a holder has been missing for long.
_LONG_AGO: Final = timedelta(days=3650)


class Showing(Registry, Protocol):
    """A registry that shows all holders at once."""

    def holders(self, scope: Scope) -> Look: ...


class Fitness(StrEnum):
    PASSES = "passes"
    FAILS = "fails"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Known:
    """What is on record of a holder: since when it was seen, by what that began, and who had asked for it."""

    since: datetime
    began_by: str
    decision_id: str = ""
    requester: Requester = NOBODY


@dataclass(frozen=True, slots=True)
class JudgedHolder:
    """A holder, how it fares, and the checks that do not pass. `known` None: nothing is on record.

    `why`: what it comes to, where no check says so.
    """

    place: Place
    fitness: Fitness
    checks: tuple[CheckResult, ...]
    rule: str
    why: str
    known: Known | None


# By `Place.shown`.
OnRecord = Mapping[tuple[str, str, str], Known]


class Holder(NamedTuple):
    """A version that holds a target now. `is_prompt`: it is one of a prompt, so that rules for prompts judge it."""

    place: Place
    is_prompt: bool = False


def holders_of(registry: Showing, scope: Scope) -> list[Holder]:
    """What holds a target of the scope now, in order.

    Raises:
        RegistryError: it cannot be listed to its end.
    """
    look = registry.holders(scope)
    began = changes_in(look, Holders.of([]), scope).began
    return sorted({Holder(one.place, one.is_prompt) for one in began}, key=_order)


def _order(holder: Holder) -> tuple[str, tuple[int, str], Target]:
    place = holder.place
    return place.model, _number(place.version), place.target


def _number(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdecimal() else (0, version)


def judged_fleet(
    registry: Registry, policy: Policy, holders: Sequence[Holder], now: datetime, at: datetime, on_record: OnRecord
) -> Iterator[JudgedHolder]:
    """Each holder, judged on the evidence of now and as of `at`.

    Raises:
        RegistryError: the registry could not be queried at all.
    """
    known = {place: on_record.get(place.shown) for place, _ in holders}
    places = {_asked(registry, holder, known[holder.place], at): holder.place for holder in holders}
    about_requests = _about_requests(policy)
    for batch in batches([Listed(request, None) for request in places], JUDGED_TOGETHER):
        for judgement in judge_batch(registry, policy, batch, now, at):
            request = judgement.listed.request
            place = places[request]
            if _is_gone(judgement.evidence):
                yield JudgedHolder(place, Fitness.UNKNOWN, (), "", "it is gone since it was listed", known[place])
            else:
                yield _judged(place, judgement.verdict, request, known[place], about_requests)


def _is_gone(evidence: Evidence) -> bool:
    version = evidence.fact(VersionFacts)
    return isinstance(version, Absent) and version.code == AbsenceCode.VERSION_MISSING


def _asked(registry: Registry, holder: Holder, known: Known | None, at: datetime) -> Request:
    """As if it were asked for by who did, so long ago that nothing is waited for."""
    asker, then = known.requester if known is not None else NOBODY, at - _LONG_AGO
    return Request.as_if(registry.uri, registry.workspace, holder.place, then, asker, is_prompt=holder.is_prompt)


# --- one holder ----------------------------------------------------------------------------------------------


def _judged(
    place: Place, verdict: Verdict, request: Request, known: Known | None, about_requests: Collection[str]
) -> JudgedHolder:
    nobody = request.requester == NOBODY
    found = list(_about_what_is_there(verdict, about_requests, nobody=nobody))
    # Who asked is not known of every holder.
    failed = [one for one in found if one.result is Result.FAILED and not (nobody and _is_about_nobody(one))]
    open_ones = tuple(check for check in found if check.result is not Result.PASSED)
    fitness = Fitness.FAILS if failed else Fitness.UNKNOWN if open_ones or not found else Fitness.PASSES
    why = "" if found else _why_not_judged(verdict)
    return JudgedHolder(place, fitness, tuple(failed) or open_ones, verdict.rule, why, known)


def _why_not_judged(verdict: Verdict) -> str:
    if not verdict.deciding:
        return verdict.reason
    asked = ", ".join(check.check for check in verdict.deciding)
    return f"not judged: the checks that decide are about a request, not about a version already there ({asked})"


def _about_requests(policy: Policy) -> frozenset[str]:
    """The titles of checks that say whether a version may take a target, and nothing about one that holds it.

    A window says when is decided, a comparison whether another may take the place, a stage where it has to come from.
    """
    required = (required for rule in policy.rules for required in rule.require)
    checks = (check for one in required for check in (chain(*one.any_of) if isinstance(one, AnyOf) else (one,)))
    return frozenset(visible(check.title, 300) for check in checks if not check.says_of_holders())


def _about_what_is_there(verdict: Verdict, about_requests: Collection[str], *, nobody: bool) -> Iterator[CheckResult]:
    """The checks that decide and are about the holder; alternatives as far as they are."""
    for at, check in enumerate(verdict.checks):
        if check.role is not Role.DECIDES or check.check in about_requests:
            continue
        # They are told behind the whole.
        parts = takewhile(lambda one: one.role is Role.PART, verdict.checks[at + 1 :])
        alternatives = [
            [_of_holder(part, nobody=nobody) for part in tried if part.check not in about_requests]
            for _, tried in groupby(parts, key=lambda part: part.note)
        ]
        result = _of_alternatives(alternatives) if alternatives else check.result
        if result is not None:
            yield replace(check, result=result)


def _of_holder(part: CheckResult, *, nobody: bool) -> Result:
    return Result.UNKNOWN if nobody and _is_about_nobody(part) else part.result


def _of_alternatives(alternatives: Sequence[Sequence[Result]]) -> Result | None:
    """None where one of them says nothing about what is there, and no other one passes."""
    if any(tried and set(tried) == {Result.PASSED} for tried in alternatives):
        return Result.PASSED
    if not all(alternatives):
        return None
    return Result.FAILED if all(Result.FAILED in tried for tried in alternatives) else Result.UNKNOWN


def _is_about_nobody(check: CheckResult) -> bool:
    return check.code == RequesterCode.REQUESTER_UNSURE
