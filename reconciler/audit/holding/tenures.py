"""What is on record of the versions that hold a target now: since when, for how long, and who had asked for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, select, text

from reconciler.audit.holding.arrivals import open_tenures_of
from reconciler.audit.holding.tables import LookRow, ObservationRow
from reconciler.audit.statements import Served
from reconciler.audit.tables import UtcMillis, db_now
from reconciler.domain.evidence.tenure_facts import TimeHeld
from reconciler.domain.holding.baselines import Holding
from reconciler.domain.place import Place
from reconciler.domain.request import NOBODY, Request, Requester
from reconciler.domain.target import Target
from reconciler.fleet import Known, OnRecord

# A model that was renamed more often is followed no further.
_NAMES: Final = 20
# From what holds now, however long history is.
_OPEN: Final = text("""
SELECT t.model, t.version, t.target, t.first_seen_with, t.began_by, t.decision_id, d.request
FROM holders h JOIN tenures t ON t.tenure_id = h.tenure_id
LEFT JOIN decisions d ON d.decision_id = t.decision_id
WHERE h.registry = :registry AND h.workspace = :workspace AND t.first_seen_without IS NULL
""").columns(first_seen_with=UtcMillis())


def open_tenures(connection: Connection, served: Served) -> OnRecord:
    rows = connection.execute(_OPEN, served.columns)
    return {
        (row.model, row.version, row.target): Known(
            row.first_seen_with, row.began_by or "", row.decision_id or "", _requester(row.request)
        )
        for row in rows
    }


def _requester(request: str | None) -> Requester:
    if request is None:
        return NOBODY
    try:
        return Request.from_data(json.loads(request)).requester
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return NOBODY


# --- for how long --------------------------------------------------------------------------------------------


def times_held(connection: Connection, served: Served, holdings: Sequence[Holding]) -> dict[Place, TimeHeld]:
    """Of each of these with an open tenure, governed or only watched: from the first look that saw it to the last.

    All times are the database's, so that nobody else's clock counts.
    """
    tenures = open_tenures_of(connection, served, holdings)
    if not tenures:
        return {}
    now = db_now().label("now")
    looks = connection.execute(select(LookRow.__table__, now).where(served.among(LookRow))).one_or_none()
    return {place: _time_held(connection, row.tenure_id, place.target, looks) for place, row in tenures.items()}


def _time_held(connection: Connection, tenure_id: int, target: Target, looks: Any) -> TimeHeld:
    since = _first_seen(connection, tenure_id)
    if since is None or looks is None:
        return TimeHeld(True, why="the looks are not on record")
    as_of = looks.stages_as_of if target.is_stage else looks.aliases_as_of
    # The look that saw it first may not be kept yet.
    seen_at = since if as_of is None else max(since, as_of)
    return TimeHeld(True, since, seen_at, looks.now, tenure_id)


def _first_seen(connection: Connection, tenure_id: int) -> datetime | None:
    """From history, which nobody can change unseen; a tenure goes on under a model's new name."""
    row, since = ObservationRow, None
    id: int | None = tenure_id
    for _ in range(_NAMES):
        found = connection.execute(select(row.at, row.continues_id).where(row.id == id)).one_or_none()
        if found is None:
            break
        since, id = found.at, found.continues_id
        if id is None:
            break
    return since
