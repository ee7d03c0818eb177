"""`audit redact`, `evidence.exclude` and what `db check` says of clocks, as people type and read them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.running.pauses import PAUSE, RESUME, note_pause
from tests import command
from tests.postgres import PostgresServer
from tests.roles import daemon_role
from tests.store.test_log import decide

Run = Callable[..., "subprocess.CompletedProcess[str]"]
METRIC = "run.metrics.validation_accuracy"


def running(url: str) -> Run:
    environment = {**os.environ, "RECONCILER_AUDIT__URL": url}
    return lambda *arguments: command.run(*arguments, environment=environment)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with one decision."""
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    schema.upgrade(url)
    engine = make_engine(url)
    decide(engine, 1)
    engine.dispose()
    return url


def one_decision(run: Run) -> str:
    [row] = json.loads(run("audit", "list", "--format", "json").stdout)
    return str(row["decision_id"])


def test_a_field_is_removed_and_what_still_shows_it_is_told(url: str) -> None:
    run = running(url)
    id = one_decision(run)
    done = run("audit", "redact", id[:8], "--field", METRIC, "--reason", "ticket 71", "--by", "ada")
    assert done.returncode == 0
    assert done.stdout.startswith(f"removed {METRIC} from the evidence of decision {id}; its digest ")
    assert done.stderr.splitlines() == [
        "not removed: decisions.reason, decision_checks.observed, decision_checks.source of this decision show the "
        "value, or a part of it",
        "not reached: the registry, backups and copies of this database, logs and reports",
    ]
    shown = json.loads(run("audit", "show", id, "--format", "json").stdout)
    assert shown["evidence"]["run"]["metrics"] == {"validation_accuracy": {"redacted": True}}
    assert run("audit", "verify").stdout.startswith("intact: 6 entries, 1 field redacted, root ")


def test_what_cannot_be_redacted_is_said_in_one_line(url: str) -> None:
    run = running(url)
    id = one_decision(run)
    for arguments, code, said in (
        ((id, "--field", "run.metrics.f1", "--reason", "x"), 4, "the evidence has no field 'run.metrics.f1': it has "),
        ((id, "--field", "format", "--reason", "x"), 4, "'format' cannot be redacted"),
        (("0" * 36, "--field", METRIC, "--reason", "x"), 4, "no decision id begins with"),
        ((id, "--field", METRIC, "--reason", " "), 2, "--reason"),
    ):
        done = run("audit", "redact", *arguments)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (code, "", 1), done
        assert said in done.stderr
    assert "redacted" not in run("audit", "verify").stdout


def test_the_daemons_role_may_not_redact_and_the_owner_may(postgres: PostgresServer) -> None:
    owner = postgres.new_database()
    schema.upgrade(owner)
    engine = make_engine(owner)
    decide(engine, 1)
    engine.dispose()
    daemon = running(daemon_role(owner))
    id = one_decision(daemon)
    redact = ("audit", "redact", id, "--field", METRIC, "--reason", "x")
    refused = daemon(*redact)
    assert (refused.returncode, refused.stdout) == (69, "")
    assert refused.stderr == "this role may not redact: set RECONCILER_AUDIT__URL to that of the tables' owner\n"
    assert running(owner)(*redact).returncode == 0
    assert "1 field redacted" in daemon("audit", "verify").stdout


# --- evidence.exclude ----------------------------------------------------------------------------------------


def test_a_policy_that_asks_for_what_is_kept_out_is_warned_about(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("version: 1\nrules: [{name: r, targets: [Production], require: [{tag: pii.owner}]}]\n")
    environment = {**os.environ, "RECONCILER_EVIDENCE__EXCLUDE": "email, pii.*"}
    done = command.run("policy", "validate", str(policy), environment=environment)
    assert done.returncode == 0
    assert done.stderr == (
        f"warning: {policy}: rule 'r': tag pii.owner is kept out of the evidence by evidence.exclude, so no request "
        "under this rule is decided: change one of the two\n"
    )
    environment |= {"RECONCILER_POLICY": str(policy), "RECONCILER_AUDIT__URL": f"sqlite:///{tmp_path}/no.db"}
    told = json.loads(command.run("check", "--json", environment=environment).stdout)
    [(level, detail)] = [(one["level"], one["detail"]) for one in told if one["name"] == "policy"]
    assert level == "WARN"
    assert detail.startswith("rule 'r': tag pii.owner is kept out of the evidence by evidence.exclude")
    environment["RECONCILER_EVIDENCE__EXCLUDE"] = "email"
    assert command.run("policy", "validate", str(policy), environment=environment).stderr == ""


# --- clocks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_clock_that_ran_backwards_is_told_with_both_entries_and_times(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    if database == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    schema.upgrade(url)
    engine = make_engine(url)
    for action in (PAUSE, RESUME, PAUSE, RESUME):
        note_pause(engine, action, "a test", "ada")
    run = running(url)
    assert run("db", "check").stdout == ""
    times = ("10:00:00", "10:00:10", "10:00:06", "09:00:00")
    on_sqlite = database == "sqlite"
    with engine.begin() as connection:
        if on_sqlite:
            connection.execute(text("DROP TRIGGER pause_events_no_update"))
        else:
            connection.execute(text("ALTER TABLE pause_events DISABLE TRIGGER ALL"))
        for number, at in enumerate(times, start=1):
            value = f"2026-11-26T{at}.000Z"
            connection.execute(text(f"UPDATE pause_events SET at = '{value}' WHERE id = {number}"))
    engine.dispose()
    assert [line for line in run("db", "check", "--all").stdout.splitlines() if "clock" in line] == [
        "the clock ran backwards by 1h: entry 3 of the log (pause_events) is of 2026-11-26T09:00:00.000Z, "
        "entry 1 before it of 2026-11-26T10:00:10.000Z"
    ]
