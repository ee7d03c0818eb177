"""Evidence of which something is not there: redacted afterwards, or kept out from the start.

Whoever asks for what is not there gets neither a value nor "there is none", both of which would be judged: he gets
`Withheld`, and the check abstains. Asking for anything else is as if nothing were missing.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from reconciler.domain.scope import matches_any

REDACTED: Final = "was redacted"
EXCLUDED: Final = "is kept out by evidence.exclude"

T = TypeVar("T")


class Withheld(Exception):
    """The evidence had it, or would have it: `path` names the field, `why` says what became of it."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path} {why}")


class Partial(dict[str, T]):
    """Named values, such as tags, of which some are withheld: each by itself, or all whose names match a glob.

    `path`: where the values stand in the evidence.
    """

    withheld: Mapping[str, Withheld] = MappingProxyType({})
    globs: tuple[str, ...] = ()
    path: str = ""

    def __getitem__(self, name: str) -> T:
        self._refuse(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._refuse(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self._refuse(name)
        return super().__contains__(name)

    def _refuse(self, name: object) -> None:
        if isinstance(name, str) and name in self.withheld:
            raise self.withheld[name]
        if isinstance(name, str) and matches_any(name, self.globs):
            raise Withheld(f"{self.path}.{name}", EXCLUDED)


def without(fact: T, key: str, paths: Iterable[str], why: str) -> T:
    """The fact of this key, of which the paths that begin with the key are withheld."""
    left = copy.copy(fact)
    for path in paths:
        of, _, below = path.partition(".")
        name, _, entry = below.partition(".")
        if of != key:
            continue
        if entry:
            _withhold_entry(left, name, entry, Withheld(path, why))
        elif hasattr(left, name):
            # Where a slot is empty, Python asks `Fact.__getattr__`.
            object.__delattr__(left, name)
    return left


def without_names(fact: T, key: str, members: Collection[str], globs: tuple[str, ...]) -> T:
    """The fact of this key, from whose maps all is withheld that has a name which matches, be it there or not."""
    left = copy.copy(fact)
    for member in members:
        there = getattr(fact, member, None)
        if there is not None:
            partial = _like(there, {name: value for name, value in there.items() if not matches_any(name, globs)})
            partial.globs, partial.path = globs, f"{key}.{member}"
            object.__setattr__(left, member, partial)
    return left


def _withhold_entry(fact: object, name: str, entry: str, withheld: Withheld) -> None:
    there = getattr(fact, name, None)
    if there is None:
        there = {}
    partial = _like(there, {one: value for one, value in there.items() if one != entry})
    partial.withheld = {**partial.withheld, entry: withheld}
    object.__setattr__(fact, name, partial)


def _like(there: Mapping[str, Any], entries: Mapping[str, Any]) -> Partial[Any]:
    """These entries, of which the same is withheld as there."""
    partial: Partial[Any] = Partial(entries)
    if isinstance(there, Partial):
        partial.withheld, partial.globs, partial.path = there.withheld, there.globs, there.path
    return partial
