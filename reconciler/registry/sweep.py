"""Decide which versions to read now, if only reading each version shows its requests.

Pure except for the given clock. Times are seconds of that clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta

from reconciler.domain.times import duration_text

Place = tuple[str, str]

# Requests often follow soon after a new version, or after an earlier request.
_WARM = 24 * 3600.0
# The share of a cycle's calls for versions that are read in every cycle; the rest goes to the rotation.
_HOT_SHARE = 0.5


@dataclass(slots=True)
class _Seen:
    since: float
    fresh: bool
    looked: float | None = None
    requested: float | None = None
    open: bool = False


class Sweep:
    """Remembers when each version was read. `full`: every version is due at least once in this many seconds."""

    def __init__(self, full: float, clock: Callable[[], float]) -> None:
        self._full = full
        self._clock = clock
        self._versions: dict[Place, _Seen] = {}
        self._planned_at: float | None = None
        self._takes = 0.0
        self._listed_before = False

    # --- known versions --------------------------------------------------------------------------------------

    def learn(self, places: Iterable[Place]) -> None:
        """Add versions that exist. Those found after the first complete listing are fresh."""
        now = self._clock()
        for place in places:
            self._versions.setdefault(place, _Seen(now, fresh=self._listed_before))

    def learned_all(self) -> None:
        """From now on, an unknown version is a new one."""
        self._listed_before = True

    def keep_only(self, model: str, versions: Collection[str]) -> None:
        """Forget all versions of `model` but these: the others were deleted."""
        for place in [known for known in self._versions if known[0] == model and known[1] not in versions]:
            del self._versions[place]

    def forget(self, place: Place) -> None:
        self._versions.pop(place, None)

    def forget_models_but(self, models: Collection[str]) -> None:
        for place in [known for known in self._versions if known[0] not in models]:
            del self._versions[place]

    def newest(self, model: str) -> int:
        """The highest version number known; 0 where there is none."""
        return max((int(version) for name, version in self._versions if name == model), default=0)

    def __len__(self) -> int:
        return len(self._versions)

    # --- what to read ----------------------------------------------------------------------------------------

    def plan(self, calls: int) -> list[Place]:
        """Return at most `calls` versions: first those with open requests, then fresh or recently requested ones."""
        now = self._clock()
        still_open = [place for place, seen in self._versions.items() if seen.open]
        warm = sorted((place for place in self._versions if self._is_warm(place, now)), key=self._warmth)
        hot = still_open + warm[: max(int(calls * _HOT_SHARE) - len(still_open), 0)]
        chosen = set(hot)
        cold = [place for place in self._versions if place not in chosen]
        cold.sort(key=lambda place: self._versions[place].looked or -math.inf)
        room = max(calls - len(hot), 0)
        rotation = cold[: min(room, self._quota(cold, now))]
        self._estimate(len(cold), room, now)
        self._planned_at = now
        return (hot + rotation)[: max(calls, len(still_open))]

    def looked(self, place: Place, *, requested: bool) -> None:
        seen = self._versions.get(place)
        if seen is None:
            return
        seen.looked = self._clock()
        seen.open = requested
        if requested:
            seen.requested = seen.looked

    def _is_warm(self, place: Place, now: float) -> bool:
        seen = self._versions[place]
        recent = seen.requested is not None and now - seen.requested < _WARM
        return not seen.open and (recent or (seen.fresh and now - seen.since < _WARM))

    def _warmth(self, place: Place) -> float:
        """Sort key: the most recent first."""
        seen = self._versions[place]
        return -max(seen.since if seen.fresh else -math.inf, seen.requested or -math.inf)

    def _quota(self, cold: list[Place], now: float) -> int:
        """How many keep the sweep in time, plus a tenth; versions that were never read are all included."""
        never = sum(self._versions[place].looked is None for place in cold)
        passed = self._full if self._planned_at is None else now - self._planned_at
        return max(never, math.ceil(len(cold) * min(passed / self._full, 1.0) * 1.1))

    # --- whether the sweep is in time ------------------------------------------------------------------------

    def _estimate(self, cold: int, room: int, now: float) -> None:
        """Estimate how long the rotation takes at the pace of the last two cycles."""
        if self._planned_at is not None and cold:
            self._takes = math.inf if not room else (now - self._planned_at) * math.ceil(cold / room)

    def remark(self) -> str | None:
        """By how much the sweep misses `full`; None while it is in time."""
        if self._takes <= self._full:
            return None
        maximum = duration_text(timedelta(seconds=self._full))
        if math.isinf(self._takes):
            return f"the sweep never completes; the configured maximum is {maximum}: raise registry.budget"
        takes, over = (duration_text(timedelta(seconds=round(s))) for s in (self._takes, self._takes - self._full))
        return (
            f"the sweep of {len(self._versions)} versions takes {takes}, {over} more than registry.full_sweep: "
            "raise registry.budget or govern fewer models"
        )
