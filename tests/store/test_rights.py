"""The roles of `db roles`: a daemon does all its work with its own, and nothing else; people likewise."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, make_url, text
from sqlalchemy.exc import DBAPIError

from reconciler.audit import schema
from reconciler.audit.append_only import APPEND_ONLY
from reconciler.audit.database import make_engine
from reconciler.audit.integrity.checking import check
from reconciler.audit.log.verifying import verify
from reconciler.audit.reader import AuditReader
from reconciler.audit.rights import rights
from reconciler.audit.running.pauses import PAUSE, RESUME, note_pause
from reconciler.audit.store import SqlAuditLog
from reconciler.audit.tables import Base
from reconciler.domain.decision import Mode, Outcome, OutcomeKind
from reconciler.domain.holding.drift import Change
from reconciler.domain.holding.earlier_names import Recognised
from reconciler.domain.holding.tenures import Began, Ended
from reconciler.domain.judgements import Confirmation
from reconciler.domain.place import Place
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.policy.file import parse_policy
from reconciler.ports import CycleNote, Ending, GoAhead, History, Inferred, Resolution, Unread, Waiting
from reconciler.ports.observations import AsOf, Drift, EndOfTenure, Looked, NewTenure, Stray, Traces
from tests import command
from tests.builders import REGISTRY, a_request
from tests.postgres import PostgresServer
from tests.roles import daemon_role, login, make_roles
from tests.store.test_log import IN_FORCE, decide
from tests.store.test_store import POLICY, Audit, claimed
from tests.store.test_upgrading import at_revision


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
    look(log, pending.decision.decision_id)
    log.sign_off()


def look(log: SqlAuditLog, decision_id: str) -> None:
    """A version is seen to hold a target, to change, and to hold it no more; and a tag that is no request."""
    record, scope = log.observations, Scope.of_all_models([Target.parse("@champion")])
    watch = record.watch(None, timedelta(minutes=5))
    assert watch is not None
    assert record.keep_scope(watch.fence, scope, watch.now)
    began = Began(Place("churn", "1", Target.parse("Production")), 1)
    [tenure] = record.observe(watch.fence, [], [NewTenure(began, watch.now, first_look=False)]) or ()
    assert record.approved([tenure.id]) == []
    assert record.drifted(watch.fence, [Drift(tenure.id, decision_id, Change("version.source", "s3://a", None))])
    record.observe(watch.fence, [EndOfTenure(Ended(tenure), watch.now)], [])
    for _ in range(2):
        record.attribute(watch.fence, Traces(), lambda moves: Recognised({}))
    strays = record.keep_strays(watch.fence, [Stray("churn", "1", "transition_request.x")], all_seen=True)
    record.pointed_out(strays or ())
    record.keep_strays(watch.fence, [], all_seen=True)
    note = CycleNote("", True, Mode.ENFORCE, "", timedelta(), looked=Looked(watch.fence, 1, AsOf()))
    log.note_cycle(note)
    assert record.open_bypasses() == 0


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


# --- people ------------------------------------------------------------------------------------------------------


def run(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command.run(*arguments, environment={"PATH": "/usr/bin:/bin", "RECONCILER_AUDIT__URL": url})


READING = [
    "status", "audit list --format json", "audit show {id}", "audit report", "audit report completeness",
    "audit report decisions --format json", "audit report operated", "audit dossier {id}", "audit verify",
    "audit reperform", "audit baseline", "db check --all", "db current", "db history", "db upgrade --sql",
]  # fmt: skip


def test_an_auditor_reads_everything_and_is_never_told_to_get_more_rights(owner: str, daemon: Engine) -> None:
    work(daemon)
    with daemon.connect() as connection:
        id = connection.scalar(text("SELECT decision_id FROM decisions ORDER BY decided_at LIMIT 1"))
    auditor = login(owner, "auditor")
    for line in READING:
        done = run(auditor, *line.format(id=id).split())
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert "INSERT" not in done.stderr.upper()
        assert "GRANT" not in done.stderr.upper()


@pytest.mark.parametrize("role", ["auditor", "operator"])
def test_nobody_who_reads_may_change_history_or_what_a_daemon_works_with(owner: str, daemon: Engine, role: str) -> None:
    work(daemon)
    engine = make_engine(login(owner, role))
    may = {"pause_events", "acknowledgements", "log_leaves", "log_nodes"} if role == "operator" else set()
    for table in Base.metadata.tables:
        statements = [f"DELETE FROM {table}", f"TRUNCATE {table}"]
        statements += [] if table in may else [f"INSERT INTO {table} SELECT * FROM {table}"]
        for statement in statements:
            with pytest.raises(DBAPIError, match="permission denied"), engine.begin() as connection:
                connection.execute(text(statement))
    engine.dispose()


def test_an_operator_pauses_and_resumes_and_redacts_nothing(owner: str, daemon: Engine) -> None:
    work(daemon)
    operator = login(owner, "operator")
    assert run(operator, "pause", "--reason", "a freeze").returncode == 0
    assert run(operator, "resume").returncode == 0
    with daemon.connect() as connection:
        said = connection.execute(text("SELECT action FROM pause_events ORDER BY id DESC LIMIT 2")).scalars().all()
        id = connection.scalar(text("SELECT decision_id FROM decisions LIMIT 1"))
    assert list(said) == ["resume", "pause"]
    done = run(operator, "audit", "redact", str(id), "--field", "version.description", "--reason", "a test")
    assert (done.returncode, done.stderr.count("\n")) == (69, 1), done.stderr
    assert run(operator, "audit", "verify").returncode == 0


def test_what_an_administrator_upgrades_belongs_to_the_owner(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    at_revision(url, "0016_resolutions")
    owner = f"{make_url(url).database}_owner"
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {owner} NOLOGIN"))
        connection.execute(text(f"CREATE ROLE {owner}_of_the_desk LOGIN IN ROLE {owner}"))
        connection.execute(text(f"GRANT USAGE, CREATE ON SCHEMA public TO {owner}"))
        things = "SELECT c.oid::regclass::text, relkind FROM pg_class c WHERE relnamespace = 'public'::regnamespace"
        for name, kind in connection.execute(text(f"{things} AND relkind IN ('r', 'v')")).all():
            connection.execute(text(f"ALTER {'VIEW' if kind == 'v' else 'TABLE'} {name} OWNER TO {owner}"))
        for name in ("refuse_change()", "refuse_change_but_redaction()"):
            connection.execute(text(f"ALTER FUNCTION {name} OWNER TO {owner}"))
    schema.upgrade(make_url(url).set(username=f"{owner}_of_the_desk").render_as_string(hide_password=False))
    others = (
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_roles r ON r.oid = relowner "
        f"WHERE relnamespace = 'public'::regnamespace AND rolname <> '{owner}'"
    )
    with engine.connect() as connection:
        assert connection.execute(text(others)).scalars().all() == []
    assert check(engine, everything=True).faults == ()
    engine.dispose()


def test_check_fails_where_the_daemons_login_could_be_the_owner(owner: str) -> None:
    url = daemon_role(owner)
    assert next(row for row in checked(url) if row["name"] == "rights")["level"] == "OK"
    engine = make_engine(owner)
    with engine.begin() as connection:
        prefix, name = make_url(owner).database, make_url(url).username
        connection.execute(text(f"GRANT {prefix}_owner TO {name}"))
    engine.dispose()
    [found] = [row for row in checked(url) if row["name"] == "rights"]
    assert found["level"] == "FAIL"
    assert f"is a member of {prefix}_owner, which owns the schema" in found["detail"]


def checked(url: str) -> list[dict[str, Any]]:
    return json.loads(run(url, "check", "--json").stdout)


def test_the_script_may_be_run_again_and_takes_back_what_it_no_longer_grants(owner: str) -> None:
    prefix = make_roles(owner)
    engine = make_engine(owner)
    with engine.begin() as connection:
        connection.execute(text(f"GRANT INSERT, UPDATE (reason) ON decisions TO {prefix}_auditor"))
    make_roles(owner)
    held = (
        "SELECT has_table_privilege(:role, 'decisions', 'INSERT'), "
        "has_column_privilege(:role, 'decisions', 'reason', 'UPDATE'), "
        "has_table_privilege(:role, 'decisions', 'SELECT')"
    )
    with engine.connect() as connection:
        assert tuple(connection.execute(text(held), {"role": f"{prefix}_auditor"}).one()) == (False, False, True)
    engine.dispose()


@pytest.mark.parametrize("options", [["--prefix", "a b"], ["--schema", "x;y"], ["--prefix", ""]])
def test_a_name_that_is_not_plain_is_refused(options: list[str]) -> None:
    done = command.run("db", "roles", *options, environment={"PATH": "/usr/bin:/bin"})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
