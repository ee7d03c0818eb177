"""Which requests are for what their version had when they were filed, as far as the record tells."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, exists, not_, or_, select

from reconciler.audit.holding.tables import AttributionRow, HolderRow, UnattributedRow
from reconciler.audit.requests.resolution_tables import ResolutionRow
from reconciler.audit.tables import OpenRequestRow
from reconciler.domain.holding.causes import Cause
from reconciler.ports import Resolution


def _same_place(row: type[HolderRow | ResolutionRow]) -> tuple[ColumnElement[bool], ...]:
    asked = OpenRequestRow
    return (
        row.model == asked.model,
        row.version == asked.version,
        row.target == asked.target,
        row.registry == asked.registry,
        row.workspace == asked.workspace,
    )


# A request and its effect may be seen first in one cycle, in which the look comes before the list is written down: what
# began while a request was open does not count, unless that was another request, which is on record as approved.
_BEGAN_WITHOUT: Final = or_(
    HolderRow.cause != str(Cause.PERSON),
    exists(
        select(UnattributedRow.observation_id).where(
            UnattributedRow.observation_id == HolderRow.tenure_id, not_(UnattributedRow.requested)
        )
    ),
    exists(
        select(AttributionRow.id).where(
            AttributionRow.observation_id == HolderRow.tenure_id, AttributionRow.resolution_id.is_not(None)
        )
    ),
    exists(
        select(ResolutionRow.id).where(
            *_same_place(ResolutionRow),
            ResolutionRow.resolution == str(Resolution.APPROVED),
            ResolutionRow.at >= HolderRow.since,
            ResolutionRow.at < OpenRequestRow.first_seen_at,
        )
    ),
)
# Of a row of open requests.
HELD_BEFORE: Final = exists(
    select(HolderRow.tenure_id).where(
        *_same_place(HolderRow), HolderRow.since < OpenRequestRow.first_seen_at, _BEGAN_WITHOUT
    )
)
