"""Holders in groups of models, each with a digest: of two lists of holders, the groups that differ are exchanged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Final, NamedTuple

GROUPS: Final = 64
_DIGITS: Final = 8


class HeldRow(NamedTuple):
    """That a version holds a target. `created`: of the version for a stage, of its model for an alias (ms, or None)."""

    model: str
    version: str
    target: str
    created: int | None
    is_prompt: bool = False


def group_of(model: str) -> int:
    return hashlib.sha256(model.encode("utf-8", "surrogatepass")).digest()[0] % GROUPS


def in_groups(rows: Iterable[HeldRow]) -> list[list[HeldRow]]:
    groups: list[list[HeldRow]] = [[] for _ in range(GROUPS)]
    for row in rows:
        groups[group_of(row.model)].append(row)
    return groups


def digest_of(group: Iterable[HeldRow]) -> str:
    """Eight hexadecimal digits; the same in whatever order the rows are."""
    text = json.dumps(sorted(group, key=lambda row: (row.model, row.version, row.target)))
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def split_digests(text: str) -> list[str]:
    """The digests of all groups, as one text has them; empty for any other text."""
    if len(text) != GROUPS * _DIGITS:
        return []
    return [text[start : start + _DIGITS] for start in range(0, len(text), _DIGITS)]
