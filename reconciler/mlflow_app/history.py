"""What became of each request, in the transaction that does it, and numbered in the order of the commits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, insert, literal, literal_column, select, update

from reconciler.domain.decision import decision_id_in
from reconciler.domain.request import Assurance, Requester
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.mlflow_app.holders import OURS
from reconciler.mlflow_app.tables import counter, history

_OURS: Final = {OURS: True}
# The clock of the database, in milliseconds: several servers write one history.
_NOW: Final = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
    "mysql": "CAST(unix_timestamp(sysdate(3)) * 1000 AS SIGNED)",
    "mariadb": "CAST(unix_timestamp(sysdate(3)) * 1000 AS SIGNED)",
}

# Of one part: rows and characters at most, and the characters of a row beside its sentence.
_MOST_ROWS: Final = 1000
_ROOM: Final = 1_000_000
_ROOM_OF_A_ROW: Final = 500


class What(StrEnum):
    FILED = "filed"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    CHANGED = "changed"  # by an administrator, or an approver (a protected tag), without a request

    @classmethod
    def of(cls, activity_type: str) -> What:
        """What an activity of Databricks' wire format has done."""
        return {
            "APPROVED_REQUEST": cls.APPROVED,
            "REJECTED_REQUEST": cls.REJECTED,
            "CANCELLED_REQUEST": cls.WITHDRAWN,
        }[activity_type]


@dataclass(frozen=True, slots=True)
class Event:
    """What was done, where, and by whom. `said`: the comment, or the sentence about an administrator's change."""

    what: What
    workspace: str
    model: str
    version: int | None
    target: Target | None
    by: Requester
    said: str
    request_id: str | None = None


def write(connection: Connection, event: Event) -> None:
    """Write it as the last thing that the transaction does: until the commit, nobody else gets a number.

    So the numbers that a reader sees have no gap that is filled later. Raises SQLAlchemyError.
    """
    decides = event.what in {What.APPROVED, What.REJECTED}
    row = {
        "number": _next_number(connection),
        "at_ms": _now(connection),
        "workspace": event.workspace,
        "model": event.model,
        "version": event.version,
        "target": None if event.target is None else str(event.target),
        "decider": visible_name(event.by.name),
        "sentence": event.said,
        "what": str(event.what),
        "assurance": str(event.by.assurance),
        "request_id": event.request_id,
        "decision_id": decision_id_in(event.said) if decides else None,
    }
    connection.execute(insert(history).values(row), execution_options=_OURS)


def rows_of_decisions(connection: Connection, workspace: str, decision_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The rows that name these decisions, the oldest first."""
    wanted = select(history).where(history.c.workspace == workspace, history.c.decision_id.in_(decision_ids))
    return [dict(row) for row in connection.execute(wanted.order_by(history.c.number)).mappings()]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the history: rows in order, and up to which number there are no others."""

    rows: Sequence[Mapping[str, Any]]
    read_to: int


def rows_after(connection: Connection, workspace: str, number: int) -> Part:
    """The rows behind a number, the oldest first: as many as there is room for, and one at least.

    What is committed up to the counter's number is complete, since it is held until a commit.
    """
    newest: int = connection.execute(select(counter.c.number)).scalar_one()
    behind = select(history).where(history.c.number > number, history.c.number <= newest)
    wanted = behind.where(history.c.workspace == workspace).order_by(history.c.number).limit(_MOST_ROWS)
    rows: list[Mapping[str, Any]] = []
    room = _ROOM
    for row in connection.execute(wanted).mappings():
        room -= len(row["sentence"]) + _ROOM_OF_A_ROW
        if rows and room < 0:
            return Part(rows, rows[-1]["number"])
        rows.append(dict(row))
    return Part(rows, rows[-1]["number"] if len(rows) == _MOST_ROWS else newest)


def _next_number(connection: Connection) -> int:
    connection.execute(update(counter).values(number=counter.c.number + 1), execution_options=_OURS)
    number: int = connection.execute(select(counter.c.number)).scalar_one()
    return number


def _now(connection: Connection) -> Any:
    spelled = _NOW.get(connection.dialect.name)
    return literal_column(spelled) if spelled else literal(round(time.time() * 1000))


def by_caller(name: str) -> Requester:
    return Requester(name, Assurance.AUTHENTICATED if name else Assurance.ASSERTED)
