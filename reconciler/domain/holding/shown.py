"""What a registry has shown to the account: as short digests in groups, since there may be thousands.

A model may get another name, so it is known by its name, and by when it and its versions were created.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.domain.holding.looks import Look
from reconciler.domain.place import Place

GROUPS: Final = 64
_LENGTH: Final = 8


class Shown:
    """Whoever was shown once is never taken for new. `whole`: a list of all that the account may read is among them."""

    def __init__(self, groups: Mapping[int, str] | None = None) -> None:
        """`groups`: as `text` wrote each of them; fewer than all prove nothing of a model that is in none."""
        known = groups if groups is not None and len(groups) == GROUPS else {}
        self.whole = bool(known)
        self._groups = [_digests_in(known.get(number, "")) for number in range(GROUPS)]

    def add(self, look: Look) -> set[int]:
        """Which groups are others than before."""
        changed = set()
        for item in _items(look):
            number, digest = _group_of(item)
            if digest not in self._groups[number]:
                self._groups[number].add(digest)
                changed.add(number)
        return changed

    def has(self, place: Place, created: int) -> bool:
        """Whether the model was shown, be it under another name. `created`: of what holds the target."""
        thing = _thing(place.version if place.target.is_stage else "", created)
        return self._has(place.model) or self._has(thing)

    def _has(self, item: str) -> bool:
        number, digest = _group_of(item)
        return digest in self._groups[number]

    def text(self, group: int) -> str:
        return "".join(sorted(self._groups[group]))


def _items(look: Look) -> Iterator[str]:
    yield from look.shown
    yield from (_thing(one.version, one.created) for one in look.versions if one.created is not None)
    yield from (_thing("", one.created) for one in look.models if one.created is not None)


def _thing(version: str, created: int) -> str:
    """A version, or a model, as no name is written."""
    return f"\0{version}\0{created}"


def _group_of(item: str) -> tuple[int, str]:
    digest = hashlib.sha256(item.encode("utf-8", "surrogatepass")).hexdigest()
    return int(digest[:2], 16) % GROUPS, digest[2 : 2 + _LENGTH]


def _digests_in(text: str) -> set[str]:
    return {text[start : start + _LENGTH] for start in range(0, len(text), _LENGTH)}
