"""The file `MLmodel` of a version, by the tracking server's own route of the run or logged model that it lies in.

What the registry names is never fetched: it only tells which run or logged model, and which path below it, and that
only where `reconciler.domain.evidence.lineage` finds it proven.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.evidence import (
    Absent,
    Answer,
    Evidence,
    LoggedModelFacts,
    OriginFacts,
    RunFacts,
    SignatureFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.evidence.lineage import path_in_run
from reconciler.domain.evidence.salted import json_text
from reconciler.domain.text import visible
from reconciler.ports import NotFound, RegistryError, Unavailable
from reconciler.registry.errors import NoEndpoint, TooLarge
from reconciler.registry.paging import rows_of
from reconciler.registry.reaching import Unreached
from reconciler.registry.transport import Transport
from reconciler.registry.versions import API

MOST_BYTES: Final = 64 * 1024
_FILE: Final = "MLmodel"
# Of MLflow's own user interface, and by a login like any other route; the first is as old as MLflow 1.
_OF_RUNS: Final = "/get-artifact"
_OF_MODELS: Final = "/ajax-api/2.0/mlflow/logged-models/{id}/artifacts/files"
_LIST_OF_RUNS: Final = f"{API}/artifacts/list"
_LIST_OF_MODELS: Final = f"{API}/logged-models/{{id}}/artifacts/directories"
_ELSEWHERE = "the version's files do not provably lie among those of its run, so no route leads to its MLmodel"
_DATABRICKS = "Databricks documents no route to one file of a run or a logged model"


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a file lies: the route, and what the server is asked there. `label` is for people.

    `listing` is the route of the list in which the file stands, as `listed`.
    """

    label: str
    route: str
    query: tuple[tuple[str, str], ...]
    listing: str
    listing_query: tuple[tuple[str, str], ...] = ()
    listed: str = _FILE
    # The run logged models of MLflow 3: the file may belong to one of them, which the path does not tell.
    may_be_a_models: bool = False


@dataclass
class ModelFiles:
    """Reads each file once for a batch.

    Args:
        tracking: None where the server has no such route.
    """

    tracking: Transport | None
    _read: dict[_Place, Answer] = field(default_factory=dict)

    def signature(self, evidence: Evidence, logged_model: object) -> Answer:
        """The signature of the version that this evidence is about.

        Args:
            logged_model: the id of the one that the version was made from, if it is a text.
        """
        place = _place_of(evidence, logged_model)
        if not isinstance(place, _Place):
            return place
        if self.tracking is None:
            return SignatureFacts("", unclear=_DATABRICKS)
        if place not in self._read:
            self._read[place] = _signature_at(self.tracking, place)
        return self._read[place]


def _place_of(evidence: Evidence, logged_model: object) -> _Place | Answer:
    version, model, run = (evidence.fact(kind) for kind in (VersionFacts, LoggedModelFacts, RunFacts))
    if not isinstance(version, VersionFacts):
        return version
    if isinstance(model, LoggedModelFacts) and isinstance(logged_model, str):
        route, listing = (one.format(id=logged_model) for one in (_OF_MODELS, _LIST_OF_MODELS))
        return _Place(f"logged model {logged_model}, {_FILE}", route, (("artifact_file_path", _FILE),), listing)
    if isinstance(model, Unreadable) or (isinstance(model, Absent) and model.code != AbsenceCode.NO_LOGGED_MODEL):
        return model
    if isinstance(run, Unreadable):
        return run
    path = path_in_run(run, version, evidence.fact(OriginFacts)) if isinstance(run, RunFacts) else None
    if not isinstance(run, RunFacts) or path is None:
        return SignatureFacts("", unclear=f"{_ELSEWHERE}: {visible(version.source, 200) or 'it names none'}")
    file = f"{path}/{_FILE}" if path else _FILE
    its, folder = ("run_id", run.run_id), (("path", path),) if path else ()
    label, query = f"run {run.run_id}, {visible(file, 200)}", (its, ("path", file))
    return _Place(label, _OF_RUNS, query, _LIST_OF_RUNS, (its, *folder), file, may_be_a_models=bool(run.outputs))


def _signature_at(tracking: Transport, place: _Place) -> Answer:
    try:
        raw = tracking.file(place.route, dict(place.query), MOST_BYTES)
    except TooLarge:
        return SignatureFacts(place.label, unclear=f"MLmodel is larger than {MOST_BYTES // 1024} kB")
    except NoEndpoint as error:
        return SignatureFacts(place.label, unclear=str(error))
    except NotFound as error:
        return _missing(place, str(error))
    except RegistryError as error:
        not_listed = _is_not_listed(tracking, place, error)
        return _missing(place, "the server lists none there") if not_listed else Unreadable(str(error))
    return _signature_of(raw, place)


def _missing(place: _Place, detail: str) -> Answer:
    if place.may_be_a_models:
        unclear = f"no MLmodel there; if it is a logged model's, register that one as models:/ID ({detail})"
        return SignatureFacts(place.label, unclear=unclear)
    return Absent(AbsenceCode.NO_MODEL_FILE, f"no MLmodel: {detail}")


def _is_not_listed(tracking: Transport, place: _Place, error: RegistryError) -> bool:
    """Whether the file is certainly not there: older servers answer with a 500 then, and their list tells."""
    if not isinstance(error, Unavailable) or isinstance(error, Unreached):
        return False
    try:
        answer = tracking.get(place.listing, dict(place.listing_query))
        files = rows_of(answer, "files")
    except RegistryError:
        return False
    whole = isinstance(answer, Mapping) and "root_uri" in answer and not answer.get("next_page_token")
    return whole and all(row.get("path") != place.listed for row in files)


def _signature_of(raw: bytes, place: _Place) -> SignatureFacts:
    # Only who reads a file loads a parser of YAML.
    from reconciler.registry.mlmodel import Unclear, signature_in

    digest = hashlib.sha256(raw).hexdigest()
    try:
        inputs, outputs = signature_in(raw)
    except Unclear as error:
        return SignatureFacts(place.label, size=len(raw), sha256=digest, unclear=str(error))
    facts = SignatureFacts(place.label, inputs, outputs, len(raw), digest)
    # Escapes make a text longer.
    if len(json_text(facts.to_data())) > MOST_BYTES:
        unclear = f"the signature is larger than {MOST_BYTES // 1024} kB as it would be kept"
        return SignatureFacts(place.label, size=len(raw), sha256=digest, unclear=unclear)
    return facts
