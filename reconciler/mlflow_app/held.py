"""What holds the targets that a daemon governs, in the groups of models that differ from what it knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlflow.prompt.constants import IS_PROMPT_TAG_KEY
from mlflow.store.model_registry.dbmodels.models import (
    SqlModelVersion,
    SqlRegisteredModel,
    SqlRegisteredModelAlias,
    SqlRegisteredModelTag,
)
from sqlalchemy import Connection, and_, literal, select

from reconciler.domain.holder_groups import GROUPS, HeldRow, digest_of, in_groups, split_digests
from reconciler.domain.target import Target

_VERSION, _MODEL = SqlModelVersion.__table__, SqlRegisteredModel.__table__
_ALIAS, _TAG = SqlRegisteredModelAlias.__table__, SqlRegisteredModelTag.__table__

# Levels are asked for model by model, so a caller who knows nothing gets a large registry in parts.
_SECONDS: Final = 2.0


def rows_of(connection: Connection, workspace: str, targets: Sequence[Target]) -> list[HeldRow]:
    """Every version that holds one of these targets; no prompts."""
    stages = [target.name for target in targets if target.is_stage]
    aliases = [target.name for target in targets if not target.is_stage]
    rows: list[Any] = []
    if stages:
        by_stage = select(_VERSION.c.name, _VERSION.c.version, _VERSION.c.current_stage, _VERSION.c.creation_time)
        rows += connection.execute(
            by_stage.where(_VERSION.c.workspace == workspace, _VERSION.c.current_stage.in_(stages))
        )
    if aliases:
        prompts = select(_TAG.c.name).where(
            _TAG.c.workspace == workspace, _TAG.c.key == IS_PROMPT_TAG_KEY, _TAG.c.value == "true"
        )
        same = and_(_MODEL.c.workspace == _ALIAS.c.workspace, _MODEL.c.name == _ALIAS.c.name)
        named = literal("@") + _ALIAS.c.alias
        by_alias = select(_ALIAS.c.name, _ALIAS.c.version, named, _MODEL.c.creation_time).join(_MODEL, same)
        wanted = (_ALIAS.c.workspace == workspace, _ALIAS.c.alias.in_(aliases), _ALIAS.c.name.not_in(prompts))
        rows += connection.execute(by_alias.where(*wanted))
    return [HeldRow(name, str(version), target, created) for name, version, target, created in rows]


@dataclass(frozen=True, slots=True)
class Group:
    number: int
    digest: str
    rows: Sequence[HeldRow]


class HeldAnswer:
    """An answer in the making.

    A digest covers all rows of a group, whatever the caller may read: it says that something changed, and not what.
    """

    def __init__(self, rows: Sequence[HeldRow], known: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._groups = in_groups(rows)
        self._known = split_digests(known) or [""] * GROUPS
        self._clock = clock
        self._told: list[dict[str, Any]] = []
        self._more = False

    def differing(self) -> Iterator[Group]:
        """The groups that the caller does not know; at least one, and no others once the time is used up."""
        ends = self._clock() + _SECONDS
        for number, rows in enumerate(self._groups):
            digest = digest_of(rows)
            if digest == self._known[number]:
                continue
            if self._told and self._clock() >= ends:
                self._more = True
                return
            yield Group(number, digest, rows)

    def add(self, group: Group, readable: Sequence[HeldRow]) -> None:
        self._told.append({"group": group.number, "digest": group.digest, "held": [_shown(row) for row in readable]})

    def as_json(self) -> dict[str, Any]:
        return {"groups": self._told, "more": self._more}


def _shown(row: HeldRow) -> dict[str, Any]:
    return {
        "name": row.model,
        "version": row.version,
        "target": row.target,
        "creation_timestamp": row.created,
    }
