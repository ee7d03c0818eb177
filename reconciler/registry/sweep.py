"""Decide which versions to read now, if only reading each version shows its requests.

Pure except for the given clock. Times are seconds of that clock. A plan looks at what it returns, however many versions
there are: they are kept in the order in which their turn comes.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import timedelta
from itertools import chain, islice
from typing import TypeVar

from reconciler.domain.place import ModelVersion
from reconciler.domain.times import duration_text

V = TypeVar("V")

# Requests often follow soon after a new version, or after an earlier request.
_WARM = 24 * 3600.0
# The share of a cycle's calls for versions that are read in every cycle; the rest goes to the rotation.
_HOT_SHARE = 0.5


class Sweep:
    """Remembers when each version was read. `full`: every version is due at least once in this many seconds."""

    def __init__(self, full: float, clock: Callable[[], float]) -> None:
        self._full = full
        self._clock = clock
        # Each version is in one of these two: never read, first found first; or read, longest ago first.
        self._never: OrderedDict[ModelVersion, None] = OrderedDict()
        self._read: OrderedDict[ModelVersion, None] = OrderedDict()
        self._open: dict[ModelVersion, None] = {}
        # When a version was found fresh, or last seen with a request; the latest last.
        self._warm: OrderedDict[ModelVersion, float] = OrderedDict()
        self._versions: dict[str, set[str]] = {}
        self._newest: dict[str, int] = {}
        self._planned_at: float | None = None
        self._takes = 0.0
        self._listed_before = False

    # --- known versions --------------------------------------------------------------------------------------

    def learn(self, model_versions: Iterable[ModelVersion]) -> None:
        """Add versions that exist. Those found after the first complete listing are fresh."""
        now = self._clock()
        for model_version in model_versions:
            model, version = model_version
            known = self._versions.setdefault(model, set())
            if version in known:
                continue
            known.add(version)
            self._never[model_version] = None
            if model in self._newest:
                self._newest[model] = max(self._newest[model], int(version))
            if self._listed_before:
                self._warm[model_version] = now

    def learned_all(self) -> None:
        """From now on, an unknown version is a new one."""
        self._listed_before = True

    def keep_only(self, model: str, versions: Collection[str]) -> None:
        """Forget all versions of `model` but these: the others were deleted."""
        for version in self._versions.get(model, set()).difference(versions):
            self.forget((model, version))

    def forget(self, model_version: ModelVersion) -> None:
        model, version = model_version
        known = self._versions.get(model, set())
        if version not in known:
            return
        known.remove(version)
        # Looked for again when it is asked for: it may have been this one.
        self._newest.pop(model, None)
        for where in (self._never, self._read, self._open, self._warm):
            where.pop(model_version, None)

    def forget_models_but(self, models: Collection[str]) -> None:
        for model in self._versions.keys() - set(models):
            self.keep_only(model, ())
            del self._versions[model]

    def newest(self, model: str) -> int:
        """The highest version number known; 0 where there is none."""
        if model not in self._newest:
            self._newest[model] = max(map(int, self._versions.get(model, ())), default=0)
        return self._newest[model]

    def __len__(self) -> int:
        return len(self._never) + len(self._read)

    # --- what to read ----------------------------------------------------------------------------------------

    def plan(self, calls: int) -> list[ModelVersion]:
        """Return at most `calls` versions: first those with open requests, then fresh or recently requested ones."""
        now = self._clock()
        self._cool(now)
        still_open = list(self._open)
        hot = still_open + list(islice(self._not_open(), max(int(calls * _HOT_SHARE) - len(still_open), 0)))
        chosen = set(hot)
        room = max(calls - len(hot), 0)
        longest_unread = (one for one in chain(self._never, self._read) if one not in chosen)
        rotation = list(islice(longest_unread, min(room, self._quota(hot, now))))
        self._estimate(len(self) - len(hot), room, now)
        self._planned_at = now
        return (hot + rotation)[: max(calls, len(still_open))]

    def looked(self, model_version: ModelVersion, *, requested: bool) -> None:
        model, version = model_version
        if version not in self._versions.get(model, ()):
            return
        self._never.pop(model_version, None)
        _put_last(self._read, model_version, None)
        if requested:
            self._open[model_version] = None
            _put_last(self._warm, model_version, self._clock())
        else:
            self._open.pop(model_version, None)

    def _cool(self, now: float) -> None:
        """Forget which versions were warm a day ago."""
        while self._warm and now - next(iter(self._warm.values())) >= _WARM:
            self._warm.popitem(last=False)

    def _not_open(self) -> Iterator[ModelVersion]:
        """Warm versions, the most recent first."""
        return (one for one in reversed(self._warm) if one not in self._open)

    def _quota(self, hot: Collection[ModelVersion], now: float) -> int:
        """How many keep the sweep in time, plus a tenth; versions that were never read are all included."""
        never = len(self._never) - sum(one in self._never for one in hot)
        passed = self._full if self._planned_at is None else now - self._planned_at
        return max(never, math.ceil((len(self) - len(hot)) * min(passed / self._full, 1.0) * 1.1))

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
            f"the sweep of {len(self)} versions takes {takes}, {over} more than registry.full_sweep: "
            "raise registry.budget or govern fewer models"
        )


def _put_last(ordered: OrderedDict[ModelVersion, V], model_version: ModelVersion, value: V) -> None:
    ordered[model_version] = value
    ordered.move_to_end(model_version)
