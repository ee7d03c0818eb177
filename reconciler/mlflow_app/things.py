"""What a version can be made of in the tracking store: runs, logged models, experiments, and their URIs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun
from sqlalchemy import Connection, select

from reconciler.mlflow_app.holders import OURS, chunks

RUN_ID: Final = re.compile(r"[0-9a-f]{32}")
LOGGED_MODEL_ID: Final = re.compile(r"m-[0-9a-f]{32}")
_OURS: Final = {OURS: True}
_DELETED: Final = "deleted"


class Named(NamedTuple):
    """What a `runs:/` or `models:/m-…` URI names, and a path below it."""

    kind: str
    id: str
    path: str


def named_by(uri: str) -> Named | None:
    """Read as MLflow reads it when it loads a model, whatever the spelling."""
    scheme = urlsplit(uri).scheme
    try:
        if scheme == "runs":
            return Named("run", *RunsArtifactRepository.parse_runs_uri(uri))
    except MlflowException:
        return Named("run", "", uri)
    first = urlsplit(uri).path.lstrip("/").partition("/")[0]
    return Named("logged model", first, "") if scheme == "models" and LOGGED_MODEL_ID.fullmatch(first) else None


class Thing(NamedTuple):
    """A run, logged model or experiment of the tracking store."""

    kind: str
    id: str
    experiment: int
    uri: str | None
    deleted: bool
    source_run: str | None = None


def runs_of(connection: Connection, ids: Iterable[str], held: bool) -> list[Thing]:
    row = SqlRun.__table__
    columns = (row.c.run_uuid, row.c.experiment_id, row.c.artifact_uri, row.c.lifecycle_stage)
    return [
        Thing("run", run, experiment, uri, stage == _DELETED)
        for run, experiment, uri, stage in _rows(connection, columns, row.c.run_uuid, ids, held)
    ]


def logged_models_of(connection: Connection, ids: Iterable[str], held: bool) -> list[Thing]:
    row = SqlLoggedModel.__table__
    columns = (
        row.c.model_id, row.c.experiment_id, row.c.artifact_location, row.c.lifecycle_stage, row.c.source_run_id
    )  # fmt: skip
    return [
        Thing("logged model", model, experiment, uri, stage == _DELETED, source_run)
        for model, experiment, uri, stage, source_run in _rows(connection, columns, row.c.model_id, ids, held)
    ]


def experiments_of(connection: Connection, ids: Iterable[int], held: bool) -> list[Thing]:
    row = SqlExperiment.__table__
    columns = (row.c.experiment_id, row.c.artifact_location, row.c.lifecycle_stage)
    return [
        Thing("experiment", str(id), id, uri, stage == _DELETED)
        for id, uri, stage in _rows(connection, columns, row.c.experiment_id, ids, held)
    ]


def _rows(connection: Connection, columns: Sequence[Any], key: Any, ids: Iterable[Any], held: bool) -> Iterator[Any]:
    for chunk in chunks(set(ids)):
        wanted = select(*columns).where(key.in_(chunk)).order_by(key)
        yield from connection.execute(wanted.with_for_update(read=True) if held else wanted, execution_options=_OURS)
