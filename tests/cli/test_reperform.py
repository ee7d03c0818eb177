"""`audit reperform`, as an auditor types it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from reconciler.audit.database import make_engine
from reconciler.audit.evidence.redacting import redact
from reconciler.audit.reader import AuditReader, DecisionFilter
from tests import command
from tests.postgres import PostgresServer
from tests.store.test_log import decide
from tests.store.test_reperforming import as_owner
from tests.terminal import on_terminal

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def url(audit_url: str) -> str:
    """A database with three decisions."""
    from reconciler.audit import schema

    schema.upgrade(audit_url)
    engine = make_engine(audit_url)
    decide(engine, 3)
    engine.dispose()
    return audit_url


def running(url: str) -> Run:
    environment = {**os.environ, "RECONCILER_AUDIT__URL": url}
    return lambda *arguments: command.run("audit", "reperform", *arguments, environment=environment)


def ids(url: str) -> list[str]:
    engine = make_engine(url)
    rows = AuditReader(engine).decisions(DecisionFilter())
    engine.dispose()
    return sorted(str(row["decision_id"]) for row in rows)


def change(url: str, statement: str, **values: str) -> None:
    engine = make_engine(url)
    with as_owner(engine) as connection:
        connection.execute(text(statement), values)
    engine.dispose()


def flip(url: str, id: str) -> None:
    change(url, "UPDATE decisions SET verdict = 'reject' WHERE decision_id = :id", id=id)


def test_decisions_that_agree_are_counted_with_exit_0(url: str) -> None:
    done = running(url)()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "3 decisions judged again: 3 agree, 0 differ, 0 cannot be judged\n"


def test_one_decision_by_the_beginning_of_its_id(url: str) -> None:
    run, [first, *_] = running(url), ids(url)
    assert run(first[:13]).stdout == "1 decision judged again: 1 agree, 0 differ, 0 cannot be judged\n"
    missing = run("nothing")
    assert (missing.returncode, missing.stdout) == (4, "")
    both = run(first, "--since", "1d")
    assert (both.returncode, "leave out --since and --until" in both.stderr) == (2, True)
    backwards = run("--since", "2026-02-01", "--until", "2026-01-01")
    assert (backwards.returncode, "the period ends before it begins" in backwards.stderr) == (2, True)


def test_a_period_without_decisions_has_none_that_differ(url: str) -> None:
    done = running(url)("--until", "2020-01-01")
    assert (done.returncode, done.stdout[:26]) == (0, "0 decisions judged again: ")


def test_a_flipped_verdict_is_told_with_both_values_and_exit_1(url: str) -> None:
    flipped = ids(url)[1]
    flip(url, flipped)
    done = running(url)()
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert re.fullmatch(rf"{flipped} model-\w+ version \d to Production, decided \S+: differs", lines[0])
    assert lines[1:] == [
        "  verdict: recorded reject, judged again approve",
        "3 decisions judged again: 2 agree, 1 differ, 0 cannot be judged",
    ]


def test_every_format_has_the_same_rows(url: str) -> None:
    flip(url, ids(url)[0])
    run = running(url)
    whole = json.loads(run("--format", "json").stdout)
    [row] = whole.pop("rows")
    assert whole == {"decisions": 3, "agree": 2, "differ": 1, "unknown": 0}
    assert (row["what"], row["recorded"], row["judged_again"]) == ("verdict", "reject", "approve")
    [line] = run("--format", "jsonl").stdout.splitlines()
    assert json.loads(line) == row
    as_csv = run("--format", "csv")
    assert list(csv.DictReader(io.StringIO(as_csv.stdout))) == [row]
    assert as_csv.stderr == "3 decisions judged again: 2 agree, 1 differ, 0 cannot be judged\n"


def test_what_was_redacted_cannot_be_told_with_exit_3(url: str) -> None:
    engine = make_engine(url)
    redact(engine, ids(url)[2], ["run.metrics.validation_accuracy"], "ticket", "ada")
    engine.dispose()
    done = running(url)()
    assert done.returncode == 3
    assert done.stdout.splitlines()[1:] == [
        "  accuracy/metric validation_accuracy: result: cannot be judged: run.metrics.validation_accuracy was redacted",
        "3 decisions judged again: 2 agree, 0 differ, 1 cannot be judged",
    ]
    flip(url, ids(url)[0])
    assert running(url)().returncode == 1


def test_names_that_strangers_wrote_do_nothing_in_a_terminal_or_a_spreadsheet(url: str) -> None:
    change(url, "UPDATE decisions SET model = :model", model="=cmd\x1b[31m\n")
    for format in ("table", "csv", "json", "jsonl"):
        assert "\x1b" not in running(url)("--format", format).stdout
    rows = list(csv.DictReader(io.StringIO(running(url)("--format", "csv").stdout)))
    assert {row["model"] for row in rows} == {"'=cmd\\u001b[31m\\n"}


def test_a_terminal_sees_no_rest_of_the_progress_bar(url: str) -> None:
    code, shown = on_terminal([command.COMMAND, "audit", "reperform"], {**os.environ, "RECONCILER_AUDIT__URL": url})
    assert code == 0
    assert shown.splitlines()[-1].endswith("3 decisions judged again: 3 agree, 0 differ, 0 cannot be judged")


def test_a_database_that_is_not_there_is_not_reached(tmp_path: Path) -> None:
    done = running(f"sqlite:///{tmp_path}/none.db")()
    assert (done.returncode, done.stdout) == (69, "")


def test_a_role_that_may_only_read_can_do_it(postgres: PostgresServer) -> None:
    from reconciler.audit import schema

    owner = postgres.new_database()
    schema.upgrade(owner)
    engine = make_engine(owner)
    decide(engine, 2)
    role = f"reads_{engine.url.database}"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
    done = running(engine.url.set(username=role).render_as_string(hide_password=False))()
    engine.dispose()
    assert (done.returncode, done.stdout[:8]) == (0, "2 decisi")
