"""Aliases of what is marked as a prompt and is a model: anybody may set the mark on a server without the app."""

from __future__ import annotations

from dataclasses import replace

from reconciler.domain.holding.looks import SeenModel
from reconciler.domain.scope import Scope
from reconciler.ports import NotFound
from reconciler.registry.paging import Row, rows_of
from reconciler.registry.transport import Transport
from reconciler.registry.versions import get_version, has_files

_REMEMBERED = 10_000


class MarkedModels:
    """Finds out which aliases name a version with files, where it matters: where only a rule for models governs them.

    A version's source never changes, so each is read once.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._has_files: dict[tuple[str, int | None, str], bool] = {}

    def looked_into(self, seen: SeenModel, row: Row, scope: Scope) -> SeenModel:
        """`row`: what the model was seen in."""
        if not seen.is_prompt:
            return seen
        targets = scope.targets_of(seen.model) - scope.targets_of(seen.model, is_prompt=True)
        asked = [target.name for target in targets if not target.is_stage and target.name in seen.aliases]
        shown = {str(one.get("version")): has_files(one) for one in rows_of(row, "latest_versions")}
        named = {alias: seen.aliases[alias] for alias in asked}
        with_files = (alias for alias, version in named.items() if self._of(seen, version, shown.get(version)))
        return replace(seen, with_files=frozenset(with_files))

    def _of(self, seen: SeenModel, version: str, shown: bool | None) -> bool:
        if shown is not None:
            return shown
        key = seen.model, seen.created, version
        if key not in self._has_files:
            if len(self._has_files) >= _REMEMBERED:
                self._has_files.clear()
            self._has_files[key] = self._read(seen.model, version)
        return self._has_files[key]

    def _read(self, model: str, version: str) -> bool:
        try:
            return has_files(get_version(self._transport, model, version))
        except NotFound:
            return False
