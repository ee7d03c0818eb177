"""Whose turn it is, where everyone's turn comes once in a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from itertools import islice, takewhile


class Turns:
    """Gives each name a turn within `full` seconds, and spreads the turns, so that no round has most of them.

    Pure except for the given clock, which is in seconds.
    """

    def __init__(self, full: float, clock: Callable[[], float]) -> None:
        self._full = full
        self._clock = clock
        self._waiting: dict[str, None] = {}
        # When each had its last turn, longest ago first.
        self._had: OrderedDict[str, float] = OrderedDict()
        self._asked_at: float | None = None
        # Turns that time has brought and nobody has taken; with few names a round brings less than one.
        self._credit = 0.0

    def only(self, names: Collection[str]) -> None:
        """These names take turns from now on."""
        for gone in (self._had.keys() | self._waiting.keys()) - set(names):
            self._had.pop(gone, None)
            self._waiting.pop(gone, None)
        for name in names:
            if name not in self._had:
                self._waiting[name] = None

    def due(self) -> list[str]:
        """Those who never had one, then those who are late, or as many as keep the others in time, plus a tenth."""
        now = self._clock()
        passed = 0.0 if self._asked_at is None else now - self._asked_at
        self._asked_at = now
        self._credit = min(self._credit + len(self._had) * passed / self._full * 1.1, len(self._had))
        late = sum(1 for _ in takewhile(lambda at: now - at >= self._full, self._had.values()))
        return [*self._waiting, *islice(self._had, max(late, int(self._credit)))]

    def took(self, name: str) -> None:
        if name in self._had:
            self._credit = max(self._credit - 1, 0.0)
        self._waiting.pop(name, None)
        self._had[name] = self._clock()
        self._had.move_to_end(name)

    def again(self, names: Collection[str]) -> None:
        """What came of their last turn is lost."""
        for name in names:
            if self._had.pop(name, None) is not None:
                self._waiting[name] = None

    def again_but(self, names: Collection[str]) -> None:
        self.again(self._had.keys() - set(names))

    def within(self) -> float | None:
        """In how many seconds until now everyone had a turn; None: somebody has had none yet."""
        if self._waiting:
            return None
        return self._clock() - next(iter(self._had.values()), self._clock())

    @property
    def everyone_had_one(self) -> bool:
        return not self._waiting
