"""What the rows of a flush would change that is protected, under the lock of their models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mlflow.entities.model_registry.model_version_stages import STAGE_DELETED_INTERNAL
from mlflow.prompt.constants import IS_PROMPT_TAG_KEY
from mlflow.store.model_registry.dbmodels.models import (
    SqlModelVersion,
    SqlModelVersionTag,
    SqlRegisteredModel,
    SqlRegisteredModelAlias,
    SqlRegisteredModelTag,
)
from sqlalchemy import Connection, or_, select

from reconciler.domain.tag_format import DECISION_PREFIX, REQUEST_PREFIX, decision_tag, request_tag
from reconciler.domain.target import STAGES, Target
from reconciler.domain.text import quoted, visible_name
from reconciler.mlflow_app.changes import (
    USE_THE_CALLS,
    Change,
    Kind,
    Targets,
    first_move_out,
    folded,
    how_to_ask,
    is_our_tag,
    protected_alias,
)
from reconciler.mlflow_app.holders import Holders, Model, holders_of, lock
from reconciler.mlflow_app.rows import Row

_BY_NAME: Final[dict[type, str]] = {
    SqlRegisteredModelAlias: "alias", SqlModelVersionTag: "key", SqlRegisteredModelTag: "key"
}  # fmt: skip
_FREE_COLUMNS: Final = frozenset({"description", "last_updated_time"})
_KEY_COLUMNS: Final = frozenset({"workspace", "name"})


@dataclass
class Look:
    """Who holds what in this transaction, each model locked and read once a flush."""

    connection: Connection
    targets: Targets
    _read: dict[Model, Holders] = field(default_factory=dict)

    def lock(self, models: Iterable[Model]) -> None:
        missing = sorted(set(models) - self._read.keys())
        lock(self.connection, missing)
        for model in missing:
            self._read[model] = holders_of(self.connection, model, self.targets)

    def held(self, model: Model) -> Holders:
        self.lock([model])
        return self._read[model]


class RowChanges:
    """Args: targets: what is protected."""

    def __init__(self, targets: Targets) -> None:
        self._targets = targets

    def changes(self, rows: list[Row], connection: Connection) -> list[Change]:
        """Locks the models of the rows that matter, and reads who holds what; most flushes have none."""
        watched = [row for row in rows if self._matters(row)]
        if not watched:
            return []
        look = Look(connection, self._targets)
        look.lock(row.model for row in watched if _needs_holders(row))
        return list(self._changes(watched, rows, look))

    def taken_for_ours(self, rows: list[Row], connection: Connection) -> Iterator[Change]:
        """After the flush: what the database's own collation holds equal to a protected name, though we do not.

        MySQL and SQL Server hold `champıon` or `tranßition_…` equal to names of ours, each collation in its own way.
        """
        for row in rows:
            kind = type(row.item)
            if row.goes or kind not in _BY_NAME or row.stored[_BY_NAME[kind]].isascii():
                continue
            table, column = kind.__table__, kind.__table__.c[_BY_NAME[kind]]
            mine = [table.c[key] == value for key, value in row.stored.items()]
            if connection.scalar(select(1).where(*mine, self._named_like_ours(kind, column))) is not None:
                what = f"Writing {visible_name(row.stored[column.key])}, which the database takes for a name of ours,"
                yield Change(Kind.TAG, what, *row.model, None, None, "choose a name in plain letters")

    def _named_like_ours(self, kind: type, column: Any) -> Any:
        if kind is SqlRegisteredModelAlias:
            return column.in_([target.name for target in self._targets if not target.is_stage])
        if kind is SqlRegisteredModelTag:
            return column == IS_PROMPT_TAG_KEY
        targets = {*self._targets, *(Target.parse(stage) for stage in STAGES)}
        keys = [tag(target) for target in targets for tag in (request_tag, decision_tag)]
        return or_(column.in_(keys), *(column.like(f"{prefix}%") for prefix in (REQUEST_PREFIX, DECISION_PREFIX)))

    def _matters(self, row: Row) -> bool:
        """False for what reaches neither a holder nor a tag of ours: most of what a registry does."""
        kind = type(row.item)
        if kind is SqlRegisteredModel:
            return row.goes or (not row.is_new and bool(row.changed & _KEY_COLUMNS))
        if kind is SqlModelVersion:
            if row.is_new:
                return self._stage(row.will_be("current_stage")) is not None
            return row.goes or bool(row.changed - _FREE_COLUMNS)
        if kind is SqlRegisteredModelAlias:
            return self._alias(row) is not None
        if kind is SqlModelVersionTag:
            return any(is_our_tag(key) for key in _spellings(row, "key"))
        return any(folded(key) == IS_PROMPT_TAG_KEY for key in _spellings(row, "key"))

    def _changes(self, rows: list[Row], every: list[Row], look: Look) -> Iterator[Change]:
        created = {row.model for row in every if type(row.item) is SqlRegisteredModel and row.is_new}
        models = {row.model for row in rows if type(row.item) is SqlRegisteredModel}
        for row in rows:
            kind = type(row.item)
            if kind is SqlRegisteredModel:
                yield from self._model_changes(row, look)
            elif row.model in models and (row.goes or row.changed <= _KEY_COLUMNS | {"last_updated_time"}):
                continue  # falls or moves with its model, which has been looked at
            elif kind is SqlModelVersion:
                yield from self._version_changes(row, look)
            elif kind is SqlRegisteredModelAlias:
                yield from self._alias_changes(row, look)
            elif kind is SqlModelVersionTag:
                yield from _tag_changes(row)
            elif row.model not in created:
                yield from _prompt_changes(row)

    def _model_changes(self, row: Row, look: Look) -> Iterator[Change]:
        for version, held in sorted(look.held(row.model).items()):
            for target in sorted(held):
                if row.goes:
                    what = f"Deleting a model with a version that holds {target}"
                    yield whole(Kind.MODEL, what, row.model, None, target)
                else:
                    yield moved(row.model, Model(row.will_be("workspace"), row.will_be("name")), version, target)

    def _version_changes(self, row: Row, look: Look) -> Iterator[Change]:
        model, version = row.model, row.stored["version"]
        held = look.held(model).get(version, frozenset())
        into = None if row.goes else self._stage(row.will_be("current_stage"))
        moves = "current_stage" in row.changed
        gone = row.goes or (moves and row.will_be("current_stage") == STAGE_DELETED_INTERNAL)
        if moves and into is not None and into not in held:
            instead = how_to_ask(model.name, str(version), into)
            yield Change(Kind.TARGET, f"Moving a version into {into}", *model, version, into, instead, takes=True)
        for target in sorted(held):
            if gone:
                yield whole(Kind.MODEL, f"Deleting the version that holds {target}", model, None, target)
            elif moves and target != into:
                yield self._moved_out(row, target)
            elif columns := row.changed - _FREE_COLUMNS - {"current_stage"}:
                what = f"Changing {' and '.join(sorted(columns))} of the version that holds {target}"
                yield whole(Kind.TARGET, what, model, version, target)

    def _moved_out(self, row: Row, held: Target) -> Change:
        stage, version = row.will_be("current_stage"), row.stored["version"]
        asked = Target.parse(stage)
        what = f"Moving a version out of {held}" if held.is_stage else f"Moving the version that holds {held}"
        return Change(Kind.TARGET, what, *row.model, version, held, how_to_ask(row.model.name, str(version), asked))

    def _alias_changes(self, row: Row, look: Look) -> Iterator[Change]:
        target = self._alias(row)
        if target is None:
            return
        look.lock([row.model])
        alias = row.stored["alias"]
        if row.goes:
            what = f"Deleting the alias @{alias}"
            yield whole(Kind.TARGET, what, row.model, row.item.version, target)
        else:
            version = row.will_be("version")
            instead = how_to_ask(row.model.name, str(version), target)
            yield Change(Kind.TARGET, f"Setting the alias @{alias}", *row.model, version, target, instead, takes=True)

    def _stage(self, name: str) -> Target | None:
        return next((target for target in self._targets if target.is_stage and target.name == name), None)

    def _alias(self, row: Row) -> Target | None:
        named = (protected_alias(alias, self._targets) for alias in _spellings(row, "alias"))
        return next((target for target in named if target is not None), None)


def _needs_holders(row: Row) -> bool:
    return type(row.item) in {SqlRegisteredModel, SqlModelVersion, SqlRegisteredModelAlias}


def _spellings(row: Row, column: str) -> set[str]:
    """A column of the key as it stands in the database, and as it will."""
    return {str(row.stored[column]), str(row.will_be(column))}


def whole(kind: Kind, what: str, model: Model, version: int | None, target: Target) -> Change:
    return Change(kind, what, model.workspace, model.name, version, target, first_move_out(target))


def moved(before: Model, after: Model, version: int, target: Target) -> Change:
    to = f"to {quoted(after.name)}"
    if before.workspace != after.workspace:
        to = f"to workspace {quoted(after.workspace)}"
    verb = "Renaming" if before.name != after.name else "Moving"
    what = f"{verb} a model with a version that holds {target} {to}"
    return replace(whole(Kind.MODEL, what, before, version, target), moved_to=after)


def _tag_changes(row: Row) -> Iterator[Change]:
    if row.is_new or row.goes or row.changed & {"key", "value", "version"}:
        verb = "Deleting" if row.goes else "Writing"
        what = f"{verb} the tag {visible_name(row.stored['key'])} by hand"
        yield Change(Kind.TAG, what, *row.model, None, None, USE_THE_CALLS)


def _prompt_changes(row: Row) -> Iterator[Change]:
    what = f"Changing the tag {IS_PROMPT_TAG_KEY} of an existing model"
    yield Change(Kind.PROMPT, what, *row.model, None, None, "a model and a prompt cannot become each other")
