"""What the registry shows of a version and of what it comes from, as a check of your own sees it."""

from __future__ import annotations

from typing import cast

from reconciler.plugins.seeing import Named, Part, found_in
from reconciler.plugins.values import Column, Reading, Text


class Version(Part):
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


class Run(Part):
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


class LoggedModel(Part):
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


class RegisteredModel(Part):
    """The registered model itself."""

    @property
    def description(self) -> Text:
        return Text.of_data(self._member("description"))

    @property
    def tags(self) -> Named[Text]:
        return self._named("tags", Text.of_data)


class Holder(Part):
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
        return Run(self._seen, f"{self._path}.run", found_in(self._seen, f"{self._path}.run", self._data["run"]))

    @property
    def logged_model(self) -> LoggedModel:
        """Raises Absent, CannotTell."""
        path = f"{self._path}.logged_model"
        return LoggedModel(self._seen, path, found_in(self._seen, path, self._data["logged_model"]))


class Signature(Part):
    """The input and output schema of the model, as its file `MLmodel` says it."""

    @property
    def inputs(self) -> tuple[Column, ...] | None:
        """None: the file has no such list."""
        return self._columns("inputs")

    @property
    def outputs(self) -> tuple[Column, ...] | None:
        """None: the file has no such list."""
        return self._columns("outputs")

    @property
    def place(self) -> str:
        """Where the file was read."""
        return str(self._member("place"))

    @property
    def sha256(self) -> str:
        """Of the whole file."""
        return str(self._member("sha256"))

    def _columns(self, name: str) -> tuple[Column, ...] | None:
        self._require_clear()
        columns = self._member(name)
        return None if columns is None else tuple(map(Column.of_data, columns))

    def _require_clear(self) -> None:
        if unclear := self._member("unclear"):
            raise self._refuse("undetermined", str(unclear))
