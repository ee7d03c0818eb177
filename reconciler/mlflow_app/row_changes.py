"""What protected things the rows of a flush would change, under the lock of their models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
from reconciler.mlflow_app.protected_tags import ProtectedTags, is_prompt
from reconciler.mlflow_app.rows import Row

_BY_NAME: Final[dict[type, str]] = {
    SqlRegisteredModelAlias: "alias", SqlModelVersionTag: "key", SqlRegisteredModelTag: "key"
}  # fmt: skip
_TAGS: Final = frozenset({SqlModelVersionTag, SqlRegisteredModelTag})
_FREE_COLUMNS: Final = frozenset({"description", "last_updated_time"})
_KEY_COLUMNS: Final = frozenset({"workspace", "name"})


@dataclass
class LockedHolders:
    """Which version holds what in this transaction; each model is locked and read once a flush."""

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
    """Args: targets, tags: the protected ones."""

    def __init__(self, targets: Targets, tags: ProtectedTags) -> None:
        self._targets = targets
        self._tags = tags

    def changes(self, rows: list[Row], connection: Connection) -> list[Change]:
        """Lock the models of the rows that matter, and read which versions hold what; most flushes have none."""
        watched = [row for row in rows if self._matters(row)]
        if not watched:
            return []
        holders = LockedHolders(connection, self._targets)
        holders.lock(row.model for row in watched if _needs_holders(row))
        return list(self._changes(watched, rows, holders))

    def taken_for_ours(self, rows: list[Row], connection: Connection) -> Iterator[Change]:
        """After the flush: what the database's own collation treats as equal to a protected name, though we do not.

        MySQL and SQL Server treat `champıon` or `tranßition_…` as equal to our names, each collation in its own way.
        """
        for row in rows:
            kind = type(row.item)
            if row.is_deleted or kind not in _BY_NAME or row.stored[_BY_NAME[kind]].isascii():
                continue
            table, column = kind.__table__, kind.__table__.c[_BY_NAME[kind]]
            mine = [table.c[key] == value for key, value in row.stored.items()]
            for found, taken_for, conditions in self._names_of_ours(kind, column, row.stored[column.key]):
                if connection.scalar(select(1).where(*mine, *conditions)) is not None:
                    what = f"Writing {visible_name(row.stored[column.key])}, which the database takes for {taken_for},"
                    yield Change(found, what, *row.model, None, None, "choose a name in ASCII letters")

    def _names_of_ours(self, kind: type, column: Any, name: str) -> Iterator[tuple[Kind, str, list[Any]]]:
        yield Kind.TAG, "a name of ours", [self._named_like_ours(kind, column)]
        # What it has was judged before the flush, and may be spelled with other letters.
        if kind in _TAGS and self._tags.keys and not self._tags.has(name):
            yield Kind.PROTECTED_TAG, "a protected tag", [self._tags.taken_for(column)]

    def _named_like_ours(self, kind: type, column: Any) -> Any:
        if kind is SqlRegisteredModelAlias:
            return column.in_([target.name for target in self._targets if not target.is_stage])
        if kind is SqlRegisteredModelTag:
            return column == IS_PROMPT_TAG_KEY
        targets = {*self._targets, *(Target.parse(stage) for stage in STAGES)}
        keys = [tag(target) for target in targets for tag in (request_tag, decision_tag)]
        return or_(column.in_(keys), *(column.like(f"{prefix}%") for prefix in (REQUEST_PREFIX, DECISION_PREFIX)))

    def _matters(self, row: Row) -> bool:
        """False for rows that reach neither a holder nor one of our tags: most of what a registry writes."""
        kind = type(row.item)
        if kind is SqlRegisteredModel:
            return row.is_deleted or (not row.is_new and bool(row.changed & _KEY_COLUMNS))
        if kind is SqlModelVersion:
            if row.is_new:
                return self._stage(row.will_be("current_stage")) is not None
            return row.is_deleted or bool(row.changed - _FREE_COLUMNS)
        if kind is SqlRegisteredModelAlias:
            return self._alias(row) is not None
        return _reserves(row) or any(map(self._tags.has, _spellings(row, "key")))

    def _changes(self, rows: list[Row], every: list[Row], holders: LockedHolders) -> Iterator[Change]:
        created = {row.model: _marks_a_prompt(row.model, every) for row in every if _creates(row)}
        models = {row.model for row in rows if type(row.item) is SqlRegisteredModel}
        for row in rows:
            kind = type(row.item)
            if kind is SqlRegisteredModel:
                yield from self.of_whole_model(row.model, _after(row), holders)
            elif row.model in models and _goes_with_its_model(row):
                continue  # the model has been judged
            elif kind is SqlModelVersion:
                yield from self._version_changes(row, holders)
            elif kind is SqlRegisteredModelAlias:
                yield from self._alias_changes(row, holders)
            else:
                yield from self._tag_changes(row, holders, created)

    def _tag_changes(self, row: Row, holders: LockedHolders, created: Mapping[Model, bool]) -> Iterator[Change]:
        """`created`: the models of this flush that are new, and whether they are prompts."""
        if any(map(self._tags.has, _spellings(row, "key"))):
            # Who deletes or renames the model at the same moment waits, and finds the tag.
            holders.lock([row.model])
            of_prompt = created[row.model] if row.model in created else is_prompt(holders.connection, row.model)
            yield from self._tags.changes(row, of_prompt)
        if not _reserves(row):
            return
        if type(row.item) is SqlModelVersionTag:
            yield from _our_tag_changes(row)
        elif row.model not in created:
            yield from _prompt_changes(row)

    def of_whole_model(self, model: Model, after: Model | None, holders: LockedHolders) -> Iterator[Change]:
        """What deleting a model changes, or giving it another name or workspace (`after`), with all that is on it."""
        for version, held in sorted(holders.held(model).items()):
            for target in sorted(held):
                if after is None:
                    what = f"Deleting a model with a version that holds {target}"
                    yield whole(Kind.MODEL, what, model, None, target)
                else:
                    yield moved(model, after, version, target)
        yield from self._tags.lost_with_model(holders.connection, model, after)

    def _version_changes(self, row: Row, holders: LockedHolders) -> Iterator[Change]:
        model, version = row.model, row.stored["version"]
        held = holders.held(model).get(version, frozenset())
        into = None if row.is_deleted else self._stage(row.will_be("current_stage"))
        moves = "current_stage" in row.changed
        gone = row.is_deleted or (moves and row.will_be("current_stage") == STAGE_DELETED_INTERNAL)
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
        if gone:
            yield from self._tags.lost_with_version(holders.connection, model, version)

    def _moved_out(self, row: Row, held: Target) -> Change:
        stage, version = row.will_be("current_stage"), row.stored["version"]
        wanted = Target.parse(stage)
        what = f"Moving a version out of {held}" if held.is_stage else f"Moving the version that holds {held}"
        return Change(Kind.TARGET, what, *row.model, version, held, how_to_ask(row.model.name, str(version), wanted))

    def _alias_changes(self, row: Row, holders: LockedHolders) -> Iterator[Change]:
        target = self._alias(row)
        if target is None:
            return
        holders.lock([row.model])
        alias = row.stored["alias"]
        if row.is_deleted:
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


def _after(row: Row) -> Model | None:
    """The name and workspace that a model will have; None: it is deleted."""
    return None if row.is_deleted else Model(row.will_be("workspace"), row.will_be("name"))


def _creates(row: Row) -> bool:
    return type(row.item) is SqlRegisteredModel and row.is_new


def _marks_a_prompt(model: Model, rows: Iterable[Row]) -> bool:
    """Whether one of the rows makes this new model a prompt."""
    marks = (row for row in rows if type(row.item) is SqlRegisteredModelTag and row.model == model)
    return any(row.will_be("key") == IS_PROMPT_TAG_KEY and row.will_be("value") == "true" for row in marks)


def _goes_with_its_model(row: Row) -> bool:
    """Whether it is deleted, renamed or moved as its model is, and nothing else of it changes."""
    return row.is_deleted or (not row.is_new and row.changed <= _KEY_COLUMNS | {"last_updated_time"})


def _reserves(row: Row) -> bool:
    """Whether this tag is one of ours, or the mark of a prompt."""
    if type(row.item) is SqlModelVersionTag:
        return any(map(is_our_tag, _spellings(row, "key")))
    return any(folded(key) == IS_PROMPT_TAG_KEY for key in _spellings(row, "key"))


def _spellings(row: Row, column: str) -> set[str]:
    """A key column's value in the database now, and after the flush."""
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


def _our_tag_changes(row: Row) -> Iterator[Change]:
    if row.is_new or row.is_deleted or row.changed & {"key", "value", "version"}:
        verb = "Deleting" if row.is_deleted else "Writing"
        what = f"{verb} the tag {visible_name(row.stored['key'])} by hand"
        yield Change(Kind.TAG, what, *row.model, None, None, USE_THE_CALLS)


def _prompt_changes(row: Row) -> Iterator[Change]:
    what = f"Changing the tag {IS_PROMPT_TAG_KEY} of an existing model"
    yield Change(Kind.PROMPT, what, *row.model, None, None, "a model and a prompt cannot become each other")
