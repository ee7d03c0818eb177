"""How decisions stand, read from the tags and holders that an MLflow server shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from reconciler.domain.decision import Decision, decision_id_in
from reconciler.domain.request import Request
from reconciler.domain.tag_format import decision_tag
from reconciler.domain.target import Target
from reconciler.ports import Standing
from reconciler.registry.transport import Transport
from reconciler.registry.versions import Row, quotable, search_versions, tags_of

Place = tuple[str, str]


def place(request: Request) -> Place:
    return request.model, request.version


def place_of(row: Row) -> Place:
    return str(row.get("name", "")), str(row.get("version", ""))


def rows_with_tag(transport: Transport, key: str, decisions: Iterable[Decision]) -> dict[Place, Row]:
    """The versions with this tag, of the models that these decisions are about; names that no filter takes are left."""
    names = sorted({one.request.model for one in decisions if quotable(one.request.model)})
    if not names:
        return {}
    listed = ", ".join(f"'{name}'" for name in names)
    rows = search_versions(transport, f"name IN ({listed}) AND tags.`{key}` LIKE '%'")
    return {place_of(row): row for row in rows}


def decided(transport: Transport, target: Target, decisions: Sequence[Decision]) -> dict[str, Standing]:
    """Only those whose version names this very decision; of the others nothing can be said yet."""
    rows = rows_with_tag(transport, decision_tag(target), decisions)
    standings = {}
    for one in decisions:
        row = rows.get(place(one.request))
        if row and decision_shown(row, target) == one.decision_id:
            standings[one.decision_id] = Standing(open=False, decision_id=one.decision_id)
    return standings


def decision_shown(row: Row, target: Target) -> str | None:
    return decision_id_in(tags_of(row).get(decision_tag(target), ""))


def decision_of(row: Row, target: Target) -> tuple[bool, str]:
    """Whether the version holds the target, and what its decision tag says."""
    return holds(row, target), tags_of(row).get(decision_tag(target), "")


def holds(row: Row, target: Target) -> bool:
    if target.is_stage:
        return row.get("current_stage") == target.name
    return target.name in (row.get("aliases") or [])


def standing_of(row: Row, target: Target, *, open: bool) -> Standing:
    """From a version as `model-versions/get` shows it: a search leaves its aliases out."""
    return Standing(open=open, holds=holds(row, target), decision_id=decision_shown(row, target))
