"""What a check of your own sees: what was captured for the decision, as far as its `needs` ask for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, TypeVar, cast

from reconciler.plugins.values import Absent, CannotTell, NotAsked, Reading, Text

V = TypeVar("V")


class _Seen:
    """The data of one judgement, and the first that it could not tell."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.withheld: Mapping[str, str] = data.get("withheld", {})
        self.refused: CannotTell | None = None

    def refuse(self, kind: str, detail: str) -> CannotTell:
        error = CannotTell(kind, detail)
        self.refused = self.refused or error
        return error


class Named(Mapping[str, V]):
    """Values by name, such as metrics: those that the check's `needs` name, as far as they are there."""

    def __init__(self, seen: _Seen, path: str, values: Mapping[str, V], asked: Mapping[str, Any]) -> None:
        self._seen, self._path, self._values, self._asked = seen, path, values, asked

    def __getitem__(self, name: str) -> V:
        """Raises KeyError: it is not there. CannotTell, NotAsked."""
        self._require(f"{self._path}.{name}")
        self._require(self._path)
        if name not in self._asked["names"] and not any(fnmatchcase(name, glob) for glob in self._asked["globs"]):
            raise NotAsked(f"{self._path}.{name} is not among its needs")
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        for path in self._seen.withheld:
            if path.startswith(f"{self._path}."):
                self._require(path)
        self._require(self._path)
        return iter(self._values)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _require(self, path: str) -> None:
        if path in self._seen.withheld:
            raise self._seen.refuse("withheld", self._seen.withheld[path])


class _Fact:
    def __init__(self, seen: _Seen, path: str, data: Mapping[str, Any]) -> None:
        self._seen, self._path, self._data = seen, path, data

    def _member(self, name: str) -> Any:
        path = f"{self._path}.{name}"
        if path in self._seen.withheld:
            raise self._seen.refuse("withheld", self._seen.withheld[path])
        if name not in self._data:
            raise NotAsked(f"{path} is not among its needs")
        return self._data[name]

    def _named(self, name: str, made: Any) -> Named[Any]:
        member = self._data[name]
        values = {key: made(value) for key, value in member["values"].items()}
        return Named(self._seen, f"{self._path}.{name}", values, member)

    def _number(self, name: str) -> int | None:
        return cast("int | None", self._member(name))


class Version(_Fact):
    """The version of the model."""

    @property
    def run_id(self) -> str:
        """As the version says; it proves nothing: add `run: {linked: true}` to the rule."""
        return str(self._member("run_id"))

    @property
    def source(self) -> str:
        return str(self._member("source"))

    @property
    def status(self) -> str:
        return str(self._member("status"))

    @property
    def stage(self) -> str:
        return str(self._member("current_stage"))

    @property
    def description(self) -> Text:
        return Text.of_data(self._member("description"))

    @property
    def tags(self) -> Named[Text]:
        return self._named("tags", Text.of_data)


class Run(_Fact):
    """A run, with the latest value of each metric that the needs name."""

    @property
    def run_id(self) -> str:
        return str(self._member("run_id"))

    @property
    def status(self) -> str:
        return str(self._member("status"))

    @property
    def lifecycle_stage(self) -> str:
        return str(self._member("lifecycle_stage"))

    @property
    def experiment_id(self) -> str:
        return str(self._member("experiment_id"))

    @property
    def end_time(self) -> int | None:
        """Milliseconds since 1970; None: it has not ended."""
        return self._number("end_time")

    @property
    def user(self) -> Text | None:
        """Who the run says ran it; None: it does not say. Needs `run_user`."""
        user = self._member("user")
        return None if user is None else Text.of_data(user)

    @property
    def metrics(self) -> Named[Reading]:
        return self._named("metrics", Reading.of_data)

    @property
    def params(self) -> Named[Text]:
        return self._named("params", Text.of_data)


class LoggedModel(_Fact):
    """A logged model (MLflow 3), with all readings of each metric that the needs name."""

    @property
    def model_id(self) -> str:
        return str(self._member("model_id"))

    @property
    def source_run_id(self) -> str:
        return str(self._member("source_run_id"))

    @property
    def status(self) -> str:
        return str(self._member("status"))

    @property
    def experiment_id(self) -> str:
        return str(self._member("experiment_id"))

    @property
    def metrics(self) -> Named[tuple[Reading, ...]]:
        return self._named("metrics", lambda readings: tuple(map(Reading.of_data, readings)))


class RegisteredModel(_Fact):
    """The registered model itself."""

    @property
    def description(self) -> Text:
        return Text.of_data(self._member("description"))

    @property
    def tags(self) -> Named[Text]:
        return self._named("tags", Text.of_data)


class Holder(_Fact):
    """What holds the requested target now."""

    @property
    def version(self) -> str:
        return str(self._member("version"))

    @property
    def approved(self) -> bool | None:
        """Whether it came there by an approval; None: that cannot be told."""
        return cast("bool | None", self._member("approved"))

    @property
    def run(self) -> Run:
        """Raises Absent, CannotTell."""
        return Run(self._seen, f"{self._path}.run", _found(self._seen, f"{self._path}.run", self._data["run"]))

    @property
    def logged_model(self) -> LoggedModel:
        """Raises Absent, CannotTell."""
        path = f"{self._path}.logged_model"
        return LoggedModel(self._seen, path, _found(self._seen, path, self._data["logged_model"]))


class Evidence:
    """What was captured. Each part raises `Absent` where there is none, `CannotTell` where it could not be read."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._seen = _Seen(data)

    @property
    def now(self) -> datetime:
        """The moment as of which it is judged, in UTC: the only clock that a check has."""
        return datetime.fromisoformat(self._seen.data["now"])

    @property
    def version(self) -> Version:
        return Version(self._seen, "version", self._part("version"))

    @property
    def run(self) -> Run:
        return Run(self._seen, "run", self._part("run"))

    @property
    def logged_model(self) -> LoggedModel:
        return LoggedModel(self._seen, "logged_model", self._part("logged_model"))

    @property
    def registered_model(self) -> RegisteredModel:
        return RegisteredModel(self._seen, "registered_model", self._part("registered_model"))

    @property
    def holder(self) -> Holder:
        return Holder(self._seen, "holder", self._part("holder"))

    def _part(self, name: str) -> Mapping[str, Any]:
        if name not in self._seen.data:
            raise NotAsked(f"{name} is not among its needs")
        return _found(self._seen, name, self._seen.data[name])

    @property
    def refused(self) -> CannotTell | None:
        """What could not be told first, whether or not the check let it be seen."""
        return self._seen.refused


def _found(seen: _Seen, path: str, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    if "absent" in answer:
        raise Absent(*answer["absent"])
    for kind in ("unreadable", "withheld"):
        if kind in answer:
            raise seen.refuse(kind, f"{path}: {answer[kind]}")
    found: Mapping[str, Any] = answer["found"]
    return found
