"""What is kept of what was read: without what the configuration keeps out, and within 64 kB a decision.

What a check asks for is kept, whatever its size, and so is what stands by itself, such as the run's status. The rest is
parts: a metric, a tag, a parameter, a dataset, a reading. Where not all of them fit, each kind of part is first sure of
an equal share, so that none pushes another out; what room is left then is filled in the order of `_Kind`. Within a kind
it goes by name, and what does not fit is passed over. What was left out is counted and digested in `left_out`.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import IntEnum, auto
from types import MappingProxyType
from typing import Any, Final, TypeVar

from reconciler.domain.evidence.evidence import (
    Answer,
    Evidence,
    Fact,
    HolderFacts,
    LoggedModelFacts,
    Needs,
    RunFacts,
    VersionFacts,
    answer_of,
)
from reconciler.domain.evidence.salted import SALT_BYTES, Field, fields_of, json_text
from reconciler.domain.scope import matches_any
from reconciler.domain.tag_format import DECISION_PREFIX, REQUEST_PREFIX

# Of the JSON that is stored before it is compressed, with the salts.
ROOM: Final = 64 * 1024
# What `left_out` takes at most.
_FOR_WHAT_IS_LEFT_OUT = 1024

# The tag that each of these members of a run is read from, by whose name it is kept out.
_FROM_TAGS = {"user": "mlflow.user", "git_commit": "mlflow.source.git.commit", "source_name": "mlflow.source.name"}

_OF_PARTS: tuple[type[Fact], ...] = (VersionFacts, RunFacts, LoggedModelFacts)

A = TypeVar("A", bound=Answer)
# Where a part stands in evidence as JSON data: `("run", "metrics", "f1")`.
Path = tuple[str | int, ...]
# Below this there are no parts but readings, which are in lists.
_DEEPEST = 3


class _Kind(IntEnum):
    """What may be left out, the most important first."""

    CODE = auto()  # the run's git commit, source file and user
    DATASETS = auto()
    METRICS = auto()
    METRICS_OF_MODEL = auto()  # of a logged model, the latest reading on each dataset
    TAGS = auto()
    PARAMS = auto()
    EARLIER_READINGS = auto()  # of a logged model
    OUR_TAGS = auto()  # requests and decisions: the audit has them by itself


def permitted(evidence: Evidence, needs: Needs, exclude: Sequence[str]) -> Evidence:
    """The evidence without what the configuration keeps out.

    Args:
        exclude: globs over the names of tags, parameters and datasets.
    """
    if exclude:
        evidence = replace(evidence, answers=_without(evidence.answers, needs, exclude))
    return evidence.excluding(needs.excluded, exclude)


# --- kept out ------------------------------------------------------------------------------------------------


def _without(answers: Mapping[str, Answer], needs: Needs, exclude: Sequence[str]) -> dict[str, Answer]:
    """Without the datasets, and what comes from tags by other names; `Evidence.excluding` takes the rest out."""
    return {key: _fact_without(answer, needs, exclude) for key, answer in answers.items()}


def _fact_without(answer: A, needs: Needs, exclude: Sequence[str]) -> A:
    if isinstance(answer, RunFacts):
        gone: dict[str, Any] = {member: None for member, tag in _FROM_TAGS.items() if matches_any(tag, exclude)}
        datasets = answer.datasets and tuple(one for one in answer.datasets if not _on_any(one.name, exclude))
        return replace(answer, datasets=datasets, **gone)
    if isinstance(answer, LoggedModelFacts):
        metrics = {
            name: tuple(one for one in readings if name in needs.metrics or not _on_any(one.dataset_name, exclude))
            for name, readings in answer.metrics.items()
        }
        return replace(answer, metrics={name: readings for name, readings in metrics.items() if readings})
    if isinstance(answer, HolderFacts):
        run, model = _fact_without(answer.run, needs, exclude), _fact_without(answer.logged_model, needs, exclude)
        return replace(answer, run=run, logged_model=model)
    return answer


def _on_any(dataset: str, exclude: Sequence[str]) -> bool:
    """Whether it is one of these datasets; most readings name none, which `*` must not match."""
    return dataset != "" and matches_any(dataset, exclude)


# --- within the room -----------------------------------------------------------------------------------------


def within_room(evidence: Evidence, needs: Needs, room: int = ROOM) -> Evidence:
    """The evidence, of which no more is kept than fits beside what the checks ask for."""
    document = evidence.to_data()
    if size_of(document) <= room:
        return evidence
    parts = _parts(document, needs)
    everything = {path for paths in parts.values() for path in paths}
    fixed = size_of(_less(document, everything)) + _FOR_WHAT_IS_LEFT_OUT
    left_out = everything - _that_fit(document, parts, room - fixed)
    smaller = _less(document, left_out)
    for (key, member), note in _notes(document, left_out).items():
        smaller[key].setdefault("left_out", {})[member] = note
    answers = {
        kind.key: answer_of(kind, smaller[kind.key])
        for kind in _OF_PARTS
        if isinstance(evidence.answers.get(kind.key), kind)
    }
    # What is withheld is withheld of the smaller facts, too.
    return replace(evidence, answers=MappingProxyType({**evidence.answers, **answers})).excluding(())


def size_of(document: Mapping[str, Any]) -> int:
    """How much room evidence takes as it is stored, before it is compressed."""
    fields = list(fields_of(document))
    return len(json_text(fields)) + SALT_BYTES * len(fields)


def _parts(document: Mapping[str, Any], needs: Needs) -> Mapping[_Kind, list[Path]]:
    """All that may be left out, in the order in which it is kept."""
    parts: dict[_Kind, list[Path]] = {kind: [] for kind in _Kind}
    of_facts = (
        _parts_of_run(document.get(RunFacts.key, {}), needs),
        _parts_of_version(document.get(VersionFacts.key, {}), needs),
        _parts_of_model(document.get(LoggedModelFacts.key, {}), needs),
    )
    for kind, path in itertools.chain.from_iterable(of_facts):
        parts[kind].append(path)
    return parts


def _parts_of_run(run: Mapping[str, Any], needs: Needs) -> Iterator[tuple[_Kind, Path]]:
    for member in _FROM_TAGS:
        if member in run and not (member == "user" and needs.run_user):
            yield _Kind.CODE, (RunFacts.key, member)
    for at in range(len(run.get("datasets", ()))):
        yield _Kind.DATASETS, (RunFacts.key, "datasets", at)
    asked = needs.metrics_among(run.get("metrics", ()))
    for name in sorted(run.get("metrics", ())):
        if name not in asked:
            yield _Kind.METRICS, (RunFacts.key, "metrics", name)
    for name in sorted(run.get("params", ())):
        if name not in needs.params:
            yield _Kind.PARAMS, (RunFacts.key, "params", name)


def _parts_of_version(version: Mapping[str, Any], needs: Needs) -> Iterator[tuple[_Kind, Path]]:
    for name in sorted(version.get("tags", ())):
        if name not in needs.tags:
            ours = name.startswith((REQUEST_PREFIX, DECISION_PREFIX))
            yield _Kind.OUR_TAGS if ours else _Kind.TAGS, (VersionFacts.key, "tags", name)


def _parts_of_model(model: Mapping[str, Any], needs: Needs) -> Iterator[tuple[_Kind, Path]]:
    for name, readings in sorted(model.get("metrics", {}).items()):
        judged = _latest_on_each_dataset(readings)
        for at in sorted(range(len(readings)), key=lambda at: _moment(readings[at]), reverse=True):
            path = (LoggedModelFacts.key, "metrics", name, at)
            if at not in judged:
                yield _Kind.EARLIER_READINGS, path
            elif name not in needs.metrics:
                yield _Kind.METRICS_OF_MODEL, path


def _latest_on_each_dataset(readings: Sequence[Mapping[str, Any]]) -> set[int]:
    """All that a check looks at, whichever dataset or digest it names: earlier readings are never judged."""
    last: dict[tuple[str, str], tuple[int, int]] = {}
    for reading in readings:
        dataset = _dataset(reading)
        last[dataset] = max(last.get(dataset, _moment(reading)), _moment(reading))
    return {at for at, reading in enumerate(readings) if _moment(reading) == last[_dataset(reading)]}


def _dataset(reading: Mapping[str, Any]) -> tuple[str, str]:
    return reading["dataset_name"], reading["dataset_digest"]


def _moment(reading: Mapping[str, Any]) -> tuple[int, int]:
    return reading["step"], reading["timestamp"]


def _that_fit(document: Mapping[str, Any], parts: Mapping[_Kind, Sequence[Path]], room: int) -> set[Path]:
    """First what fits into the share of its kind, then into what is left."""
    fits: set[Path] = set()
    share = room // len(_Kind)
    sizes = {path: _size(document, path) for paths in parts.values() for path in paths}
    for most in (share, room):
        for kind in _Kind:
            left = min(most, room)
            for path in parts[kind]:
                if path not in fits and sizes[path] <= left:
                    fits.add(path)
                    left -= sizes[path]
                    room -= sizes[path]
    return fits


def _size(document: Mapping[str, Any], path: Path) -> int:
    """No less than the part adds."""
    return len(json_text(Field(".".join(map(str, path)), _value_at(document, path)))) + 1 + SALT_BYTES


def _value_at(document: Any, path: Path) -> Any:
    for name in path:
        document = document[name]
    return document


def _less(value: Any, left_out: Collection[Path], at: Path = ()) -> Any:
    """The data without these parts."""
    if isinstance(value, dict) and len(at) < _DEEPEST:
        below = {name: _less(one, left_out, (*at, name)) for name, one in value.items() if (*at, name) not in left_out}
        # A metric of which no reading is left.
        return {name: one for name, one in below.items() if len(at) != 2 or one != []}
    if isinstance(value, list | tuple):
        return [_less(one, left_out, (*at, index)) for index, one in enumerate(value) if (*at, index) not in left_out]
    return value


def _notes(document: Mapping[str, Any], left_out: Collection[Path]) -> dict[tuple[str, str], dict[str, Any]]:
    """How many parts were left out of each member of a fact, and the digest of `[name, value]` of all of them."""
    of_members: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in left_out:
        of_members[str(path[0]), str(path[1])].append(path)
    return {
        member: _note([[*path[2:], _value_at(document, path)] for path in sorted(paths)])
        for member, paths in of_members.items()
    }


def _note(entries: Sequence[Any]) -> dict[str, Any]:
    return {"count": len(entries), "sha256": hashlib.sha256(json_text(entries).encode()).hexdigest()}
