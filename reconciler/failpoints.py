"""Named places between two effects, where a test may let the process die. Nothing happens there otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_reached: Callable[[str], None] | None = None


def failpoint(name: str) -> None:
    """What is called `name` has been done, or is about to be."""
    if _reached is not None:
        _reached(name)


@contextmanager
def watching(reached: Callable[[str], None]) -> Iterator[None]:
    """Calls `reached` with each name until the block ends. For tests; there is no other way to switch it on."""
    global _reached
    before, _reached = _reached, reached
    try:
        yield
    finally:
        _reached = before
