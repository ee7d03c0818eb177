"""What a run logged of a metric over its steps: as much of it as checks ask for.

A history may have a million points. Of these are kept the highest, the lowest, the latest, and those at the steps that
are asked for, so that a check finds the same in what is stored as in the whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from reconciler.domain.evidence.facts import Fact, Reading, reading_data, reading_of
from reconciler.domain.evidence.readings import best, latest
from reconciler.domain.evidence.shares import is_finite

# So many points are reduced at once.
_TOGETHER = 1000


@dataclass(frozen=True, slots=True)
class History:
    """One metric of one run. `points`: how many there were, of which these are left. `why`: it could not be read.

    `best`: the highest and the lowest number, where there are any. `last`: those of the highest step and time. `at`: by
    step, those of the latest time; empty where nothing was logged at a step that was asked for.
    """

    points: int = 0
    best: tuple[Reading, ...] = ()
    last: tuple[Reading, ...] = ()
    at: Mapping[int, tuple[Reading, ...]] = field(default_factory=dict)
    why: str = ""

    @classmethod
    def of(cls, readings: Iterable[Reading], steps: Collection[int]) -> Self:
        """Never more than a part of the readings is held at once."""
        kept, some = cls(at=dict.fromkeys(sorted(steps), ())), []
        for reading in readings:
            some.append(reading)
            if len(some) == _TOGETHER:
                kept, some = kept._with(some), []
        return kept._with(some) if some else kept

    def _with(self, more: list[Reading]) -> Self:
        every = [*self.best, *more]
        ends = (best(every, higher=True), best(every, higher=False))
        at = {
            step: _distinct(latest(here)) if (here := [*there, *(one for one in more if one.step == step)]) else ()
            for step, there in self.at.items()
        }
        numbers = _distinct(one for end in ends for one in end if one.value is not None and is_finite(one.value))
        return type(self)(self.points + len(more), numbers, _distinct(latest([*self.last, *more])), at)


def _distinct(readings: Iterable[Reading]) -> tuple[Reading, ...]:
    """Two of them at most, whatever their order was: two that differ tell as much as more do."""
    by_text = {(one.text, one.step): one for one in readings}
    return tuple(by_text[key] for key in sorted(by_text)[:2])


@dataclass(frozen=True, slots=True)
class HistoryFacts(Fact):
    """The histories of a run's metrics that checks ask for, by key; of a metric that the run lacks there is none."""

    key: ClassVar[str] = "history"

    run_id: str
    metrics: Mapping[str, History]

    def to_data(self) -> dict[str, Any]:
        return {"run_id": self.run_id, "metrics": {name: _data(history) for name, history in self.metrics.items()}}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        return cls(data["run_id"], {name: _history(history) for name, history in data["metrics"].items()})


def _data(history: History) -> dict[str, Any]:
    return {
        "points": history.points,
        "best": list(map(reading_data, history.best)),
        "last": list(map(reading_data, history.last)),
        "at": {str(step): list(map(reading_data, there)) for step, there in history.at.items()},
        "why": history.why,
    }


def _history(data: Mapping[str, Any]) -> History:
    at = {int(step): tuple(map(reading_of, there)) for step, there in data["at"].items()}
    numbers, last = (tuple(map(reading_of, data[name])) for name in ("best", "last"))
    return History(data["points"], numbers, last, at, data["why"])
