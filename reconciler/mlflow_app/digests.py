"""What a holder was made of, as the table keeps it and a change asks for it: digests of places, links and things."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NewType

from reconciler.mlflow_app.locations import Located, and_above

Digest = NewType("Digest", str)


@dataclass(frozen=True, slots=True)
class Origin:
    """`gone` names what of it was deleted, such as "run 3f…". `unplaced` is the URI of its files if it names no known
    place, such as a run that does not exist. Both are None if all is well.
    """

    places: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()  # the symbolic links on the way to the places
    things: frozenset[tuple[str, str]] = frozenset()  # ("run" | "logged model" | "experiment", id)
    gone: str | None = None
    unplaced: str | None = None

    @classmethod
    def at(cls, located: Sequence[Located]) -> Origin:
        """Of files that lie there."""
        links = frozenset().union(*(found.links for found in located))
        return cls(frozenset(found.place for found in located), links)

    @property
    def digests(self) -> frozenset[Digest]:
        at = {digest("at", place) for place in self.places}
        links = {digest("link", link) for link in self.links}
        above = {digest("above", folder) for place in self.places | self.links for folder in and_above(place)}
        return frozenset(at | links | above | {digest(kind, id) for kind, id in self.things})


# A hundred uploads to one folder share most digests: those of the folders above.
@lru_cache(maxsize=1024)
def digest(kind: str, name: str) -> Digest:
    """SHA-256 in hex: of one length for any place, and compared byte by byte under every collation."""
    return Digest(hashlib.sha256(f"{kind}\0{name}".encode("utf-8", "surrogatepass")).hexdigest())


def digests_of_write(written: Located) -> set[Digest]:
    """The digests that a holder has in the table if a file written there would land in it, or replace a link to it."""
    into = {written.place, *written.links}
    return {digest("at", folder) for place in into for folder in and_above(place)} | {digest("link", written.name)}


def digests_of_removal(removed: Located) -> set[Digest]:
    """The same for removing everything there or below."""
    return digests_of_write(removed) | {digest("above", removed.place), digest("above", removed.name)}
