"""Mistakes that no rule has by itself: repeated names, overrides of what is not there, rules that disagree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

from reconciler.domain.checks.any_of import AnyOf
from reconciler.domain.checks.base import Check
from reconciler.domain.policy import Rule
from reconciler.domain.text import quoted
from reconciler.policy.including import File
from reconciler.policy.overlap import Budget, common_name
from reconciler.policy.problems import Location, Problem


class _Place(NamedTuple):
    """A rule, and where it stands."""

    file: File
    number: int
    rule: Rule

    def problem(self, message: str, *at: str | int) -> Problem:
        location: Location = ("rules", self.number, *at)
        return self.file.problem(location, message)


def problems_across(files: Sequence[File], *, complete: bool = True) -> Iterator[Problem]:
    """Yield what is wrong between the rules of all files.

    Args:
        complete: there is no file with mistakes of its own; else what is not found may be in there.
    """
    places = [_Place(file, index, rule) for file in files for index, rule in enumerate(file.rules)]
    if not places and complete:
        yield files[0].problem(("rules",), "no rule, here or in a file that is included: length must be at least 1")
    yield from _shared_logins(files[:1])
    yield from _repeated_names(places)
    for place in places:
        yield from _unnamed(place)
        yield from _not_about_prompts(place)
    if complete:
        yield from _wrong_overrides(places)
    yield from _disagreeing(places)


def _shared_logins(files: Sequence[File]) -> Iterator[Problem]:
    """A login of two persons would make one of them somebody else, and so would one that is empty."""
    for file in files:
        owner = {person: person for person in file.policy.people}
        for person, logins in file.policy.people.items():
            for at, login in enumerate(logins):
                where = ("people", person, at)
                if not login:
                    yield file.problem(where, "'' is no login: remove it")
                elif owner.setdefault(login, person) != person:
                    message = f"{quoted(login)} is {quoted(owner[login])} already: name each login once"
                    yield file.problem(where, message)


def _repeated_names(places: Sequence[_Place]) -> Iterator[Problem]:
    seen: set[str] = set()
    for place in places:
        if place.rule.name in seen:
            yield place.problem(f"duplicate rule name: another rule is named {place.rule.name!r}", "name")
        seen.add(place.rule.name)


def _unnamed(place: _Place) -> Iterator[Problem]:
    """Checks that overrides, tests and reports could not name."""
    seen: set[str] = set()
    for at, required in enumerate(place.rule.require):
        if required.name in seen:
            message = f"another check of this rule is named {required.name!r} too: give each an id of its own"
            yield place.problem(message, "require", at, *(("id",) if required.id else ()))
        seen.add(required.name)
        if required.overridable and not required.id:
            yield place.problem("needs an id, by which it is overridden", "require", at, "overridable")
        if required.overridable and required.overrides:
            yield place.problem("what overrides another check cannot be overridden", "require", at, "overridable")
        if required.overrides and required.level == "advisory":
            yield place.problem("what is advisory overrides nothing: it never decides", "require", at, "overrides")


def _not_about_prompts(place: _Place) -> Iterator[Problem]:
    for at, required in enumerate(place.rule.require):
        for check in _checks_of(required):
            if place.rule.kind not in check.of:
                allowed = "a model, not for a prompt" if place.rule.kind == "prompt" else "a prompt: add `kind: prompt`"
                yield place.problem(f"{check.kind} is for {allowed}", "require", at)
    if place.rule.kind == "prompt":
        for at, target in enumerate(place.rule.targets):
            if target.is_stage:
                yield place.problem("a prompt has no stages: name an alias, such as @production", "targets", at)


def _checks_of(required: Check | AnyOf) -> Iterator[Check]:
    if isinstance(required, AnyOf):
        for checks in required.any_of:
            yield from checks
    else:
        yield required


def _wrong_overrides(places: Sequence[_Place]) -> Iterator[Problem]:
    by_name = {
        f"{place.rule.name}/{required.id}": required
        for place in places
        for required in place.rule.require
        if required.id
    }
    overridable = sorted(name for name, required in by_name.items() if required.overridable)
    known = f"overridable are {', '.join(map(quoted, overridable[:20]))}" if overridable else "no check is overridable"
    for place in places:
        for at, required in enumerate(place.rule.require):
            for number, name in enumerate(required.overrides):
                if name not in by_name or not by_name[name].overridable:
                    what = "is not overridable" if name in by_name else "is no check: name it as rule/id"
                    yield place.problem(f"{quoted(name)} {what}: {known}", "require", at, "overrides", number)


def _disagreeing(places: Sequence[_Place]) -> Iterator[Problem]:
    """Rules that would abstain for ever where both match, as far as it can be seen."""
    deciding = [place for place in places if place.rule.mode == "decide"]
    wants, refuses = ([one for one in deciding if one.rule.archive_existing is opinion] for opinion in (True, False))
    # What it does not suffice for is left to the verdict, which abstains.
    budget = Budget()
    for place, other in product(wants, refuses):
        if budget.pairs <= 0:
            return
        if (example := _both_match(place.rule, other.rule, budget)) is not None:
            for here, there, says in ((place, other, "false"), (other, place, "true")):
                message = f"rule {quoted(there.rule.name)} says {says}, and both match {quoted(example)}"
                yield here.problem(f"{message}: leave one of them unset", "archive_existing")


def _both_match(one: Rule, other: Rule, budget: Budget) -> str | None:
    """The name of a model for which both certainly apply."""
    shared = {target for target in one.targets if target.may_archive} & set(other.targets)
    budget.pairs -= 1
    if one.kind != other.kind or not shared or one.when != other.when:
        return None
    return common_name(one.names, other.names, budget)
