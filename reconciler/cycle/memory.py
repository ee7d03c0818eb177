"""What a process remembers of requests, from pass to pass."""

from __future__ import annotations

from collections.abc import Collection
from typing import Generic, TypeVar

T = TypeVar("T")


class Memory(Generic[T]):
    """A note about each request, by key; what was noted last comes last. Nothing of it is stored."""

    def __init__(self) -> None:
        self._notes: dict[str, T] = {}

    def __len__(self) -> int:
        return len(self._notes)

    def of(self, key: str) -> T | None:
        return self._notes.get(key)

    def put(self, key: str, note: T) -> None:
        self._notes.pop(key, None)
        self._notes[key] = note

    def among(self, keys: Collection[str]) -> list[str]:
        """Those of the keys that are remembered, noted longest ago first."""
        return [key for key in self._notes if key in keys]

    def keep_only(self, keys: Collection[str]) -> None:
        """Forgets every other request."""
        self._notes = {key: note for key, note in self._notes.items() if key in keys}
