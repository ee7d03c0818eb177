"""Gather evidence for a whole batch of requests in few calls."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.evidence import (
    Absent,
    Answer,
    Evidence,
    Fact,
    LoggedModelFacts,
    Needs,
    OriginFacts,
    RunFacts,
    SignatureFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.text import visible_name
from reconciler.ports import Listed
from reconciler.registry.facts import info_of, logged_model_facts, run_facts
from reconciler.registry.histories import history_page, with_histories
from reconciler.registry.many import Many, RowAnswer
from reconciler.registry.model_files import ModelFiles
from reconciler.registry.models import read_models
from reconciler.registry.origins import Origin, Origins, answered
from reconciler.registry.paging import Row, rows_of
from reconciler.registry.runs import Runs
from reconciler.registry.transport import Transport
from reconciler.registry.versions import API, get_model, get_version, member_of, quoted, version_facts

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# Ids that do not exist.
NO_RUN = "0" * 32
NO_MODEL = f"m-{NO_RUN}"

_NOT_ASKED = Origin(Absent(AbsenceCode.NOT_ASKED, "no rule asks for the logged model"))

Version = VersionFacts | Absent | Unreadable


class EvidenceReader:
    """Reads versions from the registry, runs, logged models and their files from the tracking server.

    Args:
        serves_files: whether the tracking server has a route to one file of a run or a logged model.
    """

    def __init__(self, registry: Transport, tracking: Transport, *, serves_files: bool = True) -> None:
        self._registry = registry
        self._tracking = tracking
        self._serves_files = serves_files
        self._many = Many(tracking)
        self._runs = Runs(tracking, self._many)
        self._origins = Origins(registry)

    def read(self, wanted: Sequence[tuple[Listed, Needs]], now: datetime) -> dict[str, Evidence]:
        """Return evidence by request key. What could not be read is `Unreadable` within it."""
        versions = {listed.request.key: self._version(listed) for listed, _ in wanted}
        origins = {
            listed.request.key: self._origins.of(listed.request, versions[listed.request.key])
            if needs.logged_model
            else _NOT_ASKED
            for listed, needs in wanted
        }
        ids = sorted({origin.model for origin in origins.values() if isinstance(origin.model, str)})
        runs = self._runs.all(_run_ids(versions, wanted), has_logged_models=bool(ids))
        models = self._logged_models(ids)
        registered = read_models(self._registry, wanted)
        found = {
            key: Evidence.of(
                now, _answers(versions[key], origins[key], (runs, models), needs) | registered.get(key, {})
            )
            for key, needs in ((listed.request.key, needs) for listed, needs in wanted)
        }
        files = ModelFiles(self._tracking if self._serves_files else None)
        for key in (listed.request.key for listed, needs in wanted if needs.signature):
            signature = files.signature(found[key], origins[key].model)
            found[key] = found[key].answering(SignatureFacts, signature)
        return with_histories(self._tracking, found, wanted)

    @property
    def registry(self) -> str:
        """The address of the registry."""
        return self._registry.base

    def read_registered_model(self, name: str) -> Row:
        """Raises NotFound if there is no such model."""
        return get_model(self._registry, name)

    @staticmethod
    def run_id_of(version: VersionFacts) -> str | None:
        """The run's id; None if the version names no run, or the name is not a run id."""
        return version.run_id if _ID.fullmatch(version.run_id) else None

    def logged_model_id(self, version: VersionFacts) -> str | Absent | Unreadable:
        """The id of the logged model that the version was made from, through copies of copies."""
        return self._origins.logged_model_id(version)

    def read_experiments(self) -> list[str]:
        return self._many.read_experiments()

    # --- versions --------------------------------------------------------------------------------------------

    def _version(self, listed: Listed) -> Version:
        if listed.version is not None:
            return listed.version
        request = listed.request
        return answered(
            lambda: version_facts(get_version(self._registry, request.model, request.version)),
            Absent(AbsenceCode.VERSION_MISSING, "the registry has no such model version"),
        )

    # --- runs ------------------------------------------------------------------------------------------------

    def search_runs(self, ids: Sequence[str], experiments: Sequence[str]) -> dict[str, RowAnswer]:
        return self._runs.search(ids, experiments)

    def read_run(self, id: str) -> RowAnswer:
        """Raises NotFound if it does not exist."""
        return self._runs.get(id)

    def read_history(self, run_id: str) -> None:
        """A page of a history that has no points. Raises NotFound if there is no such run."""
        history_page(self._tracking, run_id, "none")

    # --- logged models ---------------------------------------------------------------------------------------

    def _logged_models(self, ids: Sequence[str]) -> dict[str, RowAnswer]:
        found = self._many.found(ids, self.search_logged_models)
        return found | self._many.each([id for id in ids if id not in found], self.read_logged_model, _no_logged_model)

    def search_logged_models(self, ids: Sequence[str], experiments: Sequence[str]) -> dict[str, RowAnswer]:
        body = {
            "experiment_ids": experiments,
            "filter": f"model_id IN ({quoted(ids)})",
            "max_results": len(ids),
        }
        rows = rows_of(self._tracking.search(f"{API}/logged-models/search", body), "models")
        return {str(info_of(row).get("model_id")): row for row in rows}

    def read_logged_model(self, id: str) -> RowAnswer:
        """Raises NotFound if it does not exist."""
        model: Row = member_of(self._tracking.get(f"{API}/logged-models/{id}"), "model", dict, "'model'")
        return model


def _no_logged_model(id: str) -> Absent:
    detail = f"the version was made from logged model {visible_name(id)}, which does not exist"
    return Absent(AbsenceCode.LOGGED_MODEL_GONE, detail)


def _run_ids(versions: Mapping[str, object], wanted: Sequence[tuple[Listed, Needs]]) -> list[str]:
    facts = [versions[listed.request.key] for listed, needs in wanted if needs.run]
    return sorted({fact.run_id for fact in facts if isinstance(fact, VersionFacts) and _ID.fullmatch(fact.run_id)})


def _answers(
    version: Version, origin: Origin, found: tuple[Mapping[str, RowAnswer], Mapping[str, RowAnswer]], needs: Needs
) -> dict[type[Fact], Answer]:
    runs, models = found
    answers: dict[type[Fact], Answer] = {
        VersionFacts: version,
        RunFacts: _run_fact(version, origin, runs, needs),
        LoggedModelFacts: _logged_model_fact(origin, models),
    }
    return answers | ({OriginFacts: origin.copy} if origin.copy is not None else {})


def _run_fact(
    version: Version, origin: Origin, runs: Mapping[str, RowAnswer], needs: Needs
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
    if isinstance(row, Absent | Unreadable):
        return row
    return run_facts(row, origin.model if isinstance(origin.model, str) else "")


def _logged_model_fact(origin: Origin, models: Mapping[str, RowAnswer]) -> LoggedModelFacts | Absent | Unreadable:
    if not isinstance(origin.model, str):
        return origin.model
    row = models[origin.model]
    if isinstance(row, Absent | Unreadable):
        return row
    return origin.replaced_by(info_of(row)) or logged_model_facts(row)
