"""What people did with a version under an earlier name of its model, which no look has seen there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, select, text

from reconciler.audit.holding.tables import HolderRow, UnattributedRow
from reconciler.audit.statements import Served
from reconciler.audit.tables import OpenRequestRow
from reconciler.domain.holding.earlier_names import holds_as
from reconciler.domain.place import Place
from reconciler.domain.target import Target
from reconciler.domain.text import quoted

# A model that was renamed more often between two looks is explained no further.
_NAMES: Final = 20
_HERE: Final = """
    r.registry = :registry AND r.workspace = :workspace AND r.version = :version AND r.target = :target
"""
_NOT_USED: Final = """
    NOT EXISTS (SELECT 1 FROM attributions a JOIN observations p ON p.id = a.observation_id
                WHERE a.resolution_id = r.id AND p.seen = 'held')
"""


def _statement(query: str) -> Any:
    return text(query.format(here=_HERE, not_used=_NOT_USED))


# As `cycle.resolving` found a version under another name than that of its request.
_FOUND_HERE: Final = _statement("""
SELECT r.id, r.model, r.decider, r.decider_assurance, r.resolution FROM resolutions r
WHERE {here} AND r.model <> :model AND r.source = 'seen' AND r.resolution = 'approved' AND r.comment = :said
  AND r.id > COALESCE(:resolutions_to, 0) AND {not_used}
""")
# The app's history has the new name of a holder's model in an administrator's note.
_RENAMED: Final = _statement("""
SELECT r.id, r.model, r.comment FROM resolutions r JOIN observations o ON o.id = :observation
WHERE {here} AND r.source = 'history' AND r.resolution = 'changed' AND r.at >= o.not_since
  AND r.comment LIKE 'Renaming a model with a version that holds %'
ORDER BY r.id DESC
""")
_MOVED: Final = _statement("""
SELECT r.id, r.model, r.decider, r.decider_assurance, r.resolution FROM resolutions r
JOIN observations o ON o.id = :observation
WHERE {here} AND r.model = :model AND r.source = 'history' AND r.at >= o.not_since AND r.id < :before
  AND (r.resolution = 'approved'
       OR (r.resolution = 'changed'
           AND (r.comment LIKE 'Moving a version into %' OR r.comment LIKE 'Setting the alias %')))
  AND {not_used}
ORDER BY r.id DESC LIMIT 1
""")


def resolved_under_an_earlier_name(connection: Connection, row: Any, here: Mapping[str, str]) -> Any:
    """What began an observation (a row of `attribution_queries.BEGINNINGS`) that nothing else explains; or None."""
    place = {**here, "version": row.version, "target": row.target}
    said = {"model": row.model, "said": holds_as(row.model), "resolutions_to": row.resolutions_to}
    found = connection.execute(_FOUND_HERE, place | said).all()
    if len(found) == 1:
        return found[0]
    return _by_notes(connection, row, place)


def _by_notes(connection: Connection, row: Any, place: Mapping[str, Any]) -> Any:
    notes = connection.execute(_RENAMED, {**place, "observation": row.id}).all()
    name, before = row.model, None
    for _ in range(min(len(notes), _NAMES)):
        to = f"that holds {row.target} to {quoted(name)}"
        note = next((one for one in notes if to in one.comment and (before is None or one.id < before)), None)
        if note is None:
            return None
        name, before = note.model, note.id
        asked = {**place, "observation": row.id, "model": name, "before": before}
        if (moved := connection.execute(_MOVED, asked).one_or_none()) is not None:
            return moved
    return None


def begun_elsewhere(connection: Connection, served: Served, key: str) -> list[Place]:
    """What a look has seen, since this open request was on record, of its version's number at its target elsewhere."""
    row, asked = HolderRow, OpenRequestRow
    same = (row.version == asked.version) & (row.target == asked.target) & (row.model != asked.model)
    begun = (UnattributedRow.observation_id == row.tenure_id) & (row.since > asked.first_seen_at)
    query = (
        select(row.name, row.version, row.target)
        .join(asked, served.among(asked) & same)
        .join(UnattributedRow, begun)
        .where(served.among(row), asked.request_key == key)
        .limit(_NAMES)
    )
    return [
        Place(json.loads(name), version, Target.parse(target)) for name, version, target in connection.execute(query)
    ]
