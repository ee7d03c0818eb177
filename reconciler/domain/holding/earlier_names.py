"""A version that a decision moved, and whose model got a new name before a look could see it there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from reconciler.domain.place import Place
from reconciler.domain.request import Request
from reconciler.domain.text import visible_name


@dataclass(frozen=True, slots=True)
class EarlierMove:
    """A decision that took effect under another name, and may be what brought a version where it was seen.

    Args:
        observation_id: the beginning that nothing else explains; `place`: where the version was seen.
        request: what was decided, under the model's earlier name.
        created: of the version that was judged, in milliseconds since 1970 by the registry's clock.
    """

    observation_id: int
    place: Place
    decision_id: str
    request: Request
    created: int


@dataclass(frozen=True, slots=True)
class Recognised:
    """By observation, the move that explains it. `unread`: those of which the registry could not be asked."""

    moves: Mapping[int, EarlierMove]
    unread: Collection[int] = ()


def holds_as(name: str) -> str:
    """That the version of a request which is gone holds the target under the model's new name."""
    return f"it is not open any more, and its version holds the target; the model is named {visible_name(name)} now"


def unambiguous(same: Iterable[EarlierMove]) -> dict[int, EarlierMove]:
    """Those of the moves that are the only ones of their observation, and whose decision explains no other one.

    Two versions may have been made in one millisecond: a bypass must not hide behind the other's approval.
    """
    moves = list(same)
    observations = Counter(move.observation_id for move in moves)
    decisions = Counter(move.decision_id for move in moves)
    return {
        move.observation_id: move
        for move in moves
        if observations[move.observation_id] == 1 and decisions[move.decision_id] == 1
    }
