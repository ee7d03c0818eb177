"""Which of the versions that hold a target a candidate is compared with, and what is kept of it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, NamedTuple

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.evidence import (
    Absent,
    Evidence,
    HolderFacts,
    LeftOut,
    LoggedModelFacts,
    Needs,
    Reading,
    RunFacts,
    VersionFacts,
)
from reconciler.domain.evidence.holder_facts import Arrival
from reconciler.domain.evidence.readings import latest
from reconciler.domain.evidence.salted import json_text
from reconciler.domain.place import Place
from reconciler.domain.target import Target
from reconciler.domain.text import Text, visible_name

# Of the holder's run: inputs that are kept.
_KEPT_DATASETS: Final = 50

UNKNOWN: Final = Arrival(why="nothing is on record of how it came there")


@dataclass(frozen=True, slots=True)
class Holding:
    """A version that holds a target now. `created` as of `looks.SeenVersion` or, of an alias, `looks.SeenModel`."""

    place: Place
    created: int | None = None
    shown: VersionFacts | None = None


@dataclass(frozen=True, slots=True)
class HeldNow:
    """The versions that hold a target, the newest first. Not `whole`: only the newest was read, others may be there."""

    versions: tuple[Holding, ...] = ()
    whole: bool = True

    @classmethod
    def of(cls, versions: Iterable[Holding], *, whole: bool = True) -> HeldNow:
        return cls(tuple(sorted(versions, key=lambda one: _number(one.place.version), reverse=True)), whole)


class Baseline(NamedTuple):
    """What a candidate is compared with, and how it came to hold the target."""

    holding: Holding
    arrival: Arrival


def chosen(candidate: str, held: HeldNow, arrivals: Mapping[Place, Arrival]) -> Baseline | None:
    """The newest that was approved, else the newest; None where more must be read to tell, or there is none.

    One that is too new to be explained is not passed over.

    Args:
        candidate: its version, which is no baseline.
    """
    others = [
        Baseline(one, arrivals.get(one.place, UNKNOWN)) for one in held.versions if one.place.version != candidate
    ]
    for one in others:
        if one.arrival.approved or not one.arrival.began_by:
            return one
    return others[0] if others and held.whole else None


def no_baseline(candidate: str, held: HeldNow, target: Target) -> Absent:
    alone = any(_same(one, candidate) for one in held.versions)
    who = f"only version {visible_name(candidate)} itself holds" if alone else "nothing holds"
    return Absent(AbsenceCode.NO_HOLDER, f"{who} {target}")


def needs_of(needs: Needs) -> Needs:
    """What must be read of the holder for a candidate with these needs."""
    on_model = needs.metrics_of_logged_model
    return Needs(metrics=needs.metrics, run=True, logged_model=True, metrics_of_logged_model=on_model)


def holder_facts(baseline: Baseline, evidence: Evidence, needs: Needs) -> HolderFacts:
    """What is kept of a holder: what the checks of a candidate may ask about it."""
    shown, run, model = evidence.fact(VersionFacts), evidence.fact(RunFacts), evidence.fact(LoggedModelFacts)
    return HolderFacts(
        baseline.holding.place.version,
        baseline.arrival,
        replace(shown, description=Text.of(""), tags={}, left_out=None) if isinstance(shown, VersionFacts) else shown,
        _of_run(run, needs.metrics) if isinstance(run, RunFacts) else run,
        _of_model(model, needs.metrics) if isinstance(model, LoggedModelFacts) else model,
    )


def _of_run(run: RunFacts, metrics: frozenset[str]) -> RunFacts:
    kept = {name: reading for name, reading in run.metrics.items() if name in metrics}
    datasets, more = (run.datasets or ())[:_KEPT_DATASETS], (run.datasets or ())[_KEPT_DATASETS:]
    digest = hashlib.sha256(json_text([asdict(one) for one in more]).encode()).hexdigest()
    return replace(
        run, metrics=kept, datasets=None if run.datasets is None else datasets,
        left_out={"datasets": LeftOut(len(more), digest)} if more else None,
        params=None, user=None, git_commit=None, source_name=None,
    )  # fmt: skip


def _of_model(model: LoggedModelFacts, metrics: frozenset[str]) -> LoggedModelFacts:
    """Earlier readings than the latest on each dataset are never compared."""
    kept = {name: _latest_on_each(readings) for name, readings in model.metrics.items() if name in metrics}
    return replace(model, metrics=kept, left_out=None)


def _latest_on_each(readings: Sequence[Reading]) -> tuple[Reading, ...]:
    """By name and digest: a check may ask for either."""
    by_data: dict[tuple[str, str], list[Reading]] = defaultdict(list)
    for reading in readings:
        by_data[reading.dataset_name, reading.dataset_digest].append(reading)
    return tuple(one for group in by_data.values() for one in latest(group))


def _same(holding: Holding, version: str) -> bool:
    return _number(holding.place.version) == _number(version)


def _number(version: str) -> tuple[int, str]:
    """A version as servers read it, to whom " 2" is 2; what is no number comes first, by its text."""
    try:
        return int(version), ""
    except ValueError:
        return -1, version
