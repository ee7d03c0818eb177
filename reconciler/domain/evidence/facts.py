"""What the registry shows of a version: facts, each with a key, or why there is none.

A fact that a later release added has a default, which says "not read", and is then left out of the stored JSON: what an
earlier release stored is read as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.withheld import REDACTED, Withheld
from reconciler.domain.text import Text


@dataclass(frozen=True, slots=True)
class Reading:
    """One metric value: `text` as the registry wrote it, `value` its float, or None if it is not a number.

    `timestamp` is in milliseconds since 1970 (UTC), as the registry gave it.
    """

    text: str
    value: float | None
    step: int
    timestamp: int
    run_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


@dataclass(frozen=True, slots=True)
class Absent:
    """The registry says definitely that there is none. `code` is stable, `detail` is for people."""

    code: AbsenceCode
    detail: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Could not be read; never judged."""

    detail: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that a run names as its input. `context`: what it says that it was used for, such as `training`."""

    name: str
    digest: str
    context: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What had no room: how many, and the SHA-256 of their JSON (`reconciler.domain.evidence.keeping`)."""

    count: int
    sha256: str


_ADDED = frozenset(
    {
        "experiment_id", "outputs", "creation_timestamp", "params", "datasets", "user", "git_commit", "source_name",
        "left_out",
    }
)  # fmt: skip


class Fact:
    """One thing that the registry shows of a version. A kind of fact has a key, under which evidence keeps it."""

    __slots__ = ()

    key: ClassVar[str]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Only asked for what is not there: a member that was redacted."""
            if name in {member.name for member in fields(self)}:
                raise Withheld(f"{self.key}.{name}", REDACTED)
            raise AttributeError(f"{type(self).__name__} has no {name}")

    def to_data(self) -> dict[str, Any]:
        """The fact as JSON data; all of it, except what can be computed again."""
        raise NotImplementedError

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_data`."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class VersionFacts(Fact):
    """A model version as the registry shows it. Before there was `left_out`, `tags` held what rules asked for only.

    `left_out`: what had no room, by the member that it is missing from. None: evidence was not yet kept as a whole.
    """

    key: ClassVar[str] = "version"

    run_id: str
    source: str
    status: str
    current_stage: str
    description: Text
    tags: Mapping[str, Text] = field(default_factory=dict)
    creation_timestamp: int | None = None
    left_out: Mapping[str, LeftOut] | None = None

    def to_data(self) -> dict[str, Any]:
        tags = {name: text.to_data() for name, text in self.tags.items()}
        return _as_read(_members(self) | {"description": self.description.to_data(), "tags": tags})

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        tags = {key: Text.stored(**value) for key, value in data["tags"].items()}
        return cls(**_added(data) | {"description": Text.stored(**data["description"]), "tags": tags})


@dataclass(frozen=True, slots=True)
class RunFacts(Fact):
    """A run with the latest reading of each metric. Times in milliseconds since 1970.

    `outputs`: ids of the logged models that the run itself names as its own, without repetition; of many only some, but
    the version's model always, and never fewer than two. None: the registry does not tell. `user`, `git_commit` and
    `source_name` are the run's tags of these meanings, as whoever logged it says. `left_out` as of a version; before
    there was one, `metrics` held what rules asked for only.
    """

    key: ClassVar[str] = "run"

    run_id: str
    status: str
    lifecycle_stage: str
    end_time: int | None
    artifact_uri: str
    metrics: Mapping[str, Reading]
    experiment_id: str = ""
    outputs: tuple[str, ...] | None = None
    params: Mapping[str, Text] | None = None
    datasets: tuple[Dataset, ...] | None = None
    user: Text | None = None
    git_commit: Text | None = None
    source_name: Text | None = None
    left_out: Mapping[str, LeftOut] | None = None

    def to_data(self) -> dict[str, Any]:
        data = _members(self) | {"metrics": {name: reading_data(reading) for name, reading in self.metrics.items()}}
        if self.params is not None:
            data["params"] = {name: _compact(text) for name, text in self.params.items()}
        if self.datasets is not None:
            data["datasets"] = [asdict(dataset) for dataset in self.datasets]
        texts = {name: getattr(self, name) for name in _TEXTS}
        return _as_read(data | {name: _compact(text) for name, text in texts.items() if text is not None})

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        metrics = {name: reading_of(reading) for name, reading in data["metrics"].items()}
        outputs = data.get("outputs")
        return cls(**_added(data) | {"metrics": metrics, "outputs": None if outputs is None else tuple(outputs)})


@dataclass(frozen=True, slots=True)
class LoggedModelFacts(Fact):
    """A logged model (MLflow 3) with every reading of each metric. `left_out` as of a run."""

    key: ClassVar[str] = "logged_model"

    model_id: str
    source_run_id: str
    status: str
    metrics: Mapping[str, tuple[Reading, ...]]
    experiment_id: str = ""
    left_out: Mapping[str, LeftOut] | None = None

    def to_data(self) -> dict[str, Any]:
        metrics = {name: [reading_data(reading) for reading in readings] for name, readings in self.metrics.items()}
        return _as_read(_members(self) | {"metrics": metrics})

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        metrics = {
            name: tuple(reading_of(reading) for reading in readings) for name, readings in data["metrics"].items()
        }
        return cls(**_added(data) | {"metrics": metrics})


@dataclass(frozen=True, slots=True)
class OriginFacts(Fact):
    """Of a version that is a copy of another one: what it was copied from, and where its files lie."""

    key: ClassVar[str] = "origin"

    copy_of: str
    location: str

    def to_data(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        return cls(**data)


def _members(fact: VersionFacts | RunFacts | LoggedModelFacts) -> dict[str, Any]:
    """The members as they are, but for what was left out. `asdict` would copy each value of each member."""
    notes = fact.left_out
    left_out = None if notes is None else {name: asdict(note) for name, note in notes.items()}
    return {member.name: getattr(fact, member.name) for member in fields(fact)} | {"left_out": left_out}


def _as_read(data: dict[str, Any]) -> dict[str, Any]:
    """Without what the first releases did not read, where it was not read either."""
    return {name: value for name, value in data.items() if name not in _ADDED or value not in ("", None)}


# Of a run: one text each.
_TEXTS = ("user", "git_commit", "source_name")


def _added(data: dict[str, Any]) -> dict[str, Any]:
    """The data, with those members that are values of ours as such."""
    values = dict(data)
    if "params" in data:
        values["params"] = {name: _text(value) for name, value in data["params"].items()}
    if "datasets" in data:
        values["datasets"] = tuple(Dataset(**value) for value in data["datasets"])
    if "left_out" in data:
        values["left_out"] = {name: LeftOut(**value) for name, value in data["left_out"].items()}
    return values | {name: _text(data[name]) for name in _TEXTS if name in data}


def _compact(text: Text) -> str | dict[str, Any]:
    """A text that is kept whole by itself: its length and its hash are computed again."""
    return text.head if text.whole else text.to_data()


def _text(data: str | dict[str, Any]) -> Text:
    return Text.of(data) if isinstance(data, str) else Text.stored(**data)


def reading_data(reading: Reading) -> dict[str, Any]:
    """Without the float: it is read again from the text, since JSON has neither NaN nor infinity."""
    return {
        "text": reading.text,
        "step": reading.step,
        "timestamp": reading.timestamp,
        "run_id": reading.run_id,
        "dataset_name": reading.dataset_name,
        "dataset_digest": reading.dataset_digest,
    }


def number(text: str) -> float | None:
    """The float that `text` says ("0.93", "NaN", "Infinity"), or None if it is not a number."""
    try:
        return float(text)
    except ValueError:
        return None


def reading_of(data: dict[str, Any]) -> Reading:
    """The inverse of `reading_data`."""
    return Reading(value=number(data["text"]), **data)
