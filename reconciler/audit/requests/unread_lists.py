"""The lists of requests that the last cycle could not read, target by target."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select

from reconciler.audit.inserting import insert_many
from reconciler.audit.statements import Served
from reconciler.audit.tables import UnreadListRow, now_in
from reconciler.domain.text import visible
from reconciler.ports import Unread


def any_unread(connection: Connection, served: Served) -> bool:
    """Whether the last cycle could not read one."""
    return connection.scalar(select(UnreadListRow.target).where(served.among(UnreadListRow)).limit(1)) is not None


def keep_unread(connection: Connection, served: Served, unread: Sequence[Unread]) -> None:
    """Replaces them; one that fails again counts on, if in the same words, and keeps the time of its first failure."""
    here, table = served.among(UnreadListRow), UnreadListRow.__table__
    known = {row.target: row for row in connection.execute(select(table).where(here))}
    if known:
        connection.execute(delete(table).where(here))
    if unread:
        now = now_in(connection)
        rows = [_row(served, item, known.get(str(item.target)), now) for item in unread]
        insert_many(connection, UnreadListRow, rows, only_new=True)


def _row(served: Served, item: Unread, before: Any, now: datetime) -> dict[str, Any]:
    said = visible(item.said)
    return {
        **served.columns,
        "target": str(item.target),
        "said": said,
        "failures": before.failures + 1 if before is not None and before.said == said else 1,
        "failing_since": now if before is None else before.failing_since,
    }
