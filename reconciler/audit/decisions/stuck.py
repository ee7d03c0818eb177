"""What fails again and again, with the words of the refusal."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Select, literal, null, select, union_all

from reconciler.audit.statements import Served, decision_of_pending, now_after
from reconciler.audit.tables import DecisionRow, OpenRequestRow, PendingActRow, UnreadListRow
from reconciler.ports import Stuck

# Stuck: the same failure this many times in a row, or no success for this long.
_TIMES = 3
_FOR = timedelta(minutes=10)


def stuck(connection: Connection, served: Served | None = None) -> list[Stuck]:
    """Decisions not carried out, requests not judged and lists not read, the longest-failing first.

    Of one registry and workspace, or of all (None).
    """
    each = ((_DECISIONS, DecisionRow), (_REQUESTS, OpenRequestRow), (_LISTS, UnreadListRow))
    mine = [query if served is None else query.where(served.among(table)) for query, table in each]
    found = connection.execute(union_all(*(_failing(query) for query in mine)))
    return sorted((Stuck(*row) for row in found), key=lambda item: item.since)


def _failing(query: Select[Any]) -> Select[Any]:
    columns = query.selected_columns
    return query.where((columns.failures >= _TIMES) | (columns.failing_since <= now_after(-_FOR)))


_DECISIONS: Any = select(
    literal("decision").label("kind"),
    DecisionRow.decision_id,
    DecisionRow.registry,
    DecisionRow.workspace,
    DecisionRow.model,
    DecisionRow.version,
    DecisionRow.target,
    PendingActRow.failing_since,
    PendingActRow.failures,
    PendingActRow.last_detail,
).join(PendingActRow, decision_of_pending())
_REQUESTS: Any = select(
    literal("request").label("kind"),
    null().label("decision_id"),
    OpenRequestRow.registry,
    OpenRequestRow.workspace,
    OpenRequestRow.model,
    OpenRequestRow.version,
    OpenRequestRow.target,
    OpenRequestRow.failing_since,
    OpenRequestRow.failures,
    OpenRequestRow.waiting_detail,
)
_LISTS: Any = select(
    literal("list").label("kind"),
    null().label("decision_id"),
    UnreadListRow.registry,
    UnreadListRow.workspace,
    literal("").label("model"),
    literal("").label("version"),
    UnreadListRow.target,
    UnreadListRow.failing_since,
    UnreadListRow.failures,
    UnreadListRow.said,
)
