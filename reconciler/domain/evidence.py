"""What the policy judges by: values as they were read, or a named absence.

Three kinds of answer are kept apart for every fact: a value; `Absent`, a definite "there is none" from the registry,
which is judged; `Unreadable`, "could not tell", which is never judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.text import Text
from reconciler.domain.times import iso, parse_iso
from reconciler.domain.withheld import EXCLUDED, REDACTED, Withheld, without

# The number of the format that `Evidence.to_json` writes, stored in the JSON.
FORMAT = 1


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
    """A model version as the registry shows it. `tags` holds only those that a rule asks for, or all as listed."""

    key: ClassVar[str] = "version"

    run_id: str
    source: str
    status: str
    current_stage: str
    description: Text
    tags: Mapping[str, Text] = field(default_factory=dict)

    def to_data(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        tags = {key: Text(**value) for key, value in data["tags"].items()}
        return cls(**data | {"description": Text(**data["description"]), "tags": tags})


@dataclass(frozen=True, slots=True)
class RunFacts(Fact):
    """A run with the latest reading of each metric that a rule asks for. Times in milliseconds since 1970."""

    key: ClassVar[str] = "run"

    run_id: str
    status: str
    lifecycle_stage: str
    end_time: int | None
    artifact_uri: str
    metrics: Mapping[str, Reading]

    def to_data(self) -> dict[str, Any]:
        return asdict(self) | {"metrics": {name: _reading_data(reading) for name, reading in self.metrics.items()}}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        return cls(**data | {"metrics": {name: _reading(reading) for name, reading in data["metrics"].items()}})


@dataclass(frozen=True, slots=True)
class LoggedModelFacts(Fact):
    """A logged model (MLflow 3) with every reading of each metric that a rule asks for."""

    key: ClassVar[str] = "logged_model"

    model_id: str
    source_run_id: str
    status: str
    metrics: Mapping[str, tuple[Reading, ...]]

    def to_data(self) -> dict[str, Any]:
        metrics = {name: [_reading_data(reading) for reading in readings] for name, readings in self.metrics.items()}
        return asdict(self) | {"metrics": metrics}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        metrics = {name: tuple(_reading(reading) for reading in readings) for name, readings in data["metrics"].items()}
        return cls(**data | {"metrics": metrics})


# Every kind of fact that is kept; stored evidence is read by it.
FACTS: tuple[type[Fact], ...] = (VersionFacts, RunFacts, LoggedModelFacts)

Answer = Fact | Absent | Unreadable
F = TypeVar("F", bound=Fact)

_NOT_ASKED = Absent(AbsenceCode.NOT_ASKED, "no rule asks for it")


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one request's version when it is judged: an answer by the key of each kind of fact.

    `read_at` is the judge's clock. `excluded`: paths of what was kept out of it, which no check may judge.
    """

    read_at: datetime
    answers: Mapping[str, Answer]
    excluded: tuple[str, ...] = ()

    @classmethod
    def of(cls, read_at: datetime, answers: Mapping[type[Fact], Answer]) -> Self:
        """Evidence from an answer for each kind of fact that was asked for.

        Raises:
            TypeError: an answer is a fact of another kind.
        """
        for kind, answer in answers.items():
            if not isinstance(answer, (kind, Absent, Unreadable)):
                raise TypeError(f"{type(answer).__name__} is not an answer to {kind.key}")
        return cls(read_at, MappingProxyType({kind.key: answer for kind, answer in answers.items()}))

    def fact(self, kind: type[F]) -> F | Absent | Unreadable:
        """The fact of that kind, or why there is none."""
        answer = self.answers.get(kind.key, _NOT_ASKED)
        assert isinstance(answer, (kind, Absent, Unreadable))  # ensured by `of` and `from_json`
        return answer

    def excluding(self, paths: Iterable[str]) -> Self:
        """The same evidence without these fields, and with the note that they were kept out."""
        excluded = tuple(sorted({*self.excluded, *paths}))
        return replace(self.withholding(excluded, EXCLUDED), excluded=excluded) if excluded else self

    def withholding(self, paths: Collection[str], why: str) -> Self:
        """The same evidence, in which asking for one of these fields raises `Withheld`."""
        answers = {
            key: without(answer, key, paths, why) if isinstance(answer, Fact) else answer
            for key, answer in self.answers.items()
        }
        return replace(self, answers=MappingProxyType(answers))

    def to_json(self) -> str:
        """ASCII JSON, keys sorted, no blanks. NUL and lone surrogates are escaped, so any database takes it."""
        answers = {key: _answer_data(answer) for key, answer in self.answers.items()}
        data = {"format": FORMAT, "read_at": iso(self.read_at), **answers}
        if self.excluded:
            data["excluded"] = list(self.excluded)
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, kinds: Sequence[type[Fact]] = FACTS) -> Self:
        """The inverse of `to_json`: the result is judged to the same verdict.

        Raises:
            ValueError: the evidence is of a format, or holds a kind of fact, that this release does not know.
        """
        data = json.loads(text)
        # The first releases wrote no number: theirs is the first format.
        number_of_format = data.pop("format", FORMAT)
        if number_of_format != FORMAT:
            raise ValueError(f"evidence of format {number_of_format}: this release reads format {FORMAT} only")
        read_at, excluded = parse_iso(data.pop("read_at")), data.pop("excluded", ())
        by_key = {kind.key: kind for kind in kinds}
        if unknown := sorted(data.keys() - by_key.keys()):
            raise ValueError(f"evidence with {', '.join(unknown)}, which this release does not know")
        answers = {by_key[key]: _answer(by_key[key], value) for key, value in data.items()}
        return cls.of(read_at, answers).excluding(excluded)


@dataclass(frozen=True, slots=True)
class Needs:
    """What the rules that match a request ask for; nothing else is fetched or kept.

    `metrics_of_logged_model`: some of the metrics are read there, so a registry without logged models cannot pass.
    """

    metrics: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    run: bool = False
    logged_model: bool = False
    metrics_of_logged_model: bool = False
    # Paths of what a rule asks for, and the configuration keeps out of the evidence.
    excluded: frozenset[str] = frozenset()

    def without_tags(self, unwanted: Callable[[str], bool]) -> Needs:
        """The same needs, but for tags that are kept out of the evidence."""
        out = frozenset(filter(unwanted, self.tags))
        excluded = self.excluded | {f"{VersionFacts.key}.tags.{name}" for name in out}
        return replace(self, tags=self.tags - out, excluded=excluded) if out else self

    @classmethod
    def together(cls, many: Iterable[Needs]) -> Needs:
        """All that any of them asks for."""
        needs = tuple(many)
        return cls(
            metrics=frozenset().union(*(need.metrics for need in needs)),
            tags=frozenset().union(*(need.tags for need in needs)),
            run=any(need.run for need in needs),
            logged_model=any(need.logged_model for need in needs),
            metrics_of_logged_model=any(need.metrics_of_logged_model for need in needs),
        )


def _answer_data(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, Fact):
        return {"answer": "found", **answer.to_data()}
    return {"answer": "absent" if isinstance(answer, Absent) else "unreadable", **asdict(answer)}


def _answer(kind: type[Fact], data: dict[str, Any]) -> Answer:
    values = {key: value for key, value in data.items() if key != "answer"}
    if data["answer"] == "absent":
        return Absent(AbsenceCode.of(values["code"]), values["detail"])
    if data["answer"] == "unreadable":
        return Unreadable(values["detail"])
    return kind.from_data(values)


def _reading_data(reading: Reading) -> dict[str, Any]:
    """Without the float: it is read again from the text, since JSON has neither NaN nor infinity."""
    data = asdict(reading)
    del data["value"]
    return data


def number(text: str) -> float | None:
    """The float that `text` says ("0.93", "NaN", "Infinity"), or None if it is not a number."""
    try:
        return float(text)
    except ValueError:
        return None


def _reading(data: dict[str, Any]) -> Reading:
    return Reading(value=number(data["text"]), **data)
