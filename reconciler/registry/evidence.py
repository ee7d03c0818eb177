"""Gather evidence for a whole batch of requests in few calls."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence import (
    Absent,
    Evidence,
    LoggedModelFacts,
    Needs,
    RunFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.text import visible_name
from reconciler.ports import Invalid, Listed, NotFound, RegistryError, Unavailable
from reconciler.registry.errors import TooLarge
from reconciler.registry.facts import info_of, logged_model_facts, run_facts
from reconciler.registry.paging import rows_in_pages, rows_of
from reconciler.registry.transport import Transport
from reconciler.registry.versions import API, get_version, version_facts

# A page of logged models holds at most 50.
_CHUNK = 50
# With more experiments than this, their ids alone make a search heavier than single reads.
_MANY_EXPERIMENTS = 2000
_COPY_DEPTH = 5
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_LOGGED_MODEL = re.compile(r"models:/(m-[A-Za-z0-9_-]{1,62})/?")
# Ids that do not exist.
NO_RUN = "0" * 32
NO_MODEL = f"m-{NO_RUN}"

_COPIED_VERSION = re.compile(r"models:/([^/]+)/(\d+)/?", re.DOTALL)

T = TypeVar("T")
Found = Mapping[str, Any] | Absent | Unreadable


class EvidenceReader:
    """Reads versions from the registry, runs and logged models from the tracking server."""

    def __init__(self, registry: Transport, tracking: Transport) -> None:
        self._registry = registry
        self._tracking = tracking
        self._experiments: list[str] | None = None

    def read(self, wanted: Sequence[tuple[Listed, Needs]], now: datetime) -> dict[str, Evidence]:
        """Return evidence by request key. What could not be read is `Unreadable` within it."""
        versions = {listed.request.key: self._version(listed) for listed, _ in wanted}
        models = {key: self.logged_model_id(facts) for key, facts in versions.items()}
        runs = self._runs(_run_ids(versions, wanted))
        logged = self._logged_models(_model_ids(models, wanted))
        return {
            listed.request.key: Evidence.of(
                now,
                {
                    VersionFacts: _only_needed(versions[listed.request.key], needs),
                    RunFacts: _run_fact(versions[listed.request.key], runs, needs),
                    LoggedModelFacts: _logged_model_fact(models[listed.request.key], logged, needs),
                },
            )
            for listed, needs in wanted
        }

    @staticmethod
    def run_id_of(version: VersionFacts) -> str | None:
        """The run's id; None if the version names no run, or the name is not a run id."""
        return version.run_id if _ID.fullmatch(version.run_id) else None

    # --- versions --------------------------------------------------------------------------------------------

    def _version(self, listed: Listed) -> VersionFacts | Absent | Unreadable:
        if listed.version is not None:
            return listed.version
        request = listed.request
        return self._answer(
            lambda: version_facts(get_version(self._registry, request.model, request.version)),
            Absent(AbsenceCode.VERSION_MISSING, "the registry has no such model version"),
        )

    def logged_model_id(self, version: VersionFacts | Absent | Unreadable) -> str | Absent | Unreadable:
        """The id of the logged model that the version was made from, through copies of copies."""
        if not isinstance(version, VersionFacts):
            return version
        source = version.source
        for _ in range(_COPY_DEPTH):
            if found := _LOGGED_MODEL.fullmatch(source):
                return found.group(1)
            copied = _COPIED_VERSION.fullmatch(source)
            if not copied:
                return Absent(AbsenceCode.NO_LOGGED_MODEL, "the version was not made from a logged model")
            name, number = copied.groups()
            origin = self._answer(
                lambda name=name, number=number: version_facts(get_version(self._registry, name, number)),  # type: ignore[misc]
                Absent(AbsenceCode.NO_LOGGED_MODEL, "the version is a copy of one that is gone"),
            )
            if not isinstance(origin, VersionFacts):
                return origin
            source = origin.source
        return Absent(AbsenceCode.NO_LOGGED_MODEL, f"the version is a copy of a copy, more than {_COPY_DEPTH} deep")

    def _answer(self, read: Callable[[], T], absent: Absent) -> T | Absent | Unreadable:
        try:
            return read()
        except NotFound:
            return absent
        except RegistryError as error:
            return Unreadable(str(error))

    # --- runs ------------------------------------------------------------------------------------------------

    def _runs(self, ids: Sequence[str]) -> dict[str, Found]:
        found = self._batch(ids, self.search_runs)
        # A search shows only what the account may see, so it cannot prove that a run does not exist. A read can.
        return found | {id: self._get_run(id) for id in ids if id not in found}

    def search_runs(self, ids: Sequence[str], experiments: Sequence[str]) -> dict[str, Found]:
        body = {
            "experiment_ids": experiments,
            "filter": f"attributes.run_id IN ({_quoted(ids)})",
            "run_view_type": "ALL",
            "max_results": len(ids),
        }
        rows = rows_of(self._tracking.search(f"{API}/runs/search", body), "runs")
        return {str(info_of(row).get("run_id")): row for row in rows}

    def _get_run(self, id: str) -> Found:
        absent = Absent(AbsenceCode.RUN_NOT_FOUND, f"run {visible_name(id)} does not exist")
        return self._answer(lambda: self.read_run(id), absent)

    def read_run(self, id: str) -> Found:
        """Raises NotFound if it does not exist."""
        return _member(self._tracking.get(f"{API}/runs/get", {"run_id": id}), "run")

    # --- logged models ---------------------------------------------------------------------------------------

    def _logged_models(self, ids: Sequence[str]) -> dict[str, Found]:
        found = self._batch(ids, self.search_logged_models)
        return found | {id: self._get_logged_model(id) for id in ids if id not in found}

    def search_logged_models(self, ids: Sequence[str], experiments: Sequence[str]) -> dict[str, Found]:
        body = {
            "experiment_ids": experiments,
            "filter": f"model_id IN ({_quoted(ids)})",
            "max_results": len(ids),
        }
        rows = rows_of(self._tracking.search(f"{API}/logged-models/search", body), "models")
        return {str(info_of(row).get("model_id")): row for row in rows}

    def _get_logged_model(self, id: str) -> Found:
        absent = Absent(AbsenceCode.NO_LOGGED_MODEL, f"logged model {visible_name(id)} does not exist")
        return self._answer(lambda: self.read_logged_model(id), absent)

    def read_logged_model(self, id: str) -> Found:
        """Raises NotFound if it does not exist."""
        return _member(self._tracking.get(f"{API}/logged-models/{id}"), "model")

    # --- batches ---------------------------------------------------------------------------------------------

    def _batch(
        self, ids: Sequence[str], search: Callable[[Sequence[str], Sequence[str]], dict[str, Found]]
    ) -> dict[str, Found]:
        """What searches find of `ids`. The ids that are missing from the result must be read one by one."""
        if len(ids) < 2:
            return {}
        found: dict[str, Found] = {}
        try:
            # A run may be newer than the remembered experiments; then they are read once more.
            for refresh in (False, True):
                missing = [id for id in ids if id not in found]
                known = self._experiments is not None
                experiments = self._experiment_ids(refresh) if missing else []
                if not experiments or len(experiments) > _MANY_EXPERIMENTS:
                    break
                for chunk in _chunks(missing):
                    found |= search(chunk, experiments)
                if not known:
                    break
        except (TooLarge, Invalid, NotFound):
            return found
        except RegistryError as error:
            return {id: Unreadable(str(error)) for id in ids} | found
        return found

    def _experiment_ids(self, refresh: bool) -> list[str]:
        """Every experiment's id, remembered: a search for runs must name the experiments to search."""
        if self._experiments is None or refresh:
            self._experiments = self.read_experiments()
        return self._experiments

    def read_experiments(self) -> list[str]:
        everything = {"view_type": "ALL", "max_results": 1000}
        rows = rows_in_pages(
            lambda more: self._tracking.search(f"{API}/experiments/search", {**everything, **more}), "experiments"
        )
        # One more than the limit for searches: above it, each run is read by itself.
        return [str(row.get("experiment_id")) for row in itertools.islice(rows, _MANY_EXPERIMENTS + 1)]


def _run_ids(versions: Mapping[str, object], wanted: Sequence[tuple[Listed, Needs]]) -> list[str]:
    facts = [versions[listed.request.key] for listed, needs in wanted if needs.run]
    return sorted({fact.run_id for fact in facts if isinstance(fact, VersionFacts) and _ID.fullmatch(fact.run_id)})


def _model_ids(models: Mapping[str, object], wanted: Sequence[tuple[Listed, Needs]]) -> list[str]:
    ids = [models[listed.request.key] for listed, needs in wanted if needs.logged_model]
    return sorted({id for id in ids if isinstance(id, str)})


def _only_needed(version: VersionFacts | Absent | Unreadable, needs: Needs) -> VersionFacts | Absent | Unreadable:
    if not isinstance(version, VersionFacts):
        return version
    return replace(version, tags={key: value for key, value in version.tags.items() if key in needs.tags})


def _run_fact(
    version: VersionFacts | Absent | Unreadable, runs: Mapping[str, Found], needs: Needs
) -> RunFacts | Absent | Unreadable:
    if not isinstance(version, VersionFacts):
        return version
    if not needs.run:
        return Absent(AbsenceCode.NOT_ASKED, "no rule asks for the run")
    if not version.run_id:
        return Absent(AbsenceCode.NO_RUN, "the version names no run")
    if not _ID.fullmatch(version.run_id):
        return Absent(AbsenceCode.RUN_NOT_FOUND, f"{visible_name(version.run_id)} is not the id of a run")
    row = runs[version.run_id]
    return row if isinstance(row, Absent | Unreadable) else run_facts(row, needs)


def _logged_model_fact(
    model: str | Absent | Unreadable, logged: Mapping[str, Found], needs: Needs
) -> LoggedModelFacts | Absent | Unreadable:
    if not isinstance(model, str):
        return model
    if not needs.logged_model:
        return Absent(AbsenceCode.NOT_ASKED, "no rule asks for the logged model")
    row = logged[model]
    return row if isinstance(row, Absent | Unreadable) else logged_model_facts(row, needs)


def _member(answer: Any, field: str) -> Mapping[str, Any]:
    member = answer.get(field) if isinstance(answer, dict) else None
    if not isinstance(member, dict):
        raise Unavailable(f"the registry's answer lacks {field!r}")
    return member


def _chunks(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))


def _quoted(ids: Sequence[str]) -> str:
    return ", ".join(f"'{id}'" for id in ids)
