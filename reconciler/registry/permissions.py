"""What the daemon's account may do with the models that the policy governs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.registry.speaking import Speaking

_DECIDING = frozenset({"CAN_MANAGE", "CAN_MANAGE_PRODUCTION_VERSIONS"})
_STAGING = _DECIDING | {"CAN_MANAGE_STAGING_VERSIONS"}
_PRODUCTION = Target.parse("Production")
_SHOWN_MODELS = 10


def governed_levels(registry: Speaking, scope: Scope) -> list[tuple[str, str]]:
    """The governed models, each with the account's permission level; "" where the registry does not say.

    Raises:
        RegistryError: the levels cannot be read.
    """
    return list(registry.levels(lambda model: bool(scope.targets_of(model))))


def not_governable(scope: Scope, levels: Iterable[tuple[str, str]]) -> list[str]:
    """The models, with their level, whose governed targets the account may not decide about."""
    return [
        f"{visible_name(model)} ({level})"
        for model, level in levels
        if level and level not in _sufficient(scope.targets_of(model))
    ]


def _sufficient(targets: Iterable[Target]) -> frozenset[str]:
    """The levels that may decide about these targets."""
    return _DECIDING if _PRODUCTION in targets else _STAGING


def few(names: Sequence[str]) -> str:
    """At most ten of the names, and how many more there are."""
    more = f" and {len(names) - _SHOWN_MODELS} more" if len(names) > _SHOWN_MODELS else ""
    return ", ".join(names[:_SHOWN_MODELS]) + more
