"""Protected tags: what a policy rests on and the operator has named is for approvers and administrators to change.

A tag is changed by whatever changes what is read under its key: another value, another key, the end of its version or
model, another name of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from mlflow.entities.model_registry.model_version_stages import STAGE_DELETED_INTERNAL
from mlflow.prompt.constants import IS_PROMPT_TAG_KEY
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlModelVersionTag, SqlRegisteredModelTag
from sqlalchemy import Connection, and_, select

from reconciler.domain.text import visible, visible_name
from reconciler.mlflow_app.changes import Change, Kind, folded
from reconciler.mlflow_app.holders import OURS, Model
from reconciler.mlflow_app.rows import Row

_OURS: Final = {OURS: True}
_ASK: Final = "only approvers and administrators may, so ask one of them"
_OF_MODEL: Final[Any] = SqlRegisteredModelTag.__table__
_OF_VERSION: Final[Any] = SqlModelVersionTag.__table__
_VERSION: Final[Any] = SqlModelVersion.__table__
_IS_THERE: Final = and_(
    _VERSION.c.workspace == _OF_VERSION.c.workspace,
    _VERSION.c.name == _OF_VERSION.c.name,
    _VERSION.c.version == _OF_VERSION.c.version,
    # MLflow keeps the tags of a version that was deleted, and shows them nowhere.
    _VERSION.c.current_stage != STAGE_DELETED_INTERNAL,
)
# A value may have 100,000 characters, and is told in one line.
_LONGEST_VALUE: Final = 100


@dataclass(frozen=True)
class ProtectedTags:
    """The keys that are protected, on registered models (prompts too) and on their versions alike."""

    keys: frozenset[str] = frozenset()

    @cached_property
    def _folded(self) -> frozenset[str]:
        return frozenset(map(folded, self.keys))

    def has(self, key: str) -> bool:
        """Whether this is one of the keys, or a database that ignores case, accents or end blanks might say so."""
        return folded(key) in self._folded

    def taken_for(self, column: Any) -> Any:
        """The condition that the database itself takes what is in this column for one of the keys."""
        return column.in_(sorted(self.keys))

    def changes(self, row: Row, of_prompt: bool) -> Iterator[Change]:
        """What writing this row, of a tag, changes."""
        keys = [key for key in dict.fromkeys([str(row.stored["key"]), str(row.will_be("key"))]) if self.has(key)]
        if keys:
            verb = "Setting" if row.is_new else "Deleting" if row.is_deleted else "Changing"
            change = _change(verb, keys, row.model, row.stored.get("version"))
            yield replace(change, values=_values(row), of_prompt=of_prompt)

    def lost_with_version(self, connection: Connection, model: Model, version: int) -> Iterator[Change]:
        """What deleting a version takes away. The model is locked: who writes a tag there has done so, or waits."""
        where = _OF_VERSION.c.version == version
        yield from self._lost(connection, model, "Deleting a version with", [self._on_versions(model).where(where)])

    def lost_with_model(self, connection: Connection, model: Model, after: Model | None) -> Iterator[Change]:
        """What deleting a model takes away from its name, or giving it another name or workspace (`after`)."""
        of_model = select(_OF_MODEL.c.key).where(
            _OF_MODEL.c.workspace == model.workspace,
            _OF_MODEL.c.name == model.name,
            self.taken_for(_OF_MODEL.c.key),
        )
        verb = "Deleting" if after is None else "Renaming" if after.name != model.name else "Moving"
        for change in self._lost(connection, model, f"{verb} a model with", [of_model, self._on_versions(model)]):
            yield change if after is None else replace(change, moved_to=after)

    def _on_versions(self, model: Model) -> Any:
        here = _OF_VERSION.c.workspace == model.workspace, _OF_VERSION.c.name == model.name
        return select(_OF_VERSION.c.key).join(_VERSION, _IS_THERE).where(*here, self.taken_for(_OF_VERSION.c.key))

    def _lost(self, connection: Connection, model: Model, verb: str, reads: Iterable[Any]) -> Iterator[Change]:
        if not self.keys:
            return
        # Locking, since MySQL's repeatable read would show the tags as they were when the transaction began.
        locking = [read.with_for_update(read=True) for read in reads]
        keys = sorted({key for read in locking for key in connection.scalars(read, execution_options=_OURS)})
        if keys:
            yield replace(_change(verb, keys, model, None), of_prompt=is_prompt(connection, model))


def is_prompt(connection: Connection, model: Model) -> bool:
    """Whether this is a prompt, to which other people may have rights than to a model of the same name."""
    mark = select(_OF_MODEL.c.value).where(
        _OF_MODEL.c.workspace == model.workspace, _OF_MODEL.c.name == model.name, _OF_MODEL.c.key == IS_PROMPT_TAG_KEY
    )
    return bool(connection.scalar(mark) == "true")


def _change(verb: str, keys: list[str], model: Model, version: int | None) -> Change:
    named = " and ".join(map(visible_name, keys))
    what = f"{verb} the protected tag{'s' if len(keys) > 1 else ''} {named}"
    return Change(Kind.PROTECTED_TAG, what, *model, version, None, _ASK)


def _values(row: Row) -> str:
    """What the tag said, and what it says now: a sentence for the note."""
    before, after = _shown(row.was("value")), _shown(row.will_be("value"))
    if row.is_new:
        return f"It says {after}."
    return f"It said {before}." if row.is_deleted else f"It said {before}, and says {after}."


def _shown(value: Any) -> str:
    return f"'{visible(str(value or ''), _LONGEST_VALUE)}'"
