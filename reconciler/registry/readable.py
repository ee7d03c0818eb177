"""Which models an account may read, as whole lists showed it: what it may read since is old, however new it looks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

# Of the registry's clock, which is told in whole seconds, and of servers that differ.
_CLOSE_MS: Final = 60_000


class Readable:
    """The models that one list has shown to this process, and when it was last read to its end.

    A model that no look has shown, though it is older than a look that read everything, could not be read then. Whoever
    was shown once is never taken for that, so that a right that is withdrawn for a while hides no change.

    Args:
        clock: seconds; `wall`: seconds since 1970, by this host.
    """

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall = wall
        # When each was last shown.
        self._shown: dict[str, float] = {}
        self._whole_at: float | None = None

    def appeared(self, shown: Mapping[tuple[str, str], int | None], skew: float | None) -> set[tuple[str, str]]:
        """Which of these could not be read when everything was read last, though they were there.

        Args:
            shown: when each was created, in milliseconds since 1970 by the registry's clock, by model and version.
            skew: by how many seconds the registry's clock is ahead of this host's.
        """
        limit = self._older_than(skew)
        if limit is None:
            return set()
        news = {key: created for key, created in shown.items() if key[0] not in self._shown}
        return {key for key, created in news.items() if created is not None and created < limit}

    def skipped(self, models: Iterable[str]) -> dict[str, float]:
        """Those that were shown before, and not when everything was read last: for how many seconds they were not.

        Pages are offsets: where something that was read already is deleted, the next page begins a row too late.
        """
        if self._whole_at is None:
            return {}
        last = {model: self._shown[model] for model in models if model in self._shown}
        return {model: self._clock() - at for model, at in last.items() if at < self._whole_at}

    def _older_than(self, skew: float | None) -> float | None:
        """When everything was read last, in milliseconds by the registry's clock of now."""
        if self._whole_at is None or skew is None:
            return None
        return (self._wall() + skew - (self._clock() - self._whole_at)) * 1000 - _CLOSE_MS

    def show(self, models: Iterable[str], began: float, whole_since: float | None) -> None:
        """These were shown.

        Args:
            began: when the look began that shows them.
            whole_since: for how many seconds the list was read that is at its end now.
        """
        self._shown.update(dict.fromkeys(models, began))
        if whole_since is not None:
            self._whole_at = self._clock() - whole_since
