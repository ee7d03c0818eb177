"""What the policy is shown: values as they were read, or a named absence.

Three kinds of answer are kept apart for every fact: a value; `Absent`, a definite "there is none" from the registry,
which is judged; `Unreadable`, "could not tell", which is never judged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.text import Text
from reconciler.domain.times import iso, parse_iso

# The number of what `Evidence.to_json` writes, kept within it.
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Reading:
    """One metric value. `text` is the number as the registry wrote it, `value` its float or None when it is no number.

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
    """Could not be read; nobody may judge it."""

    detail: str


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """A model version as the registry shows it. `tags` holds only those that a rule asks for, or all as listed."""

    run_id: str
    source: str
    status: str
    current_stage: str
    description: Text
    tags: Mapping[str, Text] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run with the latest reading of each metric that a rule asks for. Times in milliseconds since 1970."""

    run_id: str
    status: str
    lifecycle_stage: str
    end_time: int | None
    artifact_uri: str
    metrics: Mapping[str, Reading]


@dataclass(frozen=True, slots=True)
class LoggedModelFacts:
    """A logged model (MLflow 3) with every reading of each metric that a rule asks for."""

    model_id: str
    source_run_id: str
    status: str
    metrics: Mapping[str, tuple[Reading, ...]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one request's version when it is judged. `read_at` is the judge's clock."""

    read_at: datetime
    version: VersionFacts | Absent | Unreadable
    run: RunFacts | Absent | Unreadable
    logged_model: LoggedModelFacts | Absent | Unreadable

    def to_json(self) -> str:
        """ASCII JSON, keys sorted, no blanks. NUL and lone surrogates are escaped, so any database takes it."""
        data = {
            "format": FORMAT,
            "read_at": iso(self.read_at),
            "version": _fact_data(self.version),
            "run": _fact_data(self.run),
            "logged_model": _fact_data(self.logged_model),
        }
        return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Evidence:
        """The inverse of `to_json`: what it gives is judged to the same verdict.

        Raises:
            ValueError: the evidence is of a format that this release does not know.
        """
        data = json.loads(text)
        # The first releases wrote no number: theirs is the first format.
        if data.get("format", FORMAT) != FORMAT:
            raise ValueError(f"evidence of format {data['format']}: this release reads format {FORMAT} only")
        return cls(
            read_at=parse_iso(data["read_at"]),
            version=_absence(data["version"]) or _version(data["version"]),
            run=_absence(data["run"]) or _run(data["run"]),
            logged_model=_absence(data["logged_model"]) or _logged_model(data["logged_model"]),
        )


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


_Fact = VersionFacts | RunFacts | LoggedModelFacts | Absent | Unreadable


def _fact_data(fact: _Fact) -> dict[str, Any]:
    kind = {Absent: "absent", Unreadable: "unreadable"}.get(type(fact), "found")
    data = asdict(fact)
    if isinstance(fact, RunFacts):
        data["metrics"] = {name: _reading_data(reading) for name, reading in fact.metrics.items()}
    if isinstance(fact, LoggedModelFacts):
        data["metrics"] = {name: [_reading_data(one) for one in many] for name, many in fact.metrics.items()}
    return {"answer": kind, **data}


def _reading_data(reading: Reading) -> dict[str, Any]:
    """Without the float: it is read again from the text, since JSON has neither NaN nor infinity."""
    data = asdict(reading)
    del data["value"]
    return data


def number(text: str) -> float | None:
    """The float that `text` says ("0.93", "NaN", "Infinity"), or None when it is no number."""
    try:
        return float(text)
    except ValueError:
        return None


def _reading(data: dict[str, Any]) -> Reading:
    return Reading(value=number(data["text"]), **data)


def _absence(data: dict[str, Any]) -> Absent | Unreadable | None:
    if data["answer"] == "absent":
        return Absent(AbsenceCode.of(data["code"]), data["detail"])
    if data["answer"] == "unreadable":
        return Unreadable(data["detail"])
    return None


def _found(data: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != "answer"}


def _version(data: dict[str, Any]) -> VersionFacts:
    values = _found(data)
    values["description"] = Text(**values["description"])
    values["tags"] = {key: Text(**value) for key, value in values["tags"].items()}
    return VersionFacts(**values)


def _run(data: dict[str, Any]) -> RunFacts:
    values = _found(data)
    values["metrics"] = {name: _reading(reading) for name, reading in values["metrics"].items()}
    return RunFacts(**values)


def _logged_model(data: dict[str, Any]) -> LoggedModelFacts:
    values = _found(data)
    values["metrics"] = {name: tuple(_reading(one) for one in many) for name, many in values["metrics"].items()}
    return LoggedModelFacts(**values)
