"""What `db check` reads does not grow with history, nor what `db check --all` holds: counted, never timed."""

from __future__ import annotations

import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, select, text

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.evidence.tables import EvidenceRow
from reconciler.audit.integrity.checking import check
from reconciler.audit.log.filling import take_in
from reconciler.audit.tables import Base, DecisionCheckRow, DecisionRow, OutcomeRow
from tests.postgres import PostgresServer
from tests.store.test_cost import cost
from tests.store.test_log import decide

NEW = 5
Database = Callable[[int], Engine]


@contextmanager
def unguarded(engine: Engine, *tables: str) -> Iterator[Connection]:
    """A transaction in which rows of these tables can be changed; then the triggers are as they were."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            for table in tables:
                connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            yield connection
            for table in tables:
                for trigger in ("no_change", "no_truncate"):
                    connection.execute(text(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{trigger}"))
            return
        triggers = select(text("name, sql FROM sqlite_master")).where(text("type = 'trigger' AND tbl_name = :table"))
        found = [row for table in tables for row in connection.execute(triggers, {"table": table}).all()]
        for name, _ in found:
            connection.execute(text(f"DROP TRIGGER {name}"))
        yield connection
        for _, sql in found:
            connection.exec_driver_sql(sql)


def of_long_ago(engine: Engine, many: int) -> None:
    """As many decisions of the day before yesterday, each with its checks, evidence and outcome, and in the log."""
    decide(engine, 1)
    moments = (("decisions", "decided_at"), ("outcomes", "at"), ("policy_versions", "first_used_at"))
    with unguarded(engine, *(table for table, _ in moments)) as connection:
        decided_at = connection.execute(select(DecisionRow.decided_at)).scalar_one() - timedelta(days=2)
        for name, column in moments:
            connection.execute(Base.metadata.tables[name].update().values({column: decided_at}))
    with engine.begin() as connection:
        ids = [str(uuid.uuid4()) for _ in range(many - 1)]
        for row, key in (
            (DecisionRow, "decision_id"), (DecisionCheckRow, "decision_id"), (EvidenceRow, "evidence_key"),
            (OutcomeRow, "decision_id"),
        ):  # fmt: skip
            copy_for(connection, row, key, ids)
    with unguarded(engine, "log_leaves", "log_nodes") as connection:
        for statement in ("DELETE FROM log_leaves", "DELETE FROM log_nodes"):
            connection.execute(text(statement))
        connection.execute(text("UPDATE log_state SET size = 0, complete = false"))
    take_in(engine)


def copy_for(connection: Connection, row: type[Base], key: str, ids: list[str]) -> None:
    [first] = connection.execute(select(row.__table__)).mappings()
    columns = {name: value for name, value in first.items() if name != "id"}
    more = {"request_key"} if row is DecisionRow else set()
    rows: list[dict[str, Any]] = [{**columns, key: id, **dict.fromkeys(more, id)} for id in ids]
    connection.execute(insert(row), rows)


@pytest.fixture
def database(audit_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    """Makes databases with so many old decisions, and a few of now."""
    made: list[Engine] = []

    def make(many: int) -> Engine:
        url = f"sqlite:///{tmp_path}/{many}.db"
        if not audit_url.startswith("sqlite"):
            server: PostgresServer = request.getfixturevalue("postgres")
            url = server.new_database()
        schema.upgrade(url)
        engine = make_engine(url)
        made.append(engine)
        of_long_ago(engine, many)
        decide(engine, NEW)
        if engine.dialect.name == "postgresql":
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(text("ANALYZE"))
        return engine

    yield make
    for engine in made:
        engine.dispose()


def test_a_check_reads_the_last_day_however_much_is_older(database: Database) -> None:
    few, many = database(300), database(10_000)
    for engine in (few, many):
        found = check(engine)
        # Each decision and its outcome, that a daemon runs, and what it watches.
        assert (found.faults, found.clocks, found.entries) == ((), (), 2 * NEW + 2)
    before, after = (cost(engine, lambda engine=engine: check(engine)) for engine in (few, many))
    assert after <= before * 2


def test_a_check_of_everything_holds_a_part_at_a_time(database: Database) -> None:
    def peak(engine: Engine) -> int:
        tracemalloc.start()
        found = check(engine, everything=True)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (found.faults, found.clocks) == ((), ())
        return held

    few, many = peak(database(600)), peak(database(2_400))
    assert many <= few * 1.5
