"""Recognising a version whose model has another name than when a decision moved it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from reconciler.domain.earlier_names import EarlierMove, Recognised, unambiguous
from reconciler.domain.looks import Look, Place
from reconciler.domain.target import Target
from reconciler.ports import Registry, RegistryError

# Which target does not matter: versions are read, and not what holds it.
_OF_A_VERSION: Final = Target.parse("Production")


class Recognising:
    """Asks a registry, since names alone tell nothing: few calls for each move, and moves are few."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def recognise(self, moves: Sequence[EarlierMove]) -> Recognised:
        same, unread = [], set()
        for move in moves:
            try:
                if self._is_same(move):
                    same.append(move)
            except RegistryError:
                unread.add(move.observation_id)
        return Recognised(unambiguous(same), unread)

    def _is_same(self, move: EarlierMove) -> bool:
        """The version that was judged is under the new name, and under the old one no more.

        Where versions show their decisions, it names this one too: a time of creation alone may be that of two.
        """
        request = move.request
        now, before = (Place(name, request.version, _OF_A_VERSION) for name in (move.place.model, request.model))
        look = self._registry.look_at([now, before])
        if _created(look, now) != move.created or _created(look, before) == move.created:
            return False
        if not self._registry.shows_decisions:
            return before in look.gone
        return move.decision_id in self._registry.standing_of(replace(request, model=now.model)).decision_ids


def _created(look: Look, place: Place) -> int | None:
    seen = (one.created for one in look.versions if (one.model, one.version) == (place.model, place.version))
    return next(seen, None)
