"""The audit database on SQLite and on PostgreSQL, its schema built by the migrations."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, select, text, update
from sqlalchemy.exc import DBAPIError

from reconciler.audit import lock, schema
from reconciler.audit.database import Access, make_engine
from reconciler.audit.reader import LISTED, AuditReader, DecisionFilter
from reconciler.audit.running.pauses import PAUSE, RESUME, note_pause, running
from reconciler.audit.store import SqlAuditLog
from reconciler.audit.tables import Base, PendingActRow
from reconciler.cli.status import _state
from reconciler.domain.decision import Judged, Mode, Outcome, OutcomeKind
from reconciler.domain.engines.evaluate import evaluate
from reconciler.domain.evidence.evidence import Evidence, Reading, RunFacts, VersionFacts
from reconciler.domain.request import Assurance, Requester
from reconciler.domain.target import Target
from reconciler.domain.text import Text
from reconciler.domain.verdict import VerdictKind
from reconciler.policy.file import LoadedPolicy, parse_policy
from reconciler.ports import (
    AlreadyServed,
    AuditUnavailable,
    CycleNote,
    Ending,
    GoAhead,
    NoSuchDecision,
    Pending,
    SchemaMismatch,
    Unread,
    Waiting,
)
from tests.builders import REGISTRY, a_request, accuracy_policy, evidence_of
from tests.postgres import PostgresServer

NOW = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
POLICY = accuracy_policy(targets='Production, "@champion"')


@dataclass
class Audit:
    url: str
    engine: Engine
    log: SqlAuditLog
    reader: AuditReader
    policy: LoadedPolicy

    def judged(
        self, model: str = "fraud", *, mode: Mode = Mode.ENFORCE, accuracy: str = "0.95", **changes: object
    ) -> Judged:
        request = replace(a_request(model, NOW), **changes)  # type: ignore[arg-type]
        run = RunFacts(
            "r1", "FINISHED", "active", 1, "", {"validation_accuracy": Reading(accuracy, float(accuracy), 0, 0)}
        )
        version = VersionFacts("r1", "", "READY", "None", Text.of("a\0b\ud800"))
        evidence = evidence_of(NOW, version, run)
        verdict = evaluate(self.policy.policy, request, evidence, NOW)
        return Judged(request, verdict, evidence, mode, self.policy.digest)


@pytest.fixture
def audit(audit_url: str) -> Iterator[Audit]:
    schema.upgrade(audit_url)
    engine = make_engine(audit_url)
    log = SqlAuditLog(engine, "test:1", REGISTRY)
    policy = parse_policy(POLICY, "policy.yaml")
    log.keep_policy(policy.digest, policy.text)
    yield Audit(audit_url, engine, log, AuditReader(engine), policy)
    engine.dispose()


def claimed(log: SqlAuditLog, *, everything: bool = True) -> list[Pending]:
    return log.claim(10, [], everything)


def test_a_recorded_decision_is_ours_to_carry_out_until_it_is_concluded(audit: Audit) -> None:
    [recorded] = audit.log.record(audit.judged())
    assert recorded is not None
    [pending] = claimed(audit.log)
    assert pending.decision == recorded.decision
    assert audit.log.conclude(Ending(pending, Outcome(OutcomeKind.APPLIED, "shown")))
    assert claimed(audit.log) == []
    [row] = audit.reader.decisions(DecisionFilter())
    assert (row["verdict"], row["outcome"], row["outcome_detail"]) == ("approve", "applied", "shown")


def test_whoever_was_overtaken_can_neither_renew_nor_count_nor_conclude(audit: Audit) -> None:
    audit.log.record(audit.judged())
    [first] = claimed(audit.log)
    [second] = claimed(audit.log)
    assert second.fence == first.fence + 1
    assert audit.log.go_ahead(first) is GoAhead.TAKEN_OVER
    assert not audit.log.conclude(Ending(first, Outcome(OutcomeKind.APPLIED, "stale")))
    audit.log.attempted(first, "stale", timedelta(hours=1), in_doubt=False)
    assert audit.log.go_ahead(second) is GoAhead.YES
    assert audit.log.conclude(Ending(second, Outcome(OutcomeKind.APPLIED, "shown")))
    assert [row["outcome_detail"] for row in audit.reader.decisions(DecisionFilter())] == ["shown"]


def test_a_pause_stops_every_replica_before_its_next_act_and_is_kept(audit: Audit) -> None:
    audit.log.record(audit.judged())
    [pending] = claimed(audit.log)
    assert note_pause(audit.engine, PAUSE, "release freeze", "ada")
    assert not note_pause(audit.engine, PAUSE, "again", "bob")
    assert (audit.log.paused(), audit.log.go_ahead(pending)) == ("release freeze", GoAhead.PAUSED)
    assert note_pause(audit.engine, RESUME, "over", "ada")
    assert (audit.log.paused(), audit.log.go_ahead(pending)) == (None, GoAhead.YES)
    assert [row["action"] for row in audit.reader.pauses()] == ["resume", "pause"]


def test_what_fails_in_the_same_way_three_times_is_stuck(audit: Audit) -> None:
    audit.log.record(audit.judged())
    for detail, many in (("403", 1), ("409", 1), ("403", 1), ("403", 2), ("403", 3)):
        assert audit.log.stuck() == []
        [pending] = claimed(audit.log)
        audit.log.attempted(pending, detail, timedelta(), in_doubt=False)
        assert claimed(audit.log)[0].failures == many
    [stuck] = audit.log.stuck()
    assert (stuck.kind, stuck.decision_id, stuck.said) == ("decision", pending.decision.decision_id, "403")
    assert [row["decision_id"] for row in audit.reader.stuck()] == [stuck.decision_id]
    assert SqlAuditLog(audit.engine, "test:2", "http://other.test").stuck() == []
    [last] = claimed(audit.log)
    audit.log.conclude(Ending(last, Outcome(OutcomeKind.APPLIED, "shown")))
    assert audit.log.stuck() == []


def test_what_fails_for_ten_minutes_is_stuck_in_whatever_words(audit: Audit) -> None:
    audit.log.record(audit.judged())
    for detail in ("reset", "refused"):
        [pending] = claimed(audit.log)
        audit.log.not_read(pending, detail, timedelta())
    assert claimed(audit.log)[0].attempts == 0
    assert audit.log.stuck() == []
    _eleven_minutes_later(audit)
    [stuck] = audit.log.stuck()
    assert (stuck.said, stuck.failures) == ("refused", 1)


def test_a_request_that_cannot_be_judged_is_stuck_and_one_that_waits_is_not(audit: Audit) -> None:
    failing, patient = audit.judged().request, audit.judged("patient").request
    for _ in range(3):
        assert audit.log.stuck() == []
        waiting = [Waiting(failing, "unreadable", "503", failed=True), Waiting(patient, "waiting", "grace")]
        audit.log.reconcile_open([failing, patient], waiting)
    [stuck] = audit.log.stuck()
    assert (stuck.kind, stuck.model, stuck.failures, stuck.said) == ("request", failing.model, 3, "503")
    audit.log.reconcile_open([failing, patient], [Waiting(failing, "waiting", "grace")])
    assert audit.log.stuck() == []


def test_a_list_that_cannot_be_read_is_stuck_after_three_times_and_what_was_open_for_it_is_kept(audit: Audit) -> None:
    request = audit.judged().request
    audit.log.reconcile_open([request], [])
    for _ in range(3):
        assert audit.log.stuck() == []
        audit.log.reconcile_open([], [], [Unread(request.target, "403")])
    [stuck] = audit.log.stuck()
    assert (stuck.kind, stuck.model, stuck.target, stuck.failures) == ("list", "", str(request.target), 3)
    assert (stuck.said, stuck.decision_id) == ("403", None)
    other = SqlAuditLog(audit.engine, "test:2", "http://another.test")
    other.reconcile_open([], [])
    assert (other.stuck(), len(audit.log.stuck())) == ([], 1)
    audit.log.reconcile_open([], [], [Unread(request.target, "500")])
    assert (audit.log.stuck(), len(audit.reader.open_requests())) == ([], 1)
    audit.log.reconcile_open([], [])
    assert audit.reader.open_requests() == []


@pytest.mark.parametrize(
    ("outcome", "said"),
    [(None, "being carried out"), (OutcomeKind.APPLIED, "and carried out"), (OutcomeKind.FAILED, "and given up"),
     (OutcomeKind.SUPERSEDED, "and resolved by somebody else first"),
     (OutcomeKind.UNATTRIBUTED, "and resolved, it is not known by whom")],
)  # fmt: skip
def test_a_request_that_another_replica_decided_meanwhile_is_told_with_what_became_of_it(
    audit: Audit, outcome: OutcomeKind | None, said: str
) -> None:
    judged = audit.judged()
    [recorded] = audit.log.record(judged)
    assert recorded is not None
    assert recorded.fence is not None
    if outcome is not None:
        audit.log.conclude(Ending(Pending(recorded.decision, 0, recorded.fence), Outcome(outcome, "told")))
    # As by the replica that had listed it before.
    audit.log.reconcile_open([judged.request], [])
    [row] = audit.reader.open_requests()
    assert row["outcome"] == outcome
    assert _state(row, None) == f"decided, {said}"


def _eleven_minutes_later(audit: Audit) -> None:
    with audit.engine.begin() as connection:
        known = connection.execute(select(PendingActRow.failing_since)).scalar_one()
        assert known is not None
        connection.execute(update(PendingActRow).values(failing_since=known - timedelta(minutes=11)))


def test_working_state_that_was_lost_is_made_again(audit: Audit) -> None:
    audit.log.record(audit.judged())
    with audit.engine.begin() as connection:
        connection.execute(text("DELETE FROM pending_acts"))
    assert claimed(audit.log) == []
    audit.log.restore_claims(lambda: False)
    [pending] = claimed(audit.log)
    assert audit.log.conclude(Ending(pending, Outcome(OutcomeKind.APPLIED, "shown")))


def test_on_postgresql_a_claim_is_taken_over_when_its_lease_is_over(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    schema.upgrade(url)
    audit = _audit(url)
    second = SqlAuditLog(audit.engine, "test:2", REGISTRY)
    third = SqlAuditLog(audit.engine, "test:3", REGISTRY)
    assert second.record(audit.judged())
    assert claimed(third) == []
    with audit.engine.begin() as connection:
        connection.execute(text("UPDATE pending_acts SET leased_until = leased_until - interval '90 seconds'"))
    [taken] = claimed(third)
    assert taken.fence == 2
    assert claimed(second) == []
    audit.engine.dispose()


def test_on_postgresql_two_who_claim_at_once_get_different_decisions(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    schema.upgrade(url)
    audit = _audit(url)
    first = SqlAuditLog(audit.engine, "test:gone", REGISTRY, lease=timedelta(0))
    for number in range(40):
        first.record(audit.judged(f"m{number}"))
    logs = [SqlAuditLog(make_engine(url), f"test:{number}", REGISTRY) for number in range(4)]
    with ThreadPoolExecutor(4) as threads:
        taken = [one for batch in threads.map(lambda log: log.claim(20, [], False), logs) for one in batch]
    ids = [one.decision.decision_id for one in taken]
    assert len(ids) == len(set(ids))
    assert len(ids) >= 20


def test_replicas_that_serve_one_registry_share_its_requests(audit: Audit) -> None:
    note = CycleNote("", True, Mode.ENFORCE, audit.policy.digest, timedelta(0))
    for name in ("test:1", "test:2", "test:3"):
        SqlAuditLog(audit.engine, name, REGISTRY).note_cycle(note)
    SqlAuditLog(audit.engine, "test:4", "http://other.test").note_cycle(note)
    assert [SqlAuditLog(audit.engine, f"test:{number}", REGISTRY).share() for number in (1, 2, 3)] == [
        (0, 3), (1, 3), (2, 3),
    ]  # fmt: skip


def test_a_request_is_decided_once_whatever_the_mode_until_it_is_judged_again(audit: Audit) -> None:
    assert audit.log.record(audit.judged(mode=Mode.OBSERVE))
    assert not audit.log.record(audit.judged(mode=Mode.OBSERVE))
    assert not audit.log.record(audit.judged(mode=Mode.ENFORCE))
    again = replace(audit.judged(mode=Mode.ENFORCE), judgement=2)
    assert audit.log.record(again)
    assert not audit.log.record(again)
    assert not audit.log.record(replace(again, judgement=3)), "two that act, and neither replaces the other"
    assert len(audit.reader.decisions(DecisionFilter())) == 2


def test_what_does_not_act_is_observed_at_once(audit: Audit) -> None:
    audit.log.record(audit.judged(mode=Mode.OBSERVE))
    audit.log.record(audit.judged("churn", mode=Mode.APPROVE_ONLY, accuracy="0.5"))
    assert claimed(audit.log) == []
    assert {row["outcome"] for row in audit.reader.decisions(DecisionFilter())} == {"observed"}


def test_an_attempt_sets_a_decision_aside_and_counts(audit: Audit) -> None:
    audit.log.record(audit.judged())
    for _ in range(2):
        [pending] = claimed(audit.log)
        audit.log.attempted(pending, "403", timedelta(hours=1), in_doubt=False)
    assert claimed(audit.log, everything=False) == []
    [again] = claimed(audit.log)
    assert again.attempts == 2


def test_another_registry_in_the_same_database_is_left_alone(audit: Audit) -> None:
    other = SqlAuditLog(audit.engine, "test:2", "http://other.test")
    audit.log.record(audit.judged())
    assert claimed(other) == []
    audit.log.reconcile_open([audit.judged().request], [])
    other.reconcile_open([], [])
    assert len(audit.reader.open_requests()) == 1


@pytest.mark.parametrize("table", ["decisions", "decision_checks", "outcomes", "policy_versions", "pause_events"])
@pytest.mark.parametrize("change", ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}"])
def test_history_can_be_neither_changed_nor_deleted(audit: Audit, table: str, change: str) -> None:
    audit.log.record(audit.judged(mode=Mode.OBSERVE))
    note_pause(audit.engine, PAUSE, "a test", "ada")
    column = {"policy_versions": "text", "pause_events": "reason"}.get(table, "decision_id")
    with audit.engine.connect() as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.execute(text(change.format(table=table, column=column)))


def test_history_can_be_neither_replaced_nor_truncated(audit: Audit) -> None:
    audit.log.record(audit.judged(mode=Mode.OBSERVE))
    if audit.engine.dialect.name == "sqlite":
        wipes = ["INSERT OR REPLACE INTO policy_versions SELECT digest, 'forged', first_used_at FROM policy_versions",
                 "INSERT OR REPLACE INTO decisions SELECT * FROM decisions"]  # fmt: skip
    else:
        wipes = ["TRUNCATE decisions CASCADE", "TRUNCATE outcomes", "TRUNCATE policy_versions CASCADE"]
    for wipe in wipes:
        with audit.engine.connect() as connection, pytest.raises(DBAPIError, match="append-only"):
            connection.execute(text(wipe))


def test_on_sqlite_a_replacing_insert_does_not_find_a_decision_by_its_request(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    audit = _audit(url)
    [recorded] = audit.log.record(audit.judged())
    assert recorded is not None
    decision = recorded.decision
    columns = [column["name"] for column in inspect(audit.engine).get_columns("decisions")]
    forged = {"id": "id + 1", "decision_id": "'forged'", "verdict": "'reject'"}
    for change in ({}, {"mode": "'approve-only'"}):
        values = ", ".join((forged | change).get(column, f'"{column}"') for column in columns)
        # As any client does it: without our connection's recursive_triggers.
        with closing(sqlite3.connect(tmp_path / "audit.db")) as stranger, stranger:
            stranger.execute(f"INSERT OR REPLACE INTO decisions SELECT {values} FROM decisions")
    assert [row["decision_id"] for row in audit.reader.decisions(DecisionFilter())] == [decision.decision_id]


def test_hostile_text_is_stored_and_comes_back_exactly(audit: Audit) -> None:
    model = "=cmd|calc\n\x1b[31m\0\u202e\ud800"
    [recorded] = audit.log.record(audit.judged(model, comment="\0" * 10))
    assert recorded is not None
    decision = recorded.decision
    [pending] = claimed(audit.log)
    assert pending.decision.request.model == model
    [row] = audit.reader.decisions(DecisionFilter(model=model))
    assert row["model"] == "=cmd|calc\\n\\u001b[31m\\u0000\\u202e\\ud800"
    assert audit.reader.decision(decision.decision_id)["evidence"]["version"]["description"]["head"] == "a\0b\ud800"


def test_a_stored_decision_is_judged_again_to_the_same_verdict(audit: Audit) -> None:
    for accuracy in ("0.95", "0.5", "NaN", "Infinity"):
        judged = audit.judged(f"m-{accuracy}", accuracy=accuracy)
        again = evaluate(audit.policy.policy, judged.request, Evidence.from_json(judged.evidence.to_json()), NOW)
        assert again == judged.verdict


def test_a_typed_request_keeps_its_id_and_time_and_is_forgotten_when_it_is_gone(audit: Audit) -> None:
    typed = audit.judged(requester=Requester("", Assurance.UNKNOWN)).request
    first = audit.log.first_seen([typed])[typed.key]
    assert audit.log.first_seen([typed])[typed.key] == first
    audit.log.reconcile_open([typed.seen_first(first.id, first.at)], [])
    assert audit.log.first_seen([typed])[typed.key] == first
    audit.log.reconcile_open([], [])
    assert audit.log.first_seen([typed])[typed.key] != first


@pytest.mark.parametrize(("outcome", "is_forgotten"), [(OutcomeKind.APPLIED, True), (OutcomeKind.FAILED, False)])
def test_a_typed_request_is_forgotten_with_its_outcome_so_that_the_same_words_ask_anew(
    audit: Audit, outcome: OutcomeKind, is_forgotten: bool
) -> None:
    judged = audit.judged(requester=Requester("", Assurance.UNKNOWN))
    first = audit.log.first_seen([judged.request])[judged.request.key]
    [recorded] = audit.log.record(replace(judged, request=judged.request.seen_first(first.id, first.at)))
    assert recorded is not None
    assert recorded.fence is not None
    assert audit.log.conclude(Ending(Pending(recorded.decision, 0, recorded.fence), Outcome(outcome, "told")))
    assert (audit.log.first_seen([judged.request])[judged.request.key] != first) is is_forgotten


def test_what_waits_is_set_aside_until_its_next_attempt(audit: Audit) -> None:
    request = audit.judged().request
    audit.log.reconcile_open([request], [Waiting(request, "unreadable", "500", timedelta(hours=1))])
    assert audit.log.set_aside([request.key]) == {request.key}
    audit.log.reconcile_open([request], [])
    assert audit.log.set_aside([request.key]) == {request.key}
    [row] = audit.reader.open_requests()
    assert (row["waiting_code"], row["attempts"]) == ("unreadable", 1)


def test_the_register_is_filtered_by_each_field(audit: Audit) -> None:
    audit.log.record(audit.judged("fraud_a"))
    audit.log.record(audit.judged("churn", accuracy="0.1"))
    models = lambda **only: sorted(row["model"] for row in audit.reader.decisions(DecisionFilter(**only)))  # noqa: E731
    assert models(model="fraud*") == ["fraud_a"]
    assert models(model="fraud%") == []
    assert models(verdict="reject") == ["churn"]
    assert models(requester="ada", target=Target.parse("Production")) == ["churn", "fraud_a"]
    assert models(until=NOW) == []
    assert models(since=NOW) == ["churn", "fraud_a"]
    assert tuple(audit.reader.decisions(DecisionFilter())[0]) == LISTED


def test_one_decision_is_shown_whole_by_the_beginning_of_its_id(audit: Audit) -> None:
    [recorded] = audit.log.record(audit.judged(accuracy="0.85"))
    assert recorded is not None
    decision = recorded.decision
    whole = audit.reader.decision(decision.decision_id[:8])
    [check] = whole["checks"]
    assert (check["check"], check["code"], check["observed"], check["observed_number"]) == (
        "metric validation_accuracy", "below_min", "0.85", 0.85,
    )  # fmt: skip
    assert whole["policy"] == POLICY
    with pytest.raises(NoSuchDecision, match="no decision id begins with"):
        audit.reader.decision("zzz")


def test_status_tells_the_last_cycle_of_each_daemon(audit: Audit) -> None:
    note = CycleNote("1 open", True, Mode.OBSERVE, audit.policy.digest, timedelta(seconds=1))
    audit.log.note_cycle(note)
    audit.log.note_cycle(replace(note, sentence="2 open"))
    [daemon] = audit.reader.daemons()
    assert (daemon["name"], daemon["sentence"], daemon["duration_ms"]) == ("test:1", "2 open", 1000)


def test_the_migrated_schema_is_the_one_the_code_knows(audit: Audit) -> None:
    with audit.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        # Comments of the catalogue are the migrations' alone; `db check` compares their texts.
        connection.dialect.supports_comments = False
        assert compare_metadata(context, Base.metadata) == []
    assert schema.current(audit.url) == schema.head()


def test_revisions_are_named_as_alembic_knows_them() -> None:
    known = ScriptDirectory(str(schema.migrations_path())).walk_revisions()
    assert sorted(script.revision for script in known) == schema.revisions()


def test_upgrading_twice_changes_nothing(audit: Audit) -> None:
    audit.log.record(audit.judged())
    schema.upgrade(audit.url)
    assert len(claimed(audit.log)) == 1


def test_another_revision_is_refused_with_the_remedy(audit: Audit) -> None:
    with audit.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999_future'"))
    with pytest.raises(SchemaMismatch, match="install the version that upgraded it"):
        schema.require_head(audit.engine)
    with pytest.raises(SchemaMismatch):
        schema.upgrade(audit.url)


def test_an_empty_database_is_refused_with_the_command_that_mends_it(audit_url: str) -> None:
    engine = make_engine(audit_url)
    with pytest.raises(SchemaMismatch, match="db upgrade"):
        schema.require_head(engine)
    engine.dispose()


def test_a_database_of_something_else_is_not_taken_over(audit_url: str) -> None:
    engine = make_engine(audit_url, Access.CREATE)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE customers (id INTEGER)"))
    engine.dispose()
    with pytest.raises(SchemaMismatch, match="a database of its own"):
        schema.upgrade(audit_url)


def test_the_database_of_another_program_that_uses_alembic_is_not_called_a_newer_version(audit_url: str) -> None:
    engine = make_engine(audit_url, Access.CREATE)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE experiments (id INTEGER)"))
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('76601a5f987d')"))
    with pytest.raises(SchemaMismatch, match="a database of its own"):
        schema.require_head(engine)
    engine.dispose()
    with pytest.raises(SchemaMismatch, match="a database of its own"):
        schema.upgrade(audit_url)


def test_a_folder_that_may_not_be_written_is_told_in_one_line() -> None:
    with pytest.raises(AuditUnavailable, match="may this user write there"):
        schema.upgrade("sqlite:////proc/audit.db")


def test_a_file_that_is_no_database_is_named_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "audit.db"
    path.write_text("this is a letter and not a database, and it is long enough to be looked at" * 30)
    engine = make_engine(f"sqlite:///{path}")
    with pytest.raises(SchemaMismatch, match="move the file away"):
        schema.require_head(engine)


def test_the_second_process_on_a_sqlite_file_is_told_about_the_first(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    with lock.hold(url), pytest.raises(AlreadyServed, match=r"served by pid \d+ on .* since 20"), lock.hold(url):
        pass
    with lock.hold(url):
        pass


def test_a_full_disk_records_nothing_and_is_over_when_there_is_room(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    audit = _audit(url)
    pages = _pragma(audit.engine, "PRAGMA page_count")
    _pragma(audit.engine, f"PRAGMA max_page_count = {pages}")
    with pytest.raises(AuditUnavailable, match="free some space"):
        _fill(audit)
    before = len(audit.reader.decisions(DecisionFilter()))
    _pragma(audit.engine, "PRAGMA max_page_count = 1000000")
    assert audit.log.record(audit.judged("afterwards"))
    assert len(audit.reader.decisions(DecisionFilter())) == before + 1


def _audit(url: str) -> Audit:
    engine = make_engine(url)
    # One connection, so that the limit of its pages holds for every statement.
    engine.pool._max_overflow = 0  # type: ignore[attr-defined]
    log = SqlAuditLog(engine, "test:1", REGISTRY)
    policy = parse_policy(POLICY, "policy.yaml")
    log.keep_policy(policy.digest, policy.text)
    return Audit(url, engine, log, AuditReader(engine), policy)


def _fill(audit: Audit) -> None:
    for number in range(1000):
        audit.log.record(audit.judged(f"model-{number}", comment="x" * 4000))


def _pragma(engine: Engine, statement: str) -> int:
    with engine.connect() as connection:
        value: int = connection.exec_driver_sql(statement).scalar_one()
        return value


def test_a_revoked_insert_records_nothing_and_says_what_to_grant(audit: Audit) -> None:
    if audit.engine.dialect.name != "postgresql":
        pytest.skip("SQLite has no roles")
    with audit.engine.begin() as connection:
        connection.execute(text("CREATE ROLE reader LOGIN"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"))
        connection.execute(text("GRANT INSERT, UPDATE ON open_requests, daemons, policy_versions TO reader"))
    url = audit.engine.url.set(username="reader").render_as_string(hide_password=False)
    engine = make_engine(url)
    with pytest.raises(AuditUnavailable, match="db roles"):
        SqlAuditLog(engine, "test:2", REGISTRY).record(audit.judged())
    engine.dispose()


def test_a_database_that_is_not_there_is_unavailable_and_its_password_not_told() -> None:
    engine = make_engine("postgresql+psycopg://daemon:s3cret@127.0.0.1:1/audit")
    with pytest.raises(AuditUnavailable) as caught:
        schema.require_head(engine)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_approval_is_told_in_one_sentence_with_its_decision(audit: Audit) -> None:
    [recorded] = audit.log.record(audit.judged())
    assert recorded is not None
    decision = recorded.decision
    assert decision.verdict is VerdictKind.APPROVE
    assert f"(decision {decision.decision_id}, policy {audit.policy.digest[:12]})" in decision.sentence()


def test_creating_the_file_keeps_it_from_other_users(tmp_path: Path) -> None:
    schema.upgrade(f"sqlite:///{tmp_path}/audit.db")
    assert (tmp_path / "audit.db").stat().st_mode & 0o077 == 0


def test_any_sql_client_reads_the_register(audit: Audit) -> None:
    audit.log.record(audit.judged())
    engine = create_engine(audit.url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT model, verdict, outcome FROM decision_register")).all()
    engine.dispose()
    assert [tuple(row) for row in rows] == [("fraud", "approve", None)]


def test_a_daemon_is_known_from_its_start_and_has_obeyed_a_pause_when_its_cycle_ends(audit: Audit) -> None:
    audit.log.sign_on(Mode.ENFORCE, audit.policy.digest)
    note_pause(audit.engine, PAUSE, "a release", "ada")
    assert [(one.name, one.obeys) for one in running(audit.engine)] == [("test:1", False)]
    time.sleep(0.002)
    audit.log.note_cycle(CycleNote("no request was open", True, Mode.ENFORCE, audit.policy.digest, timedelta(0)))
    assert [(one.name, one.obeys) for one in running(audit.engine)] == [("test:1", True)]


def test_a_daemon_that_ends_before_its_first_cycle_leaves_nothing_and_hides_no_earlier_cycle(audit: Audit) -> None:
    earlier = SqlAuditLog(audit.engine, "test:0", REGISTRY)
    earlier.note_cycle(CycleNote("2 open", True, Mode.ENFORCE, audit.policy.digest, timedelta(0)))
    earlier.sign_off()
    audit.log.sign_on(Mode.ENFORCE, audit.policy.digest)
    names = "SELECT name FROM daemons ORDER BY name"
    with audit.engine.connect() as connection:
        assert list(connection.scalars(text(names))) == ["test:0", "test:1"]
    audit.log.sign_off()
    with audit.engine.connect() as connection:
        assert list(connection.scalars(text(names))) == ["test:0"]


ALIAS = Target.parse("@champion")


def test_an_older_decision_for_the_same_alias_is_settled_first_whichever_replica_has_it(audit: Audit) -> None:
    other = SqlAuditLog(audit.engine, "test:2", REGISTRY)
    for log, number in ((other, "3"), (audit.log, "4")):
        assert log.record(audit.judged(version=number, target=ALIAS, id=f"id-{number}"))
    older, newer = (
        claimed(audit.log) if audit.engine.dialect.name == "sqlite" else [*claimed(other), *claimed(audit.log)]
    )
    assert (older.decision.request.version, newer.decision.request.version) == ("3", "4")
    assert audit.log.go_ahead(newer) is GoAhead.WAITS
    holder = audit.log if audit.engine.dialect.name == "sqlite" else other
    assert holder.go_ahead(older) is GoAhead.YES
    assert holder.conclude(Ending(older, Outcome(OutcomeKind.APPLIED, "shown")))
    assert audit.log.go_ahead(newer) is GoAhead.YES


def test_decisions_that_do_not_contend_do_not_wait(audit: Audit) -> None:
    """Another version and a stage that keeps its holders, another target, another model."""
    recorded = [
        audit.log.record(audit.judged(id="1")),
        audit.log.record(audit.judged(version="2", id="2")),
        audit.log.record(audit.judged(target=ALIAS, id="3")),
        audit.log.record(audit.judged("fraud-eu", id="4")),
    ]
    assert all(recorded)
    assert {audit.log.go_ahead(pending) for pending in claimed(audit.log)} == {GoAhead.YES}
