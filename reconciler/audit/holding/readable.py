"""What the account may read: which models it was shown, and which holders it cannot see any more."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from reconciler.audit.holding.tables import HolderRow, ShownModelsRow
from reconciler.audit.inserting import insert_many
from reconciler.audit.statements import Served


def shown(connection: Connection, served: Served) -> dict[int, str]:
    """As `ports.observations.Known.shown`."""
    query = select(ShownModelsRow.__table__).where(served.among(ShownModelsRow))
    return {row.part: row.digests for row in connection.execute(query)}


def keep_shown(connection: Connection, served: Served, groups: Mapping[int, str]) -> None:
    row = ShownModelsRow
    connection.execute(delete(row).where(served.among(row), row.part.in_(list(groups))))
    insert_many(connection, row, [{**served.columns, "part": part, "digests": text} for part, text in groups.items()])


def hide(connection: Connection, seen: Mapping[int, datetime | None]) -> None:
    """Keeps when these tenures were last seen; None: they are seen again."""
    for tenure_id, last_seen in seen.items():
        connection.execute(update(HolderRow).where(HolderRow.tenure_id == tenure_id).values(last_seen=last_seen))
