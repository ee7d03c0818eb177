"""Recognising a version whose model has another name than when a decision moved it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reconciler.domain.decision import Decision
from reconciler.domain.holding.earlier_names import EarlierMove, Recognised, unambiguous
from reconciler.domain.holding.looks import Look
from reconciler.domain.place import Place
from reconciler.domain.request import Request
from reconciler.ports import Registry, RegistryError, Standing
from reconciler.ports.observations import Observations


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
        now, before = (request.place._replace(model=name).of_the_version for name in (move.place.model, request.model))
        look = self._registry.look_at([now, before])
        if _created(look, now) != move.created or _created(look, before) == move.created:
            return False
        if not self._registry.shows_decisions:
            return before in look.gone
        return move.decision_id in self._registry.standing_of(replace(request, model=now.model)).decision_ids

    def is_another(self, request: Request, created: int | None) -> bool:
        """Whether the version that was asked for was created then, and the one of its name at another time."""
        place = request.place.of_the_version
        seen = None if created is None else _created(self._registry.look_at([place]), place)
        return seen is not None and seen != created

    def new_name(self, request: Request, created: int, places: Sequence[Place]) -> str | None:
        """Which of these is the version of a request that is gone, where one alone is; it was created then."""
        before, *now = (place.of_the_version for place in [request.place, *places])
        look = self._registry.look_at([before, *now])
        if _created(look, before) == created:
            return None
        same = {place.model for place in now if _created(look, place) == created}
        return same.pop() if len(same) == 1 else None


def standing_now(registry: Registry, record: Observations, decision: Decision, standing: Standing) -> Standing | None:
    """How a decision stands, be it under the model's new name. None: the registry cannot be asked now."""
    created = None if standing.exists else record.created([decision.decision_id]).get(decision.decision_id)
    if created is None:
        return standing
    try:
        return registry.standing_elsewhere(decision, created) or standing
    except RegistryError:
        return None


def _created(look: Look, place: Place) -> int | None:
    seen = look.version_at(place)
    return None if seen is None else seen.created
