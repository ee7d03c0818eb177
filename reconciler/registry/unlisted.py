"""Models that no list of models shows, though their versions are listed: anybody may mark a model as a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from reconciler.domain.scope import Scope
from reconciler.ports import NotFound, Refused
from reconciler.registry.paging import Row
from reconciler.registry.rotation import Finished
from reconciler.registry.transport import Transport
from reconciler.registry.versions import get_model

# Each takes one call; the others wait for the next look.
_READ_TOGETHER: Final = 50


class Unlisted:
    """Reads them by themselves, once for each round over all versions."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._listed: frozenset[str] | None = None
        self._left: Sequence[str] = ()

    def read(self, scope: Scope, models: Iterable[str], rounds: tuple[Finished | None, Finished | None]) -> list[Row]:
        """Some of those whose aliases are governed.

        Args:
            models: those that the list shows now.
            rounds: over the versions, and over the models, where they are at their end.
        """
        versions, all_models = rounds
        if all_models is not None:
            self._listed = _names(all_models)
        if versions is not None and self._listed is not None:
            left = _names(versions) - self._listed - set(models)
            self._left = sorted(name for name in left if not all(one.is_stage for one in scope.targets_of(name)))
        some, self._left = self._left[:_READ_TOGETHER], self._left[_READ_TOGETHER:]
        return [row for name in some for row in self._read(name)]

    def _read(self, name: str) -> list[Row]:
        try:
            return [get_model(self._transport, name)]
        except (NotFound, Refused):
            return []


def _names(found: Finished) -> frozenset[str]:
    return frozenset(model for model, _ in found.keys)
