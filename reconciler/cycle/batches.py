"""Lists in parts of a given size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batches(items: Iterable[T], size: int, apart: Callable[[T, T], bool] | None = None) -> Iterator[list[T]]:
    """Lists of at most `size` items. `apart`: whether an item must not be in one list with an earlier one."""
    batch: list[T] = []
    for item in items:
        if len(batch) == size or (apart is not None and any(apart(item, earlier) for earlier in batch)):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
