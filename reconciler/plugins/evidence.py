"""What a check of your own sees: what was captured for the decision, as far as its `needs` ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from reconciler.plugins.facts import Holder, LoggedModel, RegisteredModel, Run, Signature, Version
from reconciler.plugins.over_time import Held, History
from reconciler.plugins.seeing import Named, Part, Seen, found_in
from reconciler.plugins.values import CannotTell, NotAsked


class Evidence:
    """What was captured. Each part raises `Absent` where there is none, `CannotTell` where it could not be read."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._seen = Seen(data)

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

    @property
    def signature(self) -> Signature:
        return Signature(self._seen, "signature", self._part("signature"))

    @property
    def held(self) -> Named[Held]:
        """By stage, or alias with @, of those that the needs name."""
        return self._facts("held", "targets", Held)

    @property
    def histories(self) -> Named[History]:
        """By metric, of those that the needs name; a metric that the run lacks has none."""
        return self._facts("histories", "metrics", History)

    def _facts(self, name: str, member: str, made: type[Part]) -> Named[Any]:
        part, path = self._part(name), f"{name}.{member}"
        values = {key: made(self._seen, f"{path}.{key}", value) for key, value in part[member]["values"].items()}
        return Named(self._seen, path, values, part[member])

    def _part(self, name: str) -> Mapping[str, Any]:
        if name not in self._seen.data:
            raise NotAsked(f"{name} is not among its needs")
        return found_in(self._seen, name, self._seen.data[name])

    @property
    def refused(self) -> CannotTell | None:
        """What could not be told first, whether or not the check let it be seen."""
        return self._seen.refused
