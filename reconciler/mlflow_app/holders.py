"""Which version holds what, read from MLflow's own tables, and the lock that keeps it true until the commit."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlRegisteredModel, SqlRegisteredModelAlias
from sqlalchemy import Connection, and_, bindparam, func, literal, select, union_all, update

from reconciler.domain.target import Target
from reconciler.mlflow_app.changes import Targets, protected_alias

# Marks a statement of this app, so that the net below the wall lets it through.
OURS: Final = "transition_requests_ours"
_OURS: Final = {OURS: True}

# Some databases refuse a statement with more parameters.
CHUNK: Final = 500


class Model(NamedTuple):
    workspace: str
    name: str


@dataclass(frozen=True, slots=True)
class Permit:
    """The app's own transaction puts it into `session.info[PERMIT]`: it may write our tags on this model's versions.

    `moves`: it resolves a request, and may change the model's targets too. `until` is closed after the transaction.
    """

    model: Model
    moves: bool
    until: contextlib.ExitStack


PERMIT: Final = "transition_requests_permit"


class Holder(NamedTuple):
    model: Model
    version: int


Holders = Mapping[int, frozenset[Target]]

_MODEL, _VERSION, _ALIAS = SqlRegisteredModel.__table__, SqlModelVersion.__table__, SqlRegisteredModelAlias.__table__


def _of(table: Any) -> tuple[Any, Any]:
    return table.c.workspace == bindparam("in_workspace"), table.c.name == bindparam("of_model")


# Built once: most calls only pass through here. The reads lock too (if the database can), since MySQL's repeatable read
# would show the rows as they were when the transaction began.
_ROW = select(_MODEL.c.name).where(*_of(_MODEL)).with_for_update()
_TOUCH = update(_MODEL).where(*_of(_MODEL)).values(name=_MODEL.c.name)
_BY_STAGE = select(_VERSION.c.version, _VERSION.c.current_stage, literal(False)).where(
    *_of(_VERSION), _VERSION.c.current_stage.in_(bindparam("stages", expanding=True))
)
_BY_ALIAS = select(_ALIAS.c.version, _ALIAS.c.alias, literal(True)).where(
    *_of(_ALIAS), _ALIAS.c.alias.in_(bindparam("aliases", expanding=True))
)
_AT_ONCE = (union_all(_BY_STAGE, _BY_ALIAS),)
_LOCKING = (_BY_STAGE.with_for_update(read=True), _BY_ALIAS.with_for_update(read=True))
_ROW_LOCKS: Final = frozenset({"postgresql", "mysql", "mariadb"})


def lock(connection: Connection, models: Iterable[Model]) -> None:
    """Lock these models for the rest of the transaction: others that would change their holders wait.

    If the database cannot lock rows by reading (SQLite, SQL Server), a write that changes nothing locks them.
    """
    statement = _ROW if connection.dialect.name in _ROW_LOCKS else _TOUCH
    for model in sorted(set(models)):
        connection.execute(statement, _named(model), execution_options=_OURS)


def holders_of(connection: Connection, model: Model, targets: Targets) -> Holders:
    """The protected targets that each version of a model holds, by version number."""
    found: dict[int, set[Target]] = defaultdict(set)
    stages, aliases = _names(targets)
    named = {**_named(model), "stages": stages, "aliases": aliases}
    # A database that cannot lock rows is read in one statement.
    for statement in _LOCKING if connection.dialect.name in _ROW_LOCKS else _AT_ONCE:
        for version, name, is_alias in connection.execute(statement, named, execution_options=_OURS):
            target = protected_alias(name, targets) if is_alias else Target.parse(name)
            if target is not None:
                found[version].add(target)
    return {version: frozenset(held) for version, held in found.items()}


_CREATED = func.coalesce(_VERSION.c.creation_time, 0)
_OF_THE_ALIAS = and_(
    _VERSION.c.workspace == _ALIAS.c.workspace, _VERSION.c.name == _ALIAS.c.name, _VERSION.c.version == _ALIAS.c.version
)


def all_holders(connection: Connection, targets: Targets) -> set[tuple[Holder, int]]:
    """Every version that holds something protected, and when it was created (milliseconds since 1970).

    Reads the whole registry: call it at the start only.
    """
    stages, aliases = _names(targets)
    columns = _VERSION.c.workspace, _VERSION.c.name, _VERSION.c.version, _CREATED
    by_stage = select(*columns).where(_VERSION.c.current_stage.in_(stages))
    by_alias = select(*columns).join(_ALIAS, _OF_THE_ALIAS).where(_ALIAS.c.alias.in_(aliases))
    rows = [*connection.execute(by_stage), *connection.execute(by_alias)]
    return {(Holder(Model(workspace, name), version), created) for workspace, name, version, created in rows}


def is_held(targets: Targets, workspace: Any, name: Any, version: Any, created: Any) -> Any:
    """The condition that the version in these columns is still the same and holds something protected."""
    stages, aliases = _names(targets)
    same = (
        _VERSION.c.workspace == workspace, _VERSION.c.name == name, _VERSION.c.version == version, created == _CREATED
    )  # fmt: skip
    by_stage = select(1).where(*same, _VERSION.c.current_stage.in_(stages))
    by_alias = select(1).select_from(_VERSION).join(_ALIAS, _OF_THE_ALIAS).where(*same, _ALIAS.c.alias.in_(aliases))
    return by_stage.exists() | by_alias.exists()


def _names(targets: Targets) -> tuple[list[str], list[str]]:
    """The names of the stages, and those of the aliases."""
    stages = [target.name for target in targets if target.is_stage]
    return stages, [target.name for target in targets if not target.is_stage]


def chunks(values: Iterable[Any]) -> Iterator[Sequence[Any]]:
    ordered = sorted(values)
    return (ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK))


def _named(model: Model) -> dict[str, str]:
    return {"in_workspace": model.workspace, "of_model": model.name}
