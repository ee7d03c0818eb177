"""What holds a governed target now, judged as if it were asked for today. Nothing is recorded, nothing is written."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby, takewhile
from typing import Final, NamedTuple, Protocol

from reconciler.cycle.batches import batches
from reconciler.domain.checks.any_of import AnyOf
from reconciler.domain.checks.base import Check
from reconciler.domain.checks.compare import CompareCode
from reconciler.domain.checks.requester import RequesterCode
from reconciler.domain.checks.stage import StageCode
from reconciler.domain.codes import AbsenceCode, CommonCode
from reconciler.domain.evidence import Absent, Evidence, VersionFacts
from reconciler.domain.holding import Holders, changes_in
from reconciler.domain.looks import Look, Place
from reconciler.domain.plugin_checks import PluginCheck
from reconciler.domain.policy import Policy, Rule
from reconciler.domain.request import NOBODY, Request, Requester
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.domain.text import visible, visible_name
from reconciler.domain.verdict import CheckResult, Result, Role, Verdict
from reconciler.judging import JUDGED_TOGETHER, judge_batch
from reconciler.ports import Listed, Registry

# A window says when is decided, a comparison whether another may take the place, a stage where it has to come from:
# nothing about what is there.
_ABOUT_CHANGES: Final = frozenset({
    CommonCode.OUTSIDE_WINDOW, CommonCode.HOLDER_UNAPPROVED, CommonCode.NOT_OBSERVED, CommonCode.HELD_TOO_SHORT,
    AbsenceCode.NO_HOLDER, *CompareCode, *StageCode,
})  # fmt: skip
# Whether what a check found is about what is there.
_Counts = Callable[[CheckResult], bool]
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


# By model, version and target, as the audit shows them.
OnRecord = Mapping[tuple[str, str, str], Known]


class Holder(NamedTuple):
    """A version that holds a target now. `is_prompt`: it is one of a prompt, so that rules for prompts judge it."""

    place: Place
    is_prompt: bool = False


def shown_place(place: Place) -> tuple[str, str, str]:
    return visible_name(place.model), visible_name(place.version), str(place.target)


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
    known = {place: on_record.get(shown_place(place)) for place, _ in holders}
    places = {_asked(registry, holder, known[holder.place], at): holder.place for holder in holders}
    counts = _counting(policy)
    for batch in batches([Listed(request, None) for request in places], JUDGED_TOGETHER):
        for judgement in judge_batch(registry, policy, batch, now, at):
            request = judgement.listed.request
            place = places[request]
            if _is_gone(judgement.evidence):
                yield JudgedHolder(place, Fitness.UNKNOWN, (), "", "it is gone since it was listed", known[place])
            else:
                yield _judged(place, judgement.verdict, request, known[place], counts)


def _is_gone(evidence: Evidence) -> bool:
    version = evidence.fact(VersionFacts)
    return isinstance(version, Absent) and version.code == AbsenceCode.VERSION_MISSING


def _asked(registry: Registry, holder: Holder, known: Known | None, at: datetime) -> Request:
    """As if it were asked for by who did, so long ago that nothing is waited for."""
    place = holder.place
    asker = known.requester if known is not None else NOBODY
    where = registry.uri, registry.workspace, place.model, place.version, place.target
    return Request(*where, asker, at - _LONG_AGO, "", "", "", holder.is_prompt)


# --- one holder ----------------------------------------------------------------------------------------------


def _judged(place: Place, verdict: Verdict, request: Request, known: Known | None, counts: _Counts) -> JudgedHolder:
    nobody = request.requester == NOBODY
    deciding = list(_about_what_is_there(verdict, counts, nobody=nobody))
    # Who asked is not known of every holder.
    failed = [one for one in deciding if one.result is Result.FAILED and not (nobody and _is_about_nobody(one))]
    open_ones = tuple(check for check in deciding if check.result is not Result.PASSED)
    fitness = Fitness.FAILS if failed else Fitness.UNKNOWN if open_ones or not verdict.deciding else Fitness.PASSES
    why = verdict.reason if fitness is Fitness.UNKNOWN and not open_ones else ""
    return JudgedHolder(place, fitness, tuple(failed) or open_ones, verdict.rule, why, known)


def _about_what_is_there(verdict: Verdict, counts: _Counts, *, nobody: bool) -> Iterator[CheckResult]:
    """The checks that decide, without those that are about changes; alternatives without them, as far as they fail."""
    for at, check in enumerate(verdict.checks):
        if check.role is not Role.DECIDES:
            continue
        # They are told behind the whole.
        parts = takewhile(lambda one: one.role is Role.PART, verdict.checks[at + 1 :])
        alternatives = [list(tried) for _, tried in groupby(parts, key=lambda part: part.note)]
        if check.result is Result.PASSED or (not alternatives and counts(check)):
            yield check
        elif alternatives and (result := _of_alternatives(alternatives, counts, nobody=nobody)) is not Result.PASSED:
            yield replace(check, result=result)


def _of_alternatives(alternatives: Sequence[Sequence[CheckResult]], counts: _Counts, *, nobody: bool) -> Result:
    """Passed, too, where one of them says nothing against what is there."""
    results = [
        {Result.UNKNOWN if nobody and _is_about_nobody(part) else part.result for part in tried if counts(part)}
        for tried in alternatives
    ]
    if any(found <= {Result.PASSED} for found in results):
        return Result.PASSED
    return Result.FAILED if all(Result.FAILED in found for found in results) else Result.UNKNOWN


def _counting(policy: Policy) -> _Counts:
    """Whether a check says something of what is there already; of a plugin's, its needs tell."""
    about_changes = {
        (visible(rule.name), check.id or visible(check.title, 300))
        for rule in policy.rules
        for check in _checks_of(rule)
        if isinstance(check, PluginCheck) and (check.needs().held or check.needs().holder)
    }
    return lambda check: (
        check.code not in _ABOUT_CHANGES
        and not (check.result is Result.FAILED and (check.rule, check.id or check.check) in about_changes)
    )


def _checks_of(rule: Rule) -> Iterator[Check]:
    for required in rule.require:
        yield from itertools.chain.from_iterable(required.any_of) if isinstance(required, AnyOf) else (required,)


def _is_about_nobody(check: CheckResult) -> bool:
    return check.code == RequesterCode.REQUESTER_UNSURE
