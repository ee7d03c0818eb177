"""Which models and requests a scope looks for, remembered from one cycle to the next."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from reconciler.domain.request import Request
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target


def has_stage(targets: Iterable[Target]) -> bool:
    """Whether a workspace registry, which has no aliases, can be asked for one of these targets."""
    return any(target.is_stage for target in targets)


class Governed:
    """The targets looked for on each model. Globs are matched once for a model and scope, not in every cycle."""

    def __init__(self) -> None:
        self._scope: Scope | None = None
        self._targets: dict[str, frozenset[Target]] = {}

    def among(self, scope: Scope, models: Collection[str]) -> list[str]:
        """Those of the models for which a stage may be requested; what is remembered of others is forgotten."""
        known = self._targets if scope == self._scope else {}
        self._scope = scope
        self._targets = {name: known[name] if name in known else scope.targets_of(name) for name in models}
        return [name for name, targets in self._targets.items() if has_stage(targets)]

    def is_governed(self, request: Request) -> bool:
        return request.target in self._targets.get(request.model, ())
