"""What a flush is about to write, row by row, read from SQLAlchemy's own bookkeeping."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from mlflow.store.model_registry.dbmodels.models import (
    SqlModelVersion,
    SqlModelVersionTag,
    SqlRegisteredModel,
    SqlRegisteredModelAlias,
    SqlRegisteredModelTag,
)
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun
from mlflow.utils.workspace_utils import DEFAULT_WORKSPACE_NAME
from sqlalchemy import inspect
from sqlalchemy.orm import Session

from reconciler.mlflow_app.holders import Model

REGISTRY = frozenset(
    {SqlRegisteredModel, SqlModelVersion, SqlRegisteredModelAlias, SqlModelVersionTag, SqlRegisteredModelTag}
)
TRACKING = frozenset({SqlRun, SqlLoggedModel, SqlExperiment})


class Does(StrEnum):
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Row:
    """One row that a flush writes.

    Attributes:
        stored: the primary key by column, as the database has it now (as it will be, for an insert).
        changed: the columns whose value changes, for an update.
    """

    item: Any
    does: Does
    stored: dict[str, Any]
    changed: frozenset[str]

    @property
    def model(self) -> Model:
        return Model(self.stored["workspace"] or DEFAULT_WORKSPACE_NAME, self.stored["name"])

    @property
    def is_new(self) -> bool:
        return self.does is Does.INSERT

    @property
    def is_deleted(self) -> bool:
        return self.does is Does.DELETE

    def will_be(self, column: str) -> Any:
        return getattr(self.item, column)

    def was(self, column: str) -> Any:
        """The value in the database, for an update or a deletion."""
        before = inspect(self.item).attrs[column].history.deleted
        return before[0] if before else self.will_be(column)


def rows_of(session: Session, classes: frozenset[type]) -> list[Row]:
    """What this session's flush writes to these classes' tables. `before_flush` and `after_flush` see the same."""
    return list(_rows(session, classes))


def _rows(session: Session, classes: frozenset[type]) -> Iterator[Row]:
    for does, items in ((Does.INSERT, session.new), (Does.UPDATE, session.dirty), (Does.DELETE, session.deleted)):
        for item in items:
            if type(item) in classes and (row := _row(item, does)) is not None:
                yield row


def _row(item: Any, does: Does) -> Row | None:
    """None for an object that was touched but has not changed."""
    state = inspect(item)
    changed = _changed(state) if does is Does.UPDATE else frozenset()
    if does is Does.UPDATE and not changed:
        return None
    keys = _keys(state.mapper)
    values = state.identity or [getattr(item, key) for key in keys]
    return Row(item, does, dict(zip(keys, values, strict=True)), changed)


def _changed(state: Any) -> frozenset[str]:
    touched = _columns(state.mapper) - state.unmodified
    return frozenset(key for key in touched if state.attrs[key].history.has_changes())


@cache
def _columns(mapper: Any) -> frozenset[str]:
    return frozenset(column.key for column in mapper.column_attrs)


@cache
def _keys(mapper: Any) -> tuple[str, ...]:
    """The columns of the primary key, in the order of an identity."""
    return tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)
