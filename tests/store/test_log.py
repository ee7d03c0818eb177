"""The log over history: what it covers, that it finds every change, and that many writers make one log."""

from __future__ import annotations

import hashlib
import json
import random
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, insert, select, text

from reconciler.audit import schema, transfer
from reconciler.audit.database import any_bytes, make_engine, one_state
from reconciler.audit.in_parts import beside
from reconciler.audit.log import verifying
from reconciler.audit.log.appending import ENTRIES
from reconciler.audit.log.filling import TAKEN_IN_TOGETHER, take_in, unseen
from reconciler.audit.log.recomputing import Differences, Roots, begun, recomputed
from reconciler.audit.log.tables import LogLeafRow, LogNodeRow, LogStateRow
from reconciler.audit.log.verifying import verify
from reconciler.audit.running.pauses import PAUSE, RESUME, note_pause
from reconciler.audit.store import SqlAuditLog
from reconciler.audit.tables import Base, OutcomeRow
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from reconciler.ports import AuditUnavailable, SchemaMismatch
from tests.builders import REGISTRY, accuracy_policy
from tests.fake_registry import FakeRegistry
from tests.postgres import PostgresServer

LOADED = parse_policy(accuracy_policy(), "policy.yaml")
IN_FORCE = PolicyInForce(LOADED.policy, LOADED.digest, LOADED.text)


def decide(engine: Engine, many: int, mode: Mode = Mode.ENFORCE, daemon: str = "test:1") -> None:
    """As many decisions, each about a model of its own, by a whole cycle."""
    registry = FakeRegistry()
    for number in range(many):
        registry.file(f"model-{random.getrandbits(64):x}", str(number + 1))
    Cycle(registry, SqlAuditLog(engine, daemon, REGISTRY)).run(IN_FORCE, mode)


def leaves(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(LogLeafRow.__table__).order_by(LogLeafRow.leaf)))


def without_triggers(engine: Engine, table: str) -> None:
    """As who owns the database can: history may be changed afterwards."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
            return
        names = select(text("name")).select_from(text("sqlite_master")).where(text("type = 'trigger'"))
        for name in connection.scalars(names.where(text("tbl_name = :table")), {"table": table}).all():
            connection.execute(text(f"DROP TRIGGER {name}"))


# --- what is in the log --------------------------------------------------------------------------------------


def test_every_row_of_history_is_one_entry_of_the_log_without_a_gap(engine: Engine) -> None:
    decide(engine, 3)
    note_pause(engine, PAUSE, "a test", "me")
    note_pause(engine, RESUME, "", "me")
    found = leaves(engine)
    assert [leaf.leaf for leaf in found] == list(range(len(found)))
    with engine.connect() as connection:
        for row, key in ENTRIES.items():
            rows = {str(value) for value in connection.scalars(select(row.__table__.columns[key]))}
            assert {leaf.row_key for leaf in found if leaf.entry == row.__tablename__} == rows
    assert not verify(engine).differences


def _second_opinion(entries: list[bytes]) -> bytes:
    """The root by the recursive definition of RFC 9162, section 2.1.1, of hashes of leaves."""
    if len(entries) == 1:
        return entries[0]
    half = 1 << (len(entries) - 1).bit_length() - 1
    left, right = _second_opinion(entries[:half]), _second_opinion(entries[half:])
    return hashlib.sha256(b"\x01" + left + right).digest()


@pytest.mark.parametrize("many", [1, 2, 3, 7, 8])
def test_the_root_is_that_of_rfc_9162_over_the_stored_rows(engine: Engine, many: int) -> None:
    decide(engine, many, Mode.OBSERVE)
    assert verify(engine).root == _second_opinion([bytes(leaf.hash) for leaf in leaves(engine)]).hex()


def test_an_outcome_can_be_hashed_again_from_its_columns_by_anybody(engine: Engine) -> None:
    decide(engine, 1)
    with engine.connect() as connection:
        row = connection.execute(select(OutcomeRow.__table__)).one()
    at = row.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{row.at.microsecond // 1000:03}Z"
    columns = {"at": at, "decision_id": row.decision_id, "detail": row.detail, "id": row.id, "outcome": row.outcome}
    entry = {"format": "mlflow-reconciler audit v1", "row": columns, "table": "outcomes"}
    written = json.dumps(entry, separators=(",", ":")).encode()
    expected = hashlib.sha256(b"\x00" + written).digest()
    assert [bytes(leaf.hash) for leaf in leaves(engine) if leaf.entry == "outcomes"] == [expected]


# --- what verify finds ---------------------------------------------------------------------------------------

CHANGES = [
    ("decisions", "UPDATE decisions SET verdict = 'reject' WHERE id = (SELECT min(id) FROM decisions)"),
    ("evidence", "UPDATE evidence SET fields = fields + 1"),
    ("evidence", "DELETE FROM evidence"),
    ("decision_checks", "UPDATE decision_checks SET observed = '0.99' WHERE position = 0"),
    ("decision_checks", "DELETE FROM decision_checks"),
    ("outcomes", "UPDATE outcomes SET outcome = 'failed'"),
    ("outcomes", "DELETE FROM outcomes"),
    ("policy_versions", "UPDATE policy_versions SET text = text || '#'"),
    ("pause_events", "UPDATE pause_events SET person = 'somebody else'"),
    ("log_leaves", "UPDATE log_leaves SET hash = (SELECT hash FROM log_leaves WHERE leaf = 0) WHERE leaf = 1"),
    ("log_leaves", "DELETE FROM log_leaves WHERE leaf = 1"),
    ("log_leaves", "DELETE FROM log_leaves WHERE leaf = (SELECT max(leaf) FROM log_leaves)"),
    ("log_nodes", "UPDATE log_nodes SET hash = (SELECT hash FROM log_leaves WHERE leaf = 0) WHERE level = 1"),
    ("log_nodes", "DELETE FROM log_nodes WHERE level = 1 AND position = 0"),
]


@pytest.mark.parametrize(("table", "change"), CHANGES)
def test_a_change_behind_the_product_is_found_and_named(engine: Engine, table: str, change: str) -> None:
    decide(engine, 5)
    note_pause(engine, PAUSE, "a test", "me")
    without_triggers(engine, table)
    with engine.begin() as connection:
        assert connection.execute(text(change)).rowcount
    differences = verify(engine).differences
    named = {"decision_checks": "decisions", "evidence": "decisions", "log_leaves": "", "log_nodes": ""}.get(
        table, table
    )
    assert any(named in difference for difference in differences), differences


def test_in_ranges_the_log_is_the_same_and_so_is_each_difference(engine: Engine) -> None:
    """By as many processes as the machine has cores, each with some entries."""
    decide(engine, 40)
    note_pause(engine, PAUSE, "a test", "me")

    def compared(together: int) -> tuple[bytes, dict[int, bytes], list[str]]:
        found, roots = Differences(), Roots()
        roots.wanted = frozenset(range(1, 83))
        with one_state(engine) as connection, any_bytes(connection):
            tree = recomputed(connection, begun(connection, 6), (0, unseen), found, roots, together)
        return tree.root(), roots.found, found.told

    assert compared(4) == compared(4096)
    assert len(compared(4)[1]) == 77
    for table in ("outcomes", "log_nodes"):
        without_triggers(engine, table)
    with engine.begin() as connection:
        connection.execute(text("UPDATE outcomes SET detail = 'another' WHERE id IN (7, 30)"))
        connection.execute(
            text("UPDATE log_nodes SET hash = (SELECT hash FROM log_leaves WHERE leaf = 0) WHERE level = 4")
        )
    in_ranges, in_turn = compared(4), compared(4096)
    assert in_ranges[:2] == in_turn[:2]
    # A node over several ranges is compared once they are over.
    assert sorted(in_ranges[2]) == sorted(in_turn[2])
    assert len(in_turn[2]) == 2 + 5


def test_an_entry_with_a_number_far_ahead_is_told_at_once(engine: Engine) -> None:
    decide(engine, 1)
    with engine.begin() as connection:
        forged = {"leaf": 10**15, "entry": "pause_events", "row_key": "1", "hash": b"0" * 32}
        connection.execute(insert(LogLeafRow), forged)
    assert "the log has nothing between its entries 4 and 1000000000000000" in verify(engine).differences


@pytest.mark.parametrize("number", ["-1", "9223372036854775807", "'x'"])
def test_an_entry_with_a_number_that_no_entry_has_hides_no_row(engine: Engine, number: str) -> None:
    if engine.dialect.name == "postgresql" and number == "'x'":
        pytest.skip("only SQLite keeps a text as a number")
    decide(engine, 1)
    with engine.begin() as connection:
        added = {"action": "resume", "reason": "", "person": "nobody", "at": datetime.now(UTC)}
        connection.execute(insert(Base.metadata.tables["pause_events"]), added)
        connection.execute(
            text(f"INSERT INTO log_leaves SELECT {number}, 'pause_events', '1', hash FROM log_leaves WHERE leaf = 0")
        )
    told = "pause_events 1: its entry has a number that no entry has: it was added by another way"
    assert told in verify(engine).differences


@pytest.mark.parametrize("node", ["7, 0", "40, 0", "0, 5", "1, -5", "1, 99"])
def test_a_node_that_an_entry_would_once_meet_is_told(engine: Engine, node: str) -> None:
    decide(engine, 1)
    with engine.begin() as connection:
        connection.execute(text(f"INSERT INTO log_nodes SELECT {node}, hash FROM log_leaves WHERE leaf = 0"))
    named = node.replace(", ", "/")
    assert any(f"node {named} of the log stands" in found for found in verify(engine).differences)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE log_state SET size = 'some' WHERE size = 5", "some"),
        ("INSERT INTO log_state SELECT 'more', 9, complete FROM log_state", "5 and 9"),
        ("DELETE FROM log_state", "no number of"),
    ],
)
def test_a_state_of_the_log_that_no_log_has_is_told(engine: Engine, change: str, said: str) -> None:
    if engine.dialect.name == "postgresql" and "some" in change:
        pytest.skip("only SQLite keeps a text as a number")
    decide(engine, 1)
    with engine.begin() as connection:
        assert connection.execute(text(change)).rowcount == 1
    assert f"the log says that it has {said} entries, and has 5" in verify(engine).differences


def test_a_row_added_behind_the_product_is_found(engine: Engine) -> None:
    decide(engine, 1)
    with engine.begin() as connection:
        added = {"action": "resume", "reason": "", "person": "nobody", "at": datetime.now(UTC)}
        connection.execute(insert(Base.metadata.tables["pause_events"]), added)
    assert any("pause_events 1: the row is not in the log" in found for found in verify(engine).differences)


# --- many writers --------------------------------------------------------------------------------------------


def test_of_a_long_log_all_rows_are_looked_at_beside_its_entries_and_the_same_is_told(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(engine, 2)
    without_triggers(engine, "outcomes")
    with engine.begin() as connection:
        connection.execute(text("UPDATE outcomes SET detail = 'another'"))
        connection.execute(
            text("INSERT INTO pause_events (action, reason, person, at) VALUES ('pause', '', 'x', :at)"),
            {"at": "2026-11-26T00:00:00.000Z"},
        )
    told = verify(engine).differences
    assert told[-1].startswith("pause_events 1: the row is not in the log")
    monkeypatch.setattr(verifying, "LONG", 0)
    assert verify(engine).differences == told


def test_what_cannot_be_read_beside_is_told_to_who_asks_for_it(tmp_path: Path) -> None:
    with pytest.raises(AuditUnavailable):
        beside(f"sqlite:///{tmp_path / 'none.db'}", lambda connection, part: part, 1).result()


def test_replicas_that_write_at_once_make_one_log(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    schema.upgrade(url)
    writers = [make_engine(url) for _ in range(3)]

    def write(number: int, engine: Engine) -> None:
        for _ in range(4):
            decide(engine, 5, daemon=f"test:{number}")
            note_pause(engine, PAUSE, "a test", "me")
            note_pause(engine, RESUME, "", "me")

    threads = [threading.Thread(target=write, args=(number, engine)) for number, engine in enumerate(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = leaves(writers[0])
    assert [leaf.leaf for leaf in found] == list(range(len(found)))
    # Each decision and its outcome, unless a pause turned the mode to observe; two events for each pause at least.
    assert len([leaf for leaf in found if leaf.entry == "decisions"]) == 60
    assert not verify(writers[0]).differences
    for engine in writers:
        engine.dispose()


def test_a_transaction_that_fails_leaves_no_entry(engine: Engine) -> None:
    decide(engine, 1)
    before = len(leaves(engine))

    def fail(*arguments: object) -> None:
        raise RuntimeError("the last statement fails")

    event.listen(engine, "commit", fail)
    with pytest.raises(RuntimeError):
        note_pause(engine, PAUSE, "a test", "me")
    event.remove(engine, "commit", fail)
    assert len(leaves(engine)) == before
    assert note_pause(engine, PAUSE, "a test", "me")
    assert not verify(engine).differences


# --- databases from before the log ---------------------------------------------------------------------------


def forget_log(engine: Engine) -> None:
    """As the revision that brings the log leaves a database that is full of rows."""
    for table in ("log_leaves", "log_nodes"):
        without_triggers(engine, table)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM log_leaves"))
        connection.execute(text("DELETE FROM log_nodes"))
        connection.execute(text("UPDATE log_state SET size = 0, complete = false"))


def test_what_is_older_than_the_log_is_taken_in_and_an_interruption_resumed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.audit.log.filling.TAKEN_IN_TOGETHER", 3)
    decide(engine, 8)
    whole = len(leaves(engine))
    forget_log(engine)

    def interrupt(done: int, of: int) -> None:
        if done > whole / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_in(engine, interrupt)
    assert 0 < len(leaves(engine)) < whole < TAKEN_IN_TOGETHER
    with pytest.raises(SchemaMismatch, match="is not complete yet: run `mlflow-reconciler db upgrade`"):
        schema.require_head(engine)
    with pytest.raises(SchemaMismatch, match="db upgrade"):
        note_pause(engine, PAUSE, "a test", "me")
    seen: list[tuple[int, int]] = []
    take_in(engine, lambda done, of: seen.append((done, of)))
    assert seen[-1] == (whole, whole)
    schema.require_head(engine)
    assert note_pause(engine, PAUSE, "a test", "me")
    found = verify(engine)
    assert (found.size, found.differences) == (whole + 1, ())


# --- moving and restoring ------------------------------------------------------------------------------------


def test_a_copy_on_the_other_database_has_the_same_log(
    engine: Engine, postgres: PostgresServer, tmp_path: Path
) -> None:
    decide(engine, 4)
    sqlite = f"sqlite:///{tmp_path / 'copy.db'}"
    target = sqlite if engine.dialect.name == "postgresql" else postgres.new_database()
    schema.upgrade(target)
    transfer.copy(engine.url.render_as_string(hide_password=False), target)
    copy = make_engine(target)
    assert verify(copy) == verify(engine)
    assert note_pause(copy, PAUSE, "the copy goes on", "me")
    assert not verify(copy).differences
    copy.dispose()


# --- cost ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accuracy", ["1", "1.0", "0.0", "-0.0"])
def test_a_whole_number_is_hashed_as_it_is_read_again(engine: Engine, accuracy: str) -> None:
    registry = FakeRegistry()
    for number in range(3):
        registry.file("fraud", str(number + 1), accuracy=accuracy)
    Cycle(registry, SqlAuditLog(engine, "test:1", REGISTRY)).run(IN_FORCE, Mode.ENFORCE)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM decision_checks WHERE observed_number IS NOT NULL")) == 3
    assert not verify(engine).differences


def test_a_zero_with_a_sign_can_be_copied_to_either_database(postgres: PostgresServer, tmp_path: Path) -> None:
    source, target = postgres.new_database(), f"sqlite:///{tmp_path}/copy.db"
    for url in (source, target):
        schema.upgrade(url)
    engine, registry = make_engine(source), FakeRegistry()
    registry.file("fraud", "1", accuracy="-0.0")
    Cycle(registry, SqlAuditLog(engine, "test:1", REGISTRY)).run(IN_FORCE, Mode.ENFORCE)
    engine.dispose()
    transfer.copy(source, target)
    copied = make_engine(target)
    assert not verify(copied).differences
    copied.dispose()


def test_an_entry_reads_a_number_of_nodes_that_grows_with_the_logarithm(engine: Engine) -> None:
    decide(engine, 2)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    note_pause(engine, PAUSE, "a test", "me")
    few = len(statements)
    decide(engine, 40)
    statements.clear()
    note_pause(engine, RESUME, "", "me")
    assert len(statements) <= few + 2
    with engine.connect() as connection:
        size = connection.scalar(select(LogStateRow.size)) or 0
        nodes = len(connection.execute(select(LogNodeRow.__table__)).all())
    assert nodes == size - bin(size).count("1")
