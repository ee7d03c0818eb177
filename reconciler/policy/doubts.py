"""What is valid in a policy but probably not meant."""

from __future__ import annotations

from collections.abc import Iterator

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

_UNLINKED = "anybody may register a version under a good run's id: add `run: {linked: true}`"
_OR = ", or read the metric from the model itself with `source: logged_model`"


_ESCAPE = (
    "whoever may edit the model's tags may change `{}`, and the rule then applies no longer: add a rule for the other "
    "values, or see that only approvers may edit it (`check` says whether the MLflow app protects it)"
)


def doubts_about(file: File, policy: Policy) -> Iterator[Problem]:
    """Yield each warning about the rules of a file, in the order of the text."""
    linking = [rule for rule in policy.rules if any(map(_asks_for_link, rule.require))]
    for index, rule in enumerate(file.rules):
        for at, message in _about_a_rule(rule, linked=any(_certainly_with(rule, other) for other in linking)):
            yield file.problem(("rules", index, *at), message)


def _about_a_rule(rule: Rule, *, linked: bool) -> Iterator[tuple[Location, str]]:
    yield from _about_names(rule)
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


def _about_names(rule: Rule) -> Iterator[tuple[Location, str]]:
    for key, globs in (("models", rule.models), ("exclude", rule.exclude)):
        for index, glob in enumerate(globs):
            if not glob or "/" in glob or ":" in glob:
                yield (key, index), f"{glob!r} never matches: a model's name is not empty, and has no / or :"


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


def _certainly_with(rule: Rule, other: Rule) -> bool:
    """Whether the other rule applies and decides wherever this one does."""
    if other is rule:
        return True
    names = other.names
    everywhere = not names.exclude and not names.within and other.when is None and other.starts is None
    covered = "*" in names.globs or set(rule.models) <= set(names.globs)
    alike = rule.kind == other.kind and set(rule.targets) <= set(other.targets)
    return other.mode == "decide" and everywhere and covered and alike
