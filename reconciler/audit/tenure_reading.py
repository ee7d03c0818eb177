"""What is on record of the versions that hold a target now: since when, and who had asked for them."""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy import Connection, text

from reconciler.audit.statements import Served
from reconciler.audit.tables import UtcMillis
from reconciler.domain.request import NOBODY, Request, Requester
from reconciler.fleet import Known, OnRecord

# From what holds now, however long history is.
_OPEN: Final = text("""
SELECT t.model, t.version, t.target, t.first_seen_with, t.began_by, t.decision_id, d.request
FROM holders h JOIN tenures t ON t.tenure_id = h.tenure_id
LEFT JOIN decisions d ON d.decision_id = t.decision_id
WHERE h.registry = :registry AND h.workspace = :workspace AND t.first_seen_without IS NULL
""").columns(first_seen_with=UtcMillis())


def open_tenures(connection: Connection, served: Served) -> OnRecord:
    rows = connection.execute(_OPEN, {"registry": served.registry, "workspace": served.workspace})
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
