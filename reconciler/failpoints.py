"""Named points between two effects, where a test may kill the process. Outside tests they do nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_reached: Callable[[str], None] | None = None


def failpoint(name: str) -> None:
    """The step called `name` has just been done, or is about to be."""
    if _reached is not None:
        _reached(name)


@contextmanager
def watching(reached: Callable[[str], None]) -> Iterator[None]:
    """Calls `reached` with each name until the block ends. For tests; nothing else enables it."""
    global _reached
    before, _reached = _reached, reached
    try:
        yield
    finally:
        _reached = before
