"""What is valid in a policy but probably not meant."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from reconciler.domain.checks.any_of import AnyOf
from reconciler.domain.checks.base import Check
from reconciler.domain.checks.compare import CompareCheck
from reconciler.domain.checks.family import FamilyCheck
from reconciler.domain.checks.metric import MetricCheck
from reconciler.domain.checks.run import RunCheck
from reconciler.domain.plugin_checks import PluginCheck
from reconciler.domain.policy import Policy, Rule
from reconciler.policy.including import File
from reconciler.policy.problems import Location, Problem
from reconciler.policy.spelling import mixed_words

# Words to people, in which any letters may stand together.
_FOR_PEOPLE: Final = frozenset({"why", "help", "headings"})
_RANGES: Final = re.compile(r"\[[^]!][^]]*\]", re.DOTALL)
_UNLINKED = "anybody may register a version under a good run's id: add `run: {linked: true}`"
_OR = ", or read the metric from the model itself with `source: logged_model`"


_ESCAPE = (
    "everybody who may edit the model's tags may change `{}`, and the rule then no longer applies: add a rule for the "
    "other values, or make sure that only approvers may edit it (`check` says whether the MLflow app protects it)"
)


def doubts_about(file: File, policy: Policy) -> Iterator[Problem]:
    """Yield each warning about the rules of a file, in the order of the text."""
    linking = _Linking(policy.rules)
    for index, include in enumerate(file.policy.include):
        for at, message in _about_globs("models", include.models):
            yield file.problem(("include", index, *at), message)
    for index, rule in enumerate(file.rules):
        for at, message in _about_a_rule(rule, linked=linking.is_linked(rule)):
            yield file.problem(("rules", index, *at), message)
    for at, text in _texts(file.marks.data, ()):
        for word in mixed_words(text):
            yield file.marks.problem(at, f"{word}: it is a different name than it looks", file=file.name)


def _texts(data: Any, at: Location) -> Iterator[tuple[Location, str]]:
    """Every text of a file, but for words to people."""
    if isinstance(data, str):
        yield at, data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield (*at, key), key
            yield from _texts(value, (*at, key)) if key not in _FOR_PEOPLE else ()
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _texts(value, (*at, index))


def _about_a_rule(rule: Rule, *, linked: bool) -> Iterator[tuple[Location, str]]:
    yield from _about_globs("models", rule.models)
    yield from _about_globs("exclude", rule.exclude)
    for tag in rule.when.model_tag if rule.when else ():
        yield ("when", "model_tag", tag), _ESCAPE.format(tag)
    if len(set(rule.targets)) < len(rule.targets):
        yield ("targets",), "duplicate target"
    if rule.archive_existing and not any(target.is_stage for target in rule.targets):
        yield ("archive_existing",), "has no effect: only a stage archives its other versions"
    for index, required in enumerate(rule.require):
        for doubt in required.doubts():
            yield ("require", index), doubt
        if not linked and any(map(_reads_run, _parts(required))):
            yield ("require", index), _UNLINKED + ("" if isinstance(required, PluginCheck) else _OR)


def _about_globs(key: str, globs: Sequence[str]) -> Iterator[tuple[Location, str]]:
    for index, glob in enumerate(globs):
        if not glob or "/" in glob or ":" in glob:
            yield (key, index), f"{glob!r} never matches: a model's name is not empty, and has no / or :"
        elif "," in glob or {"{", "}"} & {*glob} or glob != glob.strip():
            yield (key, index), f"{glob!r} is one glob: its blanks, commas and braces are part of a name; use a list"
        elif any(_matches_nothing(one) for one in _RANGES.findall(glob)):
            yield (key, index), f"{glob!r} never matches: a range goes from the lower to the higher, as in [a-z]"


def _matches_nothing(characters: str) -> bool:
    """Whether no character is in this part of a glob, as in `[z-a]`."""
    return not any(fnmatchcase(chr(one), characters) for one in range(128)) and characters.isascii()


def _parts(required: Check | AnyOf) -> Iterator[Check]:
    """The check, or of alternatives those without a proven run beside them."""
    for checks in required.any_of if isinstance(required, AnyOf) else [(required,)]:
        if not any(map(_asks_for_link, checks)):
            yield from checks


def _reads_run(check: Check) -> bool:
    if isinstance(check, PluginCheck):
        return bool(check.needs().metrics or check.needs().metric_globs)
    return isinstance(check, FamilyCheck) or (isinstance(check, MetricCheck | CompareCheck) and check.source == "run")


def _asks_for_link(check: Check | AnyOf) -> bool:
    return isinstance(check, RunCheck) and check.run.linked and check.level == "hard"


class _Linking:
    """The rules that prove the run, by the globs of their models: of thousands not each is compared with all."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._by_glob: dict[str, list[Rule]] = defaultdict(list)
        for rule in rules:
            if any(map(_asks_for_link, rule.require)) and _is_everywhere(rule):
                for glob in set(rule.models):
                    self._by_glob[glob].append(rule)

    def is_linked(self, rule: Rule) -> bool:
        """Whether the rule, or one that applies and decides wherever it does, proves the run."""
        if any(map(_asks_for_link, rule.require)):
            return True
        near = (other for glob in ("*", rule.models[0]) for other in self._by_glob.get(glob, ()))
        return any(_covers(other, rule) for other in near)


def _is_everywhere(rule: Rule) -> bool:
    """Whether it decides about all models that it names."""
    names = rule.names
    always = rule.mode == "decide" and rule.starts is None and rule.when is None
    return always and not names.exclude and not names.within


def _covers(other: Rule, rule: Rule) -> bool:
    alike = rule.kind == other.kind and set(rule.targets) <= set(other.targets)
    return alike and ("*" in other.models or set(rule.models) <= set(other.models))
