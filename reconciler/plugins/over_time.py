"""What went on over time, as a check of your own sees it: how long a version was held, what a run logged."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, cast

from reconciler.plugins.seeing import Part
from reconciler.plugins.values import NotAsked, Reading


class Held(Part):
    """A stage or alias, whether the version holds it, and for how long looks of the daemon saw it there."""

    @property
    def holds(self) -> bool:
        """By the registry, now."""
        return bool(self._data["holds"])

    @property
    def since(self) -> datetime | None:
        """The first look that saw it there, without a break, by the clock of the audit database; None: it is not there.

        Raises CannotTell: no look has seen it there yet.
        """
        return self._moment("since")

    @property
    def seen_at(self) -> datetime | None:
        """The last of these looks."""
        return self._moment("seen_at")

    @property
    def asked_at(self) -> datetime | None:
        """When the database was asked: how old the last look was."""
        return self._moment("asked_at")

    @property
    def lasted(self) -> timedelta:
        """From the first look to the last; nothing where it is not there."""
        since, seen_at = self.since, self.seen_at
        return timedelta(0) if since is None or seen_at is None else seen_at - since

    def _moment(self, name: str) -> datetime | None:
        if not self.holds:
            return None
        if self._data[name] is None:
            why = self._data["why"] or "no look has seen it there"
            raise self._refuse("not_observed", f"since when is not on record: {why}")
        return datetime.fromisoformat(self._data[name])


class History(Part):
    """What a run logged of a metric over its steps. Its members raise CannotTell where it could not be read."""

    @property
    def points(self) -> int:
        """How many there were."""
        return int(self._read("points"))

    @property
    def highest(self) -> Reading | None:
        """The highest number; None: none is a number, or all are NaN or infinite."""
        return max(self._best, key=_value, default=None)

    @property
    def lowest(self) -> Reading | None:
        """The lowest number; None as of the highest."""
        return min(self._best, key=_value, default=None)

    @property
    def last(self) -> tuple[Reading, ...]:
        """That of the highest step and time; two where they cannot be told apart."""
        return tuple(map(Reading.of_data, self._read("last")))

    def at(self, step: int) -> tuple[Reading, ...]:
        """Of this step, which the needs name, the latest: none, one, or two that cannot be told apart."""
        there = self._read("at")
        if step not in self._data["steps"]:
            raise NotAsked(f"{self._path}: step {step} is not among its needs")
        if str(step) not in there:
            raise self._refuse("undetermined", f"step {step} was not read")
        return tuple(map(Reading.of_data, there[str(step)]))

    @property
    def _best(self) -> list[Reading]:
        return [one for one in map(Reading.of_data, self._read("best")) if one.value is not None]

    def _read(self, name: str) -> Any:
        if self._data["why"]:
            raise self._refuse("unreadable", str(self._data["why"]))
        return self._data[name]


def _value(reading: Reading) -> float:
    return cast(float, reading.value)
