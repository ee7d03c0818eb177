"""What differs between two policies, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reconciler.domain.checks.any_of import AnyOf
from reconciler.domain.checks.base import Check
from reconciler.domain.policy import Policy, Rule
from reconciler.domain.text import quoted, visible

Required = Check | AnyOf


def differences(old: Policy, new: Policy) -> Iterator[str]:
    """A sentence for each; nothing where both mean the same, however they are written, and in whatever files."""
    yield from _keys("the policy", _own_keys(old), _own_keys(new))
    before, after = ({rule.name: rule for rule in policy.rules} for policy in (old, new))
    for name, rule in before.items():
        if name not in after:
            yield f"rule {quoted(name)} is gone; it was for {_about(rule)}"
    for name, rule in after.items():
        if name in before:
            yield from _of_rule(before[name], rule)
        else:
            yield f"rule {quoted(name)} is new, for {_about(rule)}: {_asks(rule.require)}"


def _own_keys(policy: Policy) -> dict[str, Any]:
    people = {f"people.{person}": ", ".join(logins) for person, logins in policy.people.items()}
    return {"defaults.archive_existing": policy.defaults.archive_existing, **people}


def _of_rule(old: Rule, new: Rule) -> Iterator[str]:
    subject = f"rule {quoted(new.name)}"
    yield from _keys(subject, _rule_keys(old), _rule_keys(new))
    before, after = ({required.name: required for required in rule.require} for rule in (old, new))
    for name, required in before.items():
        if name not in after:
            yield f"{subject} no longer asks for {_told(required)}"
    for name, required in after.items():
        if name not in before:
            yield f"{subject} now asks for {_told(required)}"
        elif _is_other(before[name], required):
            yield from _keys(f"{subject}, {visible(name, 100)}", _check_keys(before[name]), _check_keys(required))


def _rule_keys(rule: Rule) -> dict[str, Any]:
    keys = rule.model_dump(mode="json", by_alias=True, exclude={"require", "name"})
    # Neither the order of these nor repetition means anything.
    keys |= {key: sorted(set(keys[key])) for key in ("models", "exclude", "targets")}
    return keys | {"within": [sorted(set(globs)) for globs in rule.names.within]}


def _check_keys(required: Required) -> dict[str, Any]:
    return required.model_dump(mode="json", by_alias=True, exclude_defaults=True, serialize_as_any=True)


def _is_other(old: Required, new: Required) -> bool:
    return _check_keys(old) != _check_keys(new) or old.expected != new.expected


def _keys(subject: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if before != after:
            yield f"{subject}: {visible(key, 100)} was {_value(before)}, is {_value(after)}"


def _value(value: Any) -> str:
    if value is None or value in ([], {}):
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return visible(", ".join(value), 300)
    if isinstance(value, dict):
        return visible("; ".join(f"{key} {_value(one)}" for key, one in value.items()), 300)
    if isinstance(value, list):
        return visible(" or ".join(_value(one) for one in value), 500)
    return visible(str(value), 300)


def _about(rule: Rule) -> str:
    names = " within ".join(", ".join(globs) for globs in (rule.models, *rule.names.within))
    targets = ", ".join(map(str, rule.targets))
    return visible(f"{'prompts' if rule.kind == 'prompt' else 'models'} {names} to {targets}", 500)


def _asks(require: Sequence[Required]) -> str:
    return "; ".join(map(_told, require))


def _told(required: Required) -> str:
    more = [f"replaces {', '.join(required.overrides)}"] if required.overrides else []
    more += ["advisory"] if required.level == "advisory" else []
    return visible(f"{required.title}: {required.expected}" + (f" ({', '.join(more)})" if more else ""), 500)
