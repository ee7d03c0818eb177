"""Mistakes that no rule has by itself: repeated names, overrides of what is not there, rules that disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Final, NamedTuple

from reconciler.domain.checks.any_of import AnyOf
from reconciler.domain.checks.base import Check
from reconciler.domain.policy import Rule
from reconciler.domain.text import quoted
from reconciler.policy.including import File
from reconciler.policy.overlap import Budget, common_name
from reconciler.policy.problems import Location, Problem

# The keys that say for which requests a rule decides.
_FOR_WHOM: Final = ("kind", "models", "exclude", "when", "targets", "mode", "from")


class _Place(NamedTuple):
    """A rule, and where it stands."""

    file: File
    number: int
    rule: Rule

    def problem(self, message: str, *at: str | int) -> Problem:
        location: Location = ("rules", self.number, *at)
        return self.file.problem(location, message)

    def lacks(self, *at: str | int) -> bool:
        """Whether a mistake was taken out there, so that nothing else may be made of what is left."""
        return self.file.lacks("rules", self.number, *at)


def problems_across(files: Sequence[File], *, complete: bool = True) -> Iterator[Problem]:
    """Yield what is wrong between the rules of all files.

    Args:
        complete: every file could be read; else what is not found may be in there.
    """
    places = [_Place(file, index, rule) for file in files for index, rule in enumerate(file.rules)]
    if not places and complete and not any(file.lacks("rules") for file in files):
        yield files[0].problem(("rules",), "no rule, here or in a file that is included: length must be at least 1")
    yield from _shared_logins([file for file in files if not file.name])
    yield from _repeated_names(places)
    for place in places:
        yield from _unnamed(place)
        yield from _not_about_prompts(place)
    yield from _wrong_overrides(places, _Overridable(files, complete=complete))
    yield from _disagreeing(places)


def _shared_logins(files: Sequence[File]) -> Iterator[Problem]:
    """A login of two persons would make one of them somebody else, and so would one that is empty."""
    for file in files:
        owner = {person: person for person in file.policy.people}
        for person, logins in file.policy.people.items():
            for at, login in enumerate(logins):
                where = ("people", person, at)
                if not login:
                    yield file.problem(where, "'' is not a login: remove it")
                elif owner.setdefault(login, person) != person:
                    message = f"{quoted(login)} is {quoted(owner[login])} already: name each login once"
                    yield file.problem(where, message)


def _repeated_names(places: Sequence[_Place]) -> Iterator[Problem]:
    seen: set[str] = set()
    for place in places:
        if place.lacks("name"):
            continue
        if place.rule.name in seen:
            yield place.problem(f"duplicate rule name: another rule is named {place.rule.name!r}", "name")
        seen.add(place.rule.name)


def _unnamed(place: _Place) -> Iterator[Problem]:
    """Checks that overrides, tests and reports could not name."""
    seen: set[str] = set()
    for at, required in enumerate(place.rule.require):
        is_whole = not place.lacks("require", at)
        if (required.id or is_whole) and required.name in seen:
            message = f"another check of this rule is named {required.name!r} too: give each an id of its own"
            yield place.problem(message, "require", at, *(("id",) if required.id else ()))
        seen.update({required.name} if required.id or is_whole else ())
        if required.overridable and not required.id and is_whole:
            yield place.problem("needs an id, by which it is overridden", "require", at, "overridable")
        if required.overridable and required.overrides:
            yield place.problem("a check that overrides another cannot be overridden", "require", at, "overridable")
        if required.overrides and required.level == "advisory":
            yield place.problem("an advisory check overrides nothing: it never decides", "require", at, "overrides")


def _not_about_prompts(place: _Place) -> Iterator[Problem]:
    if place.lacks("kind"):
        return
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


class _Overridable:
    """Which checks may be overridden, by `rule/id`, as the texts say: also of rules that have mistakes.

    Args:
        complete: every file could be read, so that a name which is not there is none.
    """

    def __init__(self, files: Sequence[File], *, complete: bool) -> None:
        self._complete = complete
        self._by_name: dict[str, bool] = {}
        # Rule and id of checks; None: a mistake, which may have been meant as anything.
        self._unclear: set[tuple[str | None, str | None]] = set()
        for file in files:
            for rule in _sections(file.marks.data, "rules"):
                for check in _sections(rule, "require"):
                    self._add(rule.get("name"), check)

    def _add(self, rule: object, check: Mapping[str, Any]) -> None:
        if "id" not in check:
            return
        of, name = (one if isinstance(one, str) else None for one in (rule, check["id"]))
        if of is None or name is None:
            self._unclear.add((of, name))
        else:
            self._by_name[f"{of}/{name}"] = check.get("overridable", False) is not False

    def problem_of(self, name: str) -> str | None:
        if self._by_name.get(name, self._may_be(name)):
            return None
        overridable = sorted(name for name, is_one in self._by_name.items() if is_one)
        names = ", ".join(map(quoted, overridable[:20]))
        known = f"overridable are {names}" if overridable else "no check is overridable"
        what = "is not overridable" if name in self._by_name else "is not a check: name it as rule/id"
        return f"{quoted(name)} {what}: {known}"

    def _may_be(self, name: str) -> bool:
        """Whether a check of this name may be where a mistake is."""
        of, _, id = name.rpartition("/")
        return not self._complete or not self._unclear.isdisjoint({(of, None), (None, id), (None, None)})


def _sections(data: object, key: str) -> list[Mapping[str, Any]]:
    """The items of a list that are sections."""
    items = data.get(key) if isinstance(data, Mapping) else None
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []


def _wrong_overrides(places: Sequence[_Place], overridable: _Overridable) -> Iterator[Problem]:
    for place in places:
        for at, required in enumerate(place.rule.require):
            for number, name in enumerate(required.overrides):
                if (message := overridable.problem_of(name)) is not None:
                    yield place.problem(message, "require", at, "overrides", number)


def _disagreeing(places: Sequence[_Place]) -> Iterator[Problem]:
    """Rules that would abstain for ever where both match, as far as it can be seen."""
    deciding = [place for place in places if place.rule.mode == "decide" and not _may_be_for_others(place)]
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


def _may_be_for_others(place: _Place) -> bool:
    """Whether what says for whom the rule is, is not all there."""
    return not place.file.is_bound or any(map(place.lacks, _FOR_WHOM))


def _both_match(one: Rule, other: Rule, budget: Budget) -> str | None:
    """The name of a model for which both certainly apply."""
    shared = {target for target in one.targets if target.may_archive} & set(other.targets)
    budget.pairs -= 1
    if one.kind != other.kind or not shared or one.when != other.when:
        return None
    return common_name(one.names, other.names, budget)
