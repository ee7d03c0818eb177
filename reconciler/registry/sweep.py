"""Which versions to look at now, where only a look at each tells what is asked of it.

Pure but for the clock it is given. Times are seconds of that clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta

from reconciler.domain.times import duration_text

Place = tuple[str, str]

# Somebody who registers a version, or was refused, asks soon.
_WARM = 24 * 3600.0
# Versions that are looked at every cycle may use this much of it; the rest goes to the rotation.
_HOT_SHARE = 0.5


@dataclass(slots=True)
class _Seen:
    since: float
    fresh: bool
    looked: float | None = None
    requested: float | None = None
    open: bool = False


class Sweep:
    """Remembers what was looked at when. `full` is the promise: each version at least once in so many seconds."""

    def __init__(self, full: float, clock: Callable[[], float]) -> None:
        self._full = full
        self._clock = clock
        self._versions: dict[Place, _Seen] = {}
        self._planned_at: float | None = None
        self._takes = 0.0
        self._listed_before = False

    # --- what there is ---------------------------------------------------------------------------------------

    def learn(self, places: Iterable[Place]) -> None:
        """Versions that exist. Those that come later than the first time are fresh."""
        now = self._clock()
        for place in places:
            self._versions.setdefault(place, _Seen(now, fresh=self._listed_before))

    def learned_all(self) -> None:
        """From here on, a version not known before is a new one."""
        self._listed_before = True

    def keep_only(self, model: str, versions: Collection[str]) -> None:
        """What `model` has now; the others were deleted."""
        for place in [one for one in self._versions if one[0] == model and one[1] not in versions]:
            del self._versions[place]

    def forget(self, place: Place) -> None:
        self._versions.pop(place, None)

    def forget_models_but(self, models: Collection[str]) -> None:
        for place in [one for one in self._versions if one[0] not in models]:
            del self._versions[place]

    def newest(self, model: str) -> int:
        """The highest version number known; 0 where there is none."""
        return max((int(version) for name, version in self._versions if name == model), default=0)

    def __len__(self) -> int:
        return len(self._versions)

    # --- what to look at -------------------------------------------------------------------------------------

    def plan(self, calls: int) -> list[Place]:
        """At most `calls` versions: those with open requests, fresh ones and those asked for lately, the rotation."""
        now = self._clock()
        still_open = [place for place, seen in self._versions.items() if seen.open]
        warm = sorted((place for place in self._versions if self._is_warm(place, now)), key=self._warmth)
        hot = still_open + warm[: max(int(calls * _HOT_SHARE) - len(still_open), 0)]
        chosen = set(hot)
        cold = [place for place in self._versions if place not in chosen]
        cold.sort(key=lambda place: self._versions[place].looked or -math.inf)
        room = max(calls - len(hot), 0)
        rotation = cold[: min(room, self._quota(cold, now))]
        self._foresee(len(cold), room, now)
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
        asked = seen.requested is not None and now - seen.requested < _WARM
        return not seen.open and (asked or (seen.fresh and now - seen.since < _WARM))

    def _warmth(self, place: Place) -> float:
        """The most recent first."""
        seen = self._versions[place]
        return -max(seen.since if seen.fresh else -math.inf, seen.requested or -math.inf)

    def _quota(self, cold: list[Place], now: float) -> int:
        """As many as keep the promise, a tenth more; what was never looked at comes at once."""
        never = sum(self._versions[place].looked is None for place in cold)
        passed = self._full if self._planned_at is None else now - self._planned_at
        return max(never, math.ceil(len(cold) * min(passed / self._full, 1.0) * 1.1))

    # --- whether the promise holds ---------------------------------------------------------------------------

    def _foresee(self, cold: int, room: int, now: float) -> None:
        """How long the rotation takes at the pace of the last two cycles."""
        if self._planned_at is not None and cold:
            self._takes = math.inf if not room else (now - self._planned_at) * math.ceil(cold / room)

    def remark(self) -> str | None:
        """Says by how much the promise is missed; None while it is kept."""
        if self._takes <= self._full:
            return None
        promised = duration_text(timedelta(seconds=self._full))
        if math.isinf(self._takes):
            return f"the sweep comes not round at all, promised is {promised}: raise registry.budget"
        takes, over = (duration_text(timedelta(seconds=round(one))) for one in (self._takes, self._takes - self._full))
        return (
            f"the sweep of {len(self._versions)} versions takes {takes}, {over} more than registry.full_sweep: "
            "raise registry.budget or govern fewer models"
        )
