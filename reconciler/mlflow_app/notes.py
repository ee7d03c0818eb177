"""What an administrator changed without a request, recorded in the transaction that changes it."""

from __future__ import annotations

from typing import Any, Final

from mlflow.store.model_registry.dbmodels.models import SqlModelVersionTag
from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from reconciler.domain.tag_format import decision_tag
from reconciler.domain.told import keeping_ids
from reconciler.mlflow_app import history
from reconciler.mlflow_app.carrying_out import LONGEST_TAG
from reconciler.mlflow_app.changes import Change
from reconciler.mlflow_app.errors import unrecorded
from reconciler.mlflow_app.holders import OURS

_OURS: Final = {OURS: True}
_TAG: Any = SqlModelVersionTag.__table__


def write(connection: Connection, change: Change, decider: str, sentence: str) -> None:
    """Write a row that stays, and a tag on the version, if one is left, where MLflow's UI shows it.

    Raises:
        MlflowException: the change cannot be recorded, so it must not be made (503).
    """
    try:
        _write(connection, change, decider, sentence)
    except SQLAlchemyError as error:
        raise unrecorded() from error


def _write(connection: Connection, change: Change, decider: str, sentence: str) -> None:
    if change.version is not None and change.target is not None:
        _tag(connection, change, decision_tag(change.target), sentence)
    place = (change.workspace, change.model, change.version, change.target)
    history.write(connection, history.Event(history.What.CHANGED, *place, history.by_caller(decider), sentence))


def _tag(connection: Connection, change: Change, key: str, value: str) -> None:
    where = {"workspace": change.workspace, "name": change.model, "version": change.version, "key": key}
    same = [_TAG.c[column] == wanted for column, wanted in where.items()]
    shown = connection.scalar(select(_TAG.c.value).where(*same)) or ""
    value = keeping_ids(value, shown, LONGEST_TAG)
    connection.execute(delete(_TAG).where(*same), execution_options=_OURS)
    connection.execute(insert(_TAG).values(**where, value=value), execution_options=_OURS)
