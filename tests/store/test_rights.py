"""The rights that the operating page grants: a daemon does all its work with them, and nothing else."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import DBAPIError

from reconciler.audit import schema
from reconciler.audit.append_only import APPEND_ONLY
from reconciler.audit.checking import check
from reconciler.audit.database import make_engine
from reconciler.audit.pauses import PAUSE, RESUME, note_pause
from reconciler.audit.reader import AuditReader
from reconciler.audit.rights import rights
from reconciler.audit.store import SqlAuditLog
from reconciler.audit.verifying import verify
from reconciler.domain.decision import Mode, Outcome, OutcomeKind
from reconciler.domain.holding import Began, Ended
from reconciler.domain.judgements import Confirmation
from reconciler.domain.looks import Place
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.policy.file import parse_policy
from reconciler.ports import CycleNote, Ending, GoAhead, History, Inferred, Resolution, Unread, Waiting
from reconciler.ports.observations import AsOf, EndOfTenure, Looked, NewTenure, Stray, Traces
from tests.builders import REGISTRY, a_request
from tests.postgres import PostgresServer
from tests.roles import daemon_role, granted
from tests.store.test_log import IN_FORCE, decide
from tests.store.test_store import POLICY, Audit, claimed


@pytest.fixture
def owner(postgres: PostgresServer) -> str:
    url = postgres.new_database()
    schema.upgrade(url)
    return url


@pytest.fixture
def daemon(owner: str) -> Iterator[Engine]:
    """The database as the daemon's role sees it."""
    engine = make_engine(daemon_role(owner))
    yield engine
    engine.dispose()


def inserted_by(engine: Engine) -> dict[str, set[str]]:
    """Fills with the columns of each table that the statements of this engine insert."""
    columns: dict[str, set[str]] = defaultdict(set)

    def hear(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if found := re.match(r"INSERT INTO (\w+) \(([^)]*)\)", statement):
            columns[found[1]] |= {name.strip(' "') for name in found[2].split(",")}

    event.listen(engine, "before_cursor_execute", hear)
    return columns


def work(engine: Engine) -> None:
    """Everything that a daemon, and the commands that its operators use, add to history."""
    decide(engine, 2)
    decide(engine, 1, Mode.OBSERVE)
    note_pause(engine, PAUSE, "a test", "ada")
    note_pause(engine, RESUME, "", "ada")
    log = SqlAuditLog(engine, "test:1", REGISTRY)
    log.sign_on(Mode.ENFORCE, IN_FORCE.digest)
    policy = parse_policy(POLICY, "policy.yaml")
    log.keep_policy(policy.digest, policy.text)
    audit = Audit(str(engine.url), engine, log, AuditReader(engine), policy)
    log.record(audit.judged())
    [pending] = claimed(log)
    judged = audit.judged()
    again = Confirmation(judged.verdict, policy.digest, judged.evidence, judged.engine)
    assert log.go_ahead(pending, again) is GoAhead.YES
    assert log.conclude(Ending(pending, Outcome(OutcomeKind.FAILED, "no answer"), in_doubt=True))
    assert log.note_late_effect(pending.decision, "shown after all")
    asked = a_request("churn", datetime(2026, 1, 1, tzinfo=UTC))
    log.reconcile_open([asked], [Waiting(asked, "missing", "no metric")])
    log.reconcile_open([asked], [], [Unread(judged.request.target, "403")])
    [gone] = log.gone([], [])
    log.reconcile_open([], [], inferred=[Inferred(gone.key, gone.request, Resolution.GONE, "it is not open any more")])
    log.add_history(History([], 7))
    look(log)
    log.sign_off()


def look(log: SqlAuditLog) -> None:
    """A version is seen to hold a target, and to hold it no more; and a tag that is no request."""
    record, scope = log.observations, Scope.of_all_models([Target.parse("@champion")])
    watch = record.watch(None, timedelta(minutes=5))
    assert watch is not None
    assert record.keep_scope(watch.fence, scope, watch.now)
    began = Began(Place("churn", "1", Target.parse("Production")), 1)
    [tenure] = record.observe(watch.fence, [], [NewTenure(began, watch.now, first_look=False)]) or ()
    record.observe(watch.fence, [EndOfTenure(Ended(tenure), watch.now)], [])
    for _ in range(2):
        record.attribute(watch.fence, Traces())
    strays = record.keep_strays(watch.fence, [Stray("churn", "1", "transition_request.x")], all_seen=True)
    record.pointed_out(strays or ())
    record.keep_strays(watch.fence, [], all_seen=True)
    note = CycleNote("", True, Mode.ENFORCE, "", timedelta(), looked=Looked(watch.fence, 1, AsOf()))
    log.note_cycle(note)
    assert record.open_bypasses() == 0


def test_the_page_grants_what_the_code_asks_for() -> None:
    found: set[tuple[str, str, tuple[str, ...]]] = set()
    for grant in granted():
        parsed = re.fullmatch(r"GRANT (.+) ON ([\w, ]+) TO reconciler", grant)
        assert parsed, grant
        for privilege, columns in re.findall(r"([A-Z]+)(?: \(([^)]*)\))?", parsed[1]):
            names = tuple(columns.split(", ")) if columns else ()
            found |= {(privilege, table, names) for table in parsed[2].split(", ")}
    assert found == {tuple(right) for right in rights()}


def test_the_daemons_role_does_all_its_work_and_writes_each_column_that_it_may(daemon: Engine) -> None:
    columns = inserted_by(daemon)
    work(daemon)
    assert verify(daemon).differences == ()
    may = {right.table: set(right.columns) for right in rights() if right.privilege == "INSERT" and right.columns}
    assert {table: names for table, names in columns.items() if table in APPEND_ONLY} == may


REFUSED = [
    "INSERT INTO outcomes (id, decision_id, outcome, at, detail) SELECT 99, decision_id, '', at, '' FROM outcomes",
    "INSERT INTO pause_events (id, at, action, reason, person) VALUES (99, now(), 'pause', '', '')",
    "INSERT INTO decisions SELECT * FROM decisions",
    "INSERT INTO redactions (at, evidence_key, position, field, digest, reason, person) "
    "SELECT now(), decision_id, 0, '', '', '', '' FROM decisions",
    "INSERT INTO earlier_outcomes SELECT * FROM outcomes",
    "UPDATE log_state SET complete = false",
    "INSERT INTO log_state VALUES ('another', 0, true)",
    "UPDATE decisions SET reason = ''",
    "DELETE FROM outcomes",
    "TRUNCATE log_leaves",
    "SELECT setval(pg_get_serial_sequence('outcomes', 'id'), 1000)",
]


@pytest.mark.parametrize("statement", REFUSED)
def test_the_daemons_role_is_refused_what_the_database_sets_itself(daemon: Engine, statement: str) -> None:
    work(daemon)
    with pytest.raises(DBAPIError, match="permission denied"), daemon.begin() as connection:
        connection.execute(text(statement))


def test_the_daemons_role_checks_the_database_and_finds_nothing(daemon: Engine) -> None:
    work(daemon)
    found = check(daemon, everything=True)
    assert (found.faults, found.clocks) == ((), ())
