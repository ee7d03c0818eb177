"""Moving evidence that earlier releases kept as text in `decisions` into its table, part by part.

Emptied as it is moved, so that the space is used again and an interruption leaves no second copy; the column goes when
nothing is left in it. Only the owner of the tables can do this: the trigger against changes of decisions is away within
the transaction of a part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Text, bindparam, inspect, literal_column, select, text

from reconciler.audit.log.appending import add_evidence
from reconciler.audit.tables import DecisionRow

_EMPTY = "UPDATE decisions SET evidence = '' WHERE decision_id IN :ids"


def is_left(connection: Connection) -> bool:
    """Whether `decisions` still has the column."""
    return any(found["name"] == "evidence" for found in inspect(connection).get_columns("decisions"))


def move(connection: Connection, decision_ids: Collection[str]) -> None:
    """Moves the evidence of these decisions, where it is still beside them."""
    evidence = literal_column("evidence", Text)
    query = select(DecisionRow.decision_id, evidence).where(DecisionRow.decision_id.in_(decision_ids), evidence != "")
    found = connection.execute(query).all()
    for decision_id, told in found:
        add_evidence(connection, decision_id, told)
    if not found:
        return
    with _changeable(connection):
        emptied = text(_EMPTY).bindparams(bindparam("ids", expanding=True))
        connection.execute(emptied, {"ids": [decision_id for decision_id, _ in found]})


def drop_column(connection: Connection) -> None:
    if is_left(connection):
        connection.execute(text("ALTER TABLE decisions DROP COLUMN evidence"))


@contextmanager
def _changeable(connection: Connection) -> Iterator[None]:
    """Decisions may be changed meanwhile; the triggers are then as they were."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("ALTER TABLE decisions DISABLE TRIGGER decisions_no_change"))
        yield
        connection.execute(text("ALTER TABLE decisions ENABLE ALWAYS TRIGGER decisions_no_change"))
        return
    named = "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = 'decisions_no_update'"
    trigger = connection.scalar(text(named))
    connection.execute(text("DROP TRIGGER decisions_no_update"))
    yield
    connection.exec_driver_sql(str(trigger))
