"""Lists in parts of a given size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def batches_apart(items: Iterable[T], size: int, apart: Callable[[T, T], bool]) -> Iterator[list[T]]:
    """As `batches`; a batch also ends before an item that must not be in one with an earlier item of it."""
    batch: list[T] = []
    for item in items:
        if len(batch) == size or any(apart(item, earlier) for earlier in batch):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch
