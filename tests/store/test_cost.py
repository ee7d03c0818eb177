"""What a cycle reads does not grow with the history in the audit database: counted by the databases themselves."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, insert, select, text

from bench.costs import cost, statements
from reconciler.audit.holding.attribution_queries import BEGINNINGS
from reconciler.audit.holding.earlier_moves import earlier_moves
from reconciler.audit.reader import FAILED_SHOWN, AuditReader, DecisionFilter
from reconciler.audit.running.picture import picture_of
from reconciler.audit.store import SqlAuditLog
from reconciler.audit.tables import DecisionRow, OutcomeRow, PendingActRow
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.domain.target import Target
from reconciler.policy.file import parse_policy
from reconciler.ports import GoAhead, NoSuchDecision, Waiting
from tests.builders import REGISTRY, a_request, accuracy_policy
from tests.fake_registry import FakeRegistry

POLICY = accuracy_policy()
HISTORY = 10_000


@pytest.fixture
def cycle(engine: Engine) -> Callable[[], object]:
    """One idle pass after the other by one daemon; the first has read what only a start reads."""
    loaded = parse_policy(POLICY, "policy.yaml")
    in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
    registry = FakeRegistry()
    cycle = Cycle(registry, SqlAuditLog(engine, "test:1", REGISTRY))
    registry.file("fraud", "1")
    cycle.run(in_force, Mode.ENFORCE)
    cycle.run(in_force, Mode.ENFORCE)
    return lambda: cycle.run(in_force, Mode.ENFORCE)


# That the daemon lives, and as of when its look is: one transaction.
HEARTBEAT = ["UPDATE daemons", "UPDATE looks"]


def add_history(engine: Engine, many: int, outcome: str = "applied", **other: str) -> None:
    """As many decisions more, each with this outcome, made from the one that is there, but for these columns."""
    with engine.begin() as connection:
        [first] = connection.execute(select(DecisionRow.__table__).limit(1)).mappings()
        ids = [str(uuid.uuid4()) for _ in range(many)]
        rows = [{**first, **other, "decision_id": id, "request_key": id} for id in ids]
        for row in rows:
            del row["id"]
        connection.execute(insert(DecisionRow), rows)
        done = {"outcome": outcome, "at": first["decided_at"], "detail": "shown"}
        connection.execute(insert(OutcomeRow), [{"decision_id": id, **done} for id in ids])
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))


def test_an_idle_cycle_costs_the_same_whatever_was_decided_before(engine: Engine, cycle: Callable[[], object]) -> None:
    before = cost(engine, cycle)
    assert before > 0
    add_history(engine, HISTORY)
    after = cost(engine, cycle)
    # An index of 10,000 rows is a level deeper.
    assert after <= before * 2
    # PostgreSQL's are of a connection that is new, which reads the first block of every index.
    assert after <= (300 if engine.dialect.name == "sqlite" else 40)


def test_an_idle_cycle_sends_few_statements_and_keeps_writers_waiting_for_its_heartbeat_only(
    engine: Engine, cycle: Callable[[], object]
) -> None:
    sent, locks = statements(engine, cycle), []
    assert len(sent) <= 9
    told = [" ".join(statement.split()[:2]) for statement, rows in sent if not statement.startswith("SELECT")]
    assert told == HEARTBEAT
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            driver: Any = connection.connection.dbapi_connection
        driver.set_trace_callback(lambda statement: locks.append(statement) if "IMMEDIATE" in statement else None)
        cycle()
        assert len(locks) == 1


def test_blocks_are_counted_once_however_many_transactions_read_them(
    engine: Engine, cycle: Callable[[], object]
) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite counts steps")
    add_history(engine, 1_000)
    query = "SELECT count(*) FROM decisions WHERE reason <> ''"
    with engine.connect() as connection:
        [[plan]] = connection.execute(text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}"))
    by_database = plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]

    def read(times: int) -> None:
        for _ in range(times):
            with engine.begin() as connection:
                connection.execute(text(query))

    assert by_database > 0
    assert cost(engine, lambda: read(5)) - cost(engine, lambda: read(2)) == 3 * by_database


def test_a_go_ahead_costs_the_same_whatever_was_decided_about_the_model_before(
    engine: Engine, cycle: Callable[[], object]
) -> None:
    log = SqlAuditLog(engine, "test:1", REGISTRY)
    with engine.begin() as connection:
        [first] = connection.execute(select(DecisionRow.__table__).limit(1)).mappings()
        row = {**first, "decision_id": str(uuid.uuid4()), "request_key": "pending"}
        del row["id"]
        connection.execute(insert(DecisionRow), row)
    log.restore_claims(lambda: False)
    [pending] = log.claim(1, [], everything=True)
    assert log.go_ahead(pending) is GoAhead.YES
    before = cost(engine, lambda: log.go_ahead(pending))
    add_history(engine, HISTORY)
    assert cost(engine, lambda: log.go_ahead(pending)) <= before * 2


def test_status_costs_the_same_whatever_was_decided_before_and_names_the_latest_that_failed(
    engine: Engine, cycle: Callable[[], object]
) -> None:
    reader = AuditReader(engine)
    add_history(engine, 300, "failed")
    # Enough that neither database reads a table as a whole.
    add_history(engine, HISTORY // 5)
    before = cost(engine, lambda: picture_of(reader))
    add_history(engine, HISTORY)
    assert cost(engine, lambda: picture_of(reader)) <= before * 2
    picture = picture_of(reader)
    assert (len(picture["unfinished"]), picture["failed"]) == (FAILED_SHOWN, 300)
    with engine.connect() as connection:
        latest = select(OutcomeRow.decision_id).where(OutcomeRow.outcome == "failed").order_by(OutcomeRow.id.desc())
        assert {row["decision_id"] for row in picture["unfinished"]} == set(
            connection.scalars(latest.limit(FAILED_SHOWN))
        )


@pytest.mark.parametrize(
    "only",
    [
        DecisionFilter(model="fraud", target=Target.parse("Production"), verdict="approve"),
        DecisionFilter(since=datetime(2100, 1, 1, tzinfo=UTC)),
        DecisionFilter(verdict="approve", since=datetime(2100, 1, 1, tzinfo=UTC), target=Target.parse("Production")),
    ],
    ids=["a model", "a period", "a verdict of a period"],
)
def test_a_list_of_few_decisions_and_one_by_the_beginning_of_its_id_cost_the_same_whatever_else_was_decided(
    engine: Engine, cycle: Callable[[], object], only: DecisionFilter
) -> None:
    reader = AuditReader(engine)
    [decision] = reader.decisions(DecisionFilter())
    begins = decision["decision_id"][:18]

    def asked() -> int:
        return cost(engine, lambda: (reader.decisions(only), reader.decision(begins)))

    before = asked()
    add_history(engine, HISTORY, model="churn")
    # What is older than all of it, and newer than none.
    assert asked() <= before * 3
    with pytest.raises(NoSuchDecision):
        reader.decision("ffffffff-ffff-ffff-fff")


def test_decisions_about_other_names_are_looked_for_among_the_newest_only(engine: Engine) -> None:
    """What is asked of a version that nothing explains, since its model may have been renamed."""
    loaded, registry = parse_policy(POLICY, "policy.yaml"), FakeRegistry()
    cycle = Cycle(registry, SqlAuditLog(engine, "test:1", REGISTRY))
    in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
    registry.file("fraud", "1")
    cycle.run(in_force, Mode.ENFORCE)
    add_history(engine, 2_000)

    def asked() -> int:
        registry.accuracy[f"m-{uuid.uuid4()}", "1"] = "0.9"
        name = list(registry.accuracy)[-1][0]
        registry.holders[name, Target.parse("Production")] = "1"
        cycle.run(in_force, Mode.ENFORCE)
        with engine.connect() as connection:
            here = {"registry": REGISTRY, "workspace": "", "after": 0, "most": 100}
            rows = [row for row in connection.execute(BEGINNINGS, here) if row.model == name]
        assert len(rows) == 1

        def moves() -> None:
            with engine.connect() as connection:
                assert earlier_moves(connection, rows) == []

        return cost(engine, moves)

    before = asked()
    add_history(engine, HISTORY)
    assert 0 < asked() <= before * 2


def test_a_start_finds_what_lost_its_claim_in_all_of_history(engine: Engine, cycle: Callable[[], object]) -> None:
    add_history(engine, HISTORY)
    with engine.begin() as connection:
        lost = sorted(connection.scalars(select(DecisionRow.decision_id)))[::2500]
        connection.execute(text("DROP TRIGGER IF EXISTS outcomes_no_delete") if engine.dialect.name == "sqlite"
                           else text("ALTER TABLE outcomes DISABLE TRIGGER outcomes_no_change"))  # fmt: skip
        connection.execute(OutcomeRow.__table__.delete().where(OutcomeRow.decision_id.in_(lost)))
    log = SqlAuditLog(engine, "test:2", REGISTRY)
    log.restore_claims(lambda: False)
    with engine.connect() as connection:
        assert sorted(connection.scalars(select(PendingActRow.decision_id))) == lost
    assert len(log.claim(100, [], everything=True)) == len(lost)


def test_what_waits_unchanged_is_not_written_again(engine: Engine) -> None:
    log = SqlAuditLog(engine, "test:1", REGISTRY)
    now = datetime(2026, 1, 2, tzinfo=UTC)
    asked = [a_request(f"m{number}", now) for number in range(300)]
    waits = [Waiting(request, "waiting", "metric is missing") for request in asked]
    log.reconcile_open(asked, waits, [])
    with rows_written(engine) as written:
        log.reconcile_open(asked, waits, [])
    assert written == [0]
    with rows_written(engine) as written:
        log.reconcile_open(
            asked, [Waiting(asked[0], "unreadable", "500", timedelta(minutes=1), failed=True), *waits[1:]], []
        )
    assert written == [1]
    with rows_written(engine) as written:
        log.reconcile_open(asked, waits[:1], as_before=[request.key for request in asked[1:]])
    assert written == [1]
    with engine.connect() as connection:
        kept = connection.scalars(text("SELECT DISTINCT waiting_detail FROM open_requests"))
        assert list(kept) == ["metric is missing"]


def test_an_idle_cycle_with_stuck_requests_writes_a_heartbeat_only_however_often_they_were_judged(
    engine: Engine,
) -> None:
    """A daemon that judged them again a moment ago, and waits to do so again."""
    loaded = parse_policy(POLICY, "policy.yaml")
    in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
    registry = FakeRegistry()
    cycle = Cycle(registry, SqlAuditLog(engine, "test:1", REGISTRY))
    for number in range(20):
        registry.file("fraud", str(number), accuracy="0.5")
    for _ in range(2):
        cycle.run(in_force, Mode.OBSERVE)

    def idle() -> None:
        cycle.run(in_force, Mode.OBSERVE)

    # Enough that PostgreSQL does not read the table as a whole.
    add_judgements(engine, 100)
    asked, before = statements(engine, idle), cost(engine, idle)
    written = [statement for statement, rows in asked if not statement.startswith(("SELECT", "WITH")) and rows]
    assert [" ".join(statement.split()[:2]) for statement in written] == HEARTBEAT
    add_judgements(engine, 500)
    assert len(statements(engine, idle)) == len(asked)
    assert cost(engine, idle) <= before * 2


def test_a_batch_of_decisions_is_recorded_and_concluded_in_few_statements(engine: Engine) -> None:
    loaded = parse_policy(POLICY, "policy.yaml")
    in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
    registry = FakeRegistry()
    cycle = Cycle(registry, SqlAuditLog(engine, "test:1", REGISTRY))
    cycle.run(in_force, Mode.ENFORCE)
    decided = 50
    for number in range(decided):
        registry.file(f"model-{number}", "1")
    asked = statements(engine, lambda: cycle.run(in_force, Mode.ENFORCE))
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(OutcomeRow.__table__)) == decided
    assert len(asked) <= 5 * decided


def add_judgements(engine: Engine, many: int) -> None:
    """As many decisions more about each request, each observed."""
    with engine.begin() as connection:
        last = select(DecisionRow.request_key, func.max(DecisionRow.judgement).label("last"))
        at = {row.request_key: row.last for row in connection.execute(last.group_by(DecisionRow.request_key))}
        known = {row["request_key"]: row for row in connection.execute(select(DecisionRow.__table__)).mappings()}
        rows = [
            {**known[key], "decision_id": str(uuid.uuid4()), "judgement": number + 1 + more}
            for key, number in at.items()
            for more in range(many)
        ]
        for row in rows:
            del row["id"]
        connection.execute(insert(DecisionRow), rows)
        done = {"outcome": "observed", "at": rows[0]["decided_at"], "detail": "shown"}
        connection.execute(insert(OutcomeRow), [{"decision_id": row["decision_id"], **done} for row in rows])
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))


@contextmanager
def rows_written(engine: Engine) -> Iterator[list[int]]:
    """As the database counts them, by triggers that are no part of the product."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE witness (n INTEGER)"))
        for change in ("INSERT", "UPDATE", "DELETE"):
            _count_on(connection, change)
    written = [0]
    yield written
    with engine.begin() as connection:
        written[0] = connection.scalar(text("SELECT count(*) FROM witness")) or 0
        for change in ("INSERT", "UPDATE", "DELETE"):
            on = "" if engine.dialect.name == "sqlite" else " ON open_requests"
            connection.execute(text(f"DROP TRIGGER witness_{change.lower()}{on}"))
        connection.execute(text("DROP TABLE witness"))


def _count_on(connection: Connection, change: str) -> None:
    name = f"witness_{change.lower()}"
    if connection.dialect.name == "sqlite":
        body = f"AFTER {change} ON open_requests BEGIN INSERT INTO witness VALUES (1); END"
        connection.execute(text(f"CREATE TRIGGER {name} {body}"))
        return
    connection.execute(text(
        "CREATE OR REPLACE FUNCTION witnessed() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO witness VALUES (1); RETURN NULL; END $$"
    ))  # fmt: skip
    each = f"AFTER {change} ON open_requests FOR EACH ROW EXECUTE FUNCTION witnessed()"
    connection.execute(text(f"CREATE TRIGGER {name} {each}"))
