"""How often Python looks for objects that are kept alive only by each other."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_NEW_OBJECTS: Final = 10_000


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Python looks after every few hundred new objects, by walking through those that live.

    A cycle over thousands of requests makes hundreds of thousands, of which hardly any refer to each other in a circle:
    looking for those took a quarter of its time.
    """
    first, *others = gc.get_threshold()
    gc.set_threshold(max(first, _NEW_OBJECTS), *others)
    try:
        yield
    finally:
        gc.set_threshold(first, *others)
