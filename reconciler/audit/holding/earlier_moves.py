"""Decisions that may have moved a version under an earlier name of its model, which no look has seen there."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from reconciler.audit.evidence.storing import Stored, stored_evidence
from reconciler.audit.holding.attribution_queries import EARLIER_MOVES
from reconciler.audit.holding.looks import HELD, place_of
from reconciler.domain.evidence.evidence import VersionFacts
from reconciler.domain.holding.earlier_names import EarlierMove
from reconciler.domain.holding.tenures import is_another
from reconciler.domain.request import Request
from reconciler.domain.target import Target

# Of all models, the newest before the look: far more than a daemon decides between two looks.
_LOOKED_THROUGH: Final = 1000


def of_another_version(connection: Connection, rows: Sequence[Any]) -> set[tuple[int, str]]:
    """Beginnings, of these observations, each with a decision about a version that was deleted since."""
    decided = [
        (row.id, decision_id, row.created_ms, Target.parse(row.target))
        for row in rows
        for decision_id in {row.decision_id, row.earlier_decision_id}
        if row.seen == HELD and decision_id
    ]
    created = created_of(connection, [decision_id for _, decision_id, *_ in decided])
    return {
        (id, decision_id)
        for id, decision_id, seen, target in decided
        if is_another(created.get(decision_id), seen, target)
    }


def earlier_moves(connection: Connection, rows: Sequence[Any]) -> list[EarlierMove]:
    """Of beginnings that nothing else explains (rows of `attribution_queries.BEGINNINGS`)."""
    found = [(row, *move) for row in rows for move in connection.execute(EARLIER_MOVES, _among_the_last(row))]
    created = created_of(connection, [decision_id for _, decision_id, _ in found])
    return [
        EarlierMove(row.id, place_of(row), decision_id, Request.from_data(json.loads(request)), created[decision_id])
        for row, decision_id, request in found
        if decision_id in created
    ]


def _among_the_last(row: Any) -> dict[str, int]:
    return {"observation": row.id, "newest": _LOOKED_THROUGH}


def created_of(connection: Connection, decision_ids: Collection[str]) -> dict[str, int]:
    """When the versions were created that these decisions rest on, as far as their evidence tells."""
    found = {}
    for decision_id, stored in stored_evidence(connection, set(decision_ids)).items():
        version = stored.document().get(VersionFacts.key) if isinstance(stored, Stored) else None
        created = version.get("creation_timestamp") if isinstance(version, dict) else None
        if isinstance(created, int):
            found[decision_id] = created
    return found
