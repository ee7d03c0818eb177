"""What holds the targets that a daemon governs, in the groups of models that differ from what it knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from typing import Any, Final

from mlflow.prompt.constants import IS_PROMPT_TAG_KEY
from mlflow.store.model_registry.dbmodels.models import (
    SqlModelVersion,
    SqlRegisteredModel,
    SqlRegisteredModelAlias,
    SqlRegisteredModelTag,
)
from sqlalchemy import Connection, and_, literal, select

from reconciler.domain.holding.groups import GROUPS, HeldRow, digest_of, in_groups, split_digests
from reconciler.domain.target import Target

_VERSION, _MODEL = SqlModelVersion.__table__, SqlRegisteredModel.__table__
_ALIAS, _TAG = SqlRegisteredModelAlias.__table__, SqlRegisteredModelTag.__table__

# Levels are asked for model by model, so a caller who knows nothing gets a large registry in parts.
_SECONDS: Final = 2.0


def rows_of(
    connection: Connection, workspace: str, targets: Sequence[Target], *, of_prompts: bool = False
) -> list[HeldRow]:
    """Every version that holds one of these targets. `of_prompts`: also those of prompts."""
    stages = [target.name for target in targets if target.is_stage]
    aliases = [target.name for target in targets if not target.is_stage]
    rows: list[HeldRow] = []
    if stages:
        by_stage = select(_VERSION.c.name, _VERSION.c.version, _VERSION.c.current_stage, _VERSION.c.creation_time)
        wanted = (_VERSION.c.workspace == workspace, _VERSION.c.current_stage.in_(stages))
        rows += _held(connection.execute(by_stage.where(*wanted)))
    if aliases:
        prompts = select(_TAG.c.name).where(
            _TAG.c.workspace == workspace, _TAG.c.key == IS_PROMPT_TAG_KEY, _TAG.c.value == "true"
        )
        same = and_(_MODEL.c.workspace == _ALIAS.c.workspace, _MODEL.c.name == _ALIAS.c.name)
        named = literal("@") + _ALIAS.c.alias
        by_alias = select(_ALIAS.c.name, _ALIAS.c.version, named, _MODEL.c.creation_time).join(_MODEL, same)
        by_alias = by_alias.where(_ALIAS.c.workspace == workspace, _ALIAS.c.alias.in_(aliases))
        rows += _held(connection.execute(by_alias.where(_ALIAS.c.name.not_in(prompts))))
        if of_prompts:
            rows += _held(connection.execute(by_alias.where(_ALIAS.c.name.in_(prompts))), is_prompt=True)
    return rows


def _held(found: Iterable[Any], *, is_prompt: bool = False) -> Iterator[HeldRow]:
    return (HeldRow(name, str(version), target, created, is_prompt) for name, version, target, created in found)


def unknown_to(
    known: str,
    rows: Sequence[HeldRow],
    readable: Callable[[Set[str]], Set[str]],
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """The groups of rows that a caller does not know; one at least, and no others once the time is used up.

    A digest covers all rows of a group, whatever the caller may read: it says that something changed, and not what.

    Args:
        known: the digests of the groups, as the caller knows them.
        readable: those of these models that the caller may read.
    """
    digests, ends = split_digests(known) or [""] * GROUPS, clock() + _SECONDS
    groups: list[dict[str, Any]] = []
    for number, group in enumerate(in_groups(rows)):
        digest = digest_of(group)
        if digest == digests[number]:
            continue
        if groups and clock() >= ends:
            return {"groups": groups, "more": True}
        models = readable({row.model for row in group})
        held = [_shown(row) for row in group if row.model in models]
        groups.append({"group": number, "digest": digest, "held": held})
    return {"groups": groups, "more": False}


def _shown(row: HeldRow) -> dict[str, Any]:
    return {
        "name": row.model,
        "version": row.version,
        "target": row.target,
        "creation_timestamp": row.created,
        **({"is_prompt": True} if row.is_prompt else {}),
    }
