"""What is valid in a policy but probably not meant."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.domain.checks.metric import MetricCheck
from reconciler.domain.checks.run import RunCheck
from reconciler.domain.policy import Policy, Rule
from reconciler.policy.problems import Location

_UNLINKED = (
    "anybody may register a version under a good run's id: add `run: {linked: true}`, or read the metric from the "
    "model itself with `source: logged_model`"
)


def doubts_about(policy: Policy) -> Iterator[tuple[Location, str]]:
    """Yield each location and its warning, in the order of the text."""
    for index, rule in enumerate(policy.rules):
        for at, message in _about_a_rule(rule, linked=_is_linked(rule, policy)):
            yield ("rules", index, *at), message


def _about_a_rule(rule: Rule, *, linked: bool) -> Iterator[tuple[Location, str]]:
    for index, glob in enumerate(rule.models):
        if not glob or "/" in glob or ":" in glob:
            yield ("models", index), f"{glob!r} never matches: a model's name is not empty, and has no / or :"
    if len(set(rule.targets)) < len(rule.targets):
        yield ("targets",), "duplicate target"
    if rule.archive_existing and not any(target.is_stage for target in rule.targets):
        yield ("archive_existing",), "has no effect: only a stage archives its other versions"
    for index, check in enumerate(rule.require):
        for doubt in check.doubts():
            yield ("require", index), doubt
        if isinstance(check, MetricCheck) and check.source == "run" and not linked:
            yield ("require", index), _UNLINKED


def _is_linked(rule: Rule, policy: Policy) -> bool:
    """Whether this rule, or another one that certainly matches wherever it does, asks for a proven run."""
    return any(
        isinstance(check, RunCheck) and check.run.linked
        for other in policy.rules
        if set(rule.targets) <= set(other.targets) and ("*" in other.models or set(rule.models) <= set(other.models))
        for check in other.require
    )
