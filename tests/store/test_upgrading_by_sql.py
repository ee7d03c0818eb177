"""The statements of `db upgrade --sql`, run by somebody else's client, and what `db upgrade` does after them."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import make_url

from reconciler.audit import schema
from reconciler.domain.decision import Outcome, OutcomeKind
from reconciler.ports import Ending
from tests import command
from tests.postgres import PostgresServer
from tests.store.test_store import Audit, audit, claimed
from tests.store.test_upgrading import as_text, assert_intact, at_revision, copied, held

__all__ = ["audit"]  # a fixture


def sql_for(url: str) -> str:
    """What the command prints; it may leave no other trace."""
    done = command.run("db", "upgrade", "--sql", environment={"PATH": "/usr/bin:/bin", "RECONCILER_AUDIT__URL": url})
    assert done.returncode == 0, done.stderr
    return done.stdout


def by_an_administrator(url: str, statements: str) -> None:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(statements.encode())


def test_an_empty_database_becomes_the_same_as_by_an_upgrade(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    statements = sql_for(url)
    assert schema.current(url) is None
    by_an_administrator(url, statements)
    assert schema.current(url) == schema.head()
    schema.upgrade(url)
    checked = command.run("db", "check", environment={"PATH": "/usr/bin:/bin", "RECONCILER_AUDIT__URL": url})
    assert (checked.returncode, checked.stdout) == (0, "")
    assert sql_for(url) == ""


@pytest.mark.parametrize("audit_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("revision", ["0001_decisions", "0010_unread_lists", "0013_log", schema.revisions()[-2]])
def test_a_full_database_keeps_every_row(audit: Audit, postgres: PostgresServer, revision: str) -> None:
    for model, accuracy in (("approved", "0.95"), ("rejected", "0.5"), ("under-way", "0.95")):
        audit.log.record(audit.judged(model, accuracy=accuracy))
        [pending] = [one for one in claimed(audit.log) if one.decision.request.model == model]
        if model != "under-way":
            audit.log.conclude(Ending(pending, Outcome(OutcomeKind.APPLIED, "shown")))
    url = postgres.new_database()
    at_revision(url, revision)
    put = copied(audit.url, url, revision)
    by_an_administrator(url, sql_for(url))
    schema.upgrade(url)
    assert as_text(held(url, put, revision)) == as_text(put)
    assert_intact(url)


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [("sqlite:////nowhere/audit.db", 2, "--sql: is for PostgreSQL: run `db upgrade` itself on SQLite"),
     ("postgresql://127.0.0.1:1/audit", 69, "127.0.0.1")],
)  # fmt: skip
def test_what_it_cannot_do_is_one_sentence(url: str, code: int, says: str) -> None:
    done = command.run("db", "upgrade", "--sql", environment={"PATH": "/usr/bin:/bin", "RECONCILER_AUDIT__URL": url})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert says in done.stderr


def test_a_database_of_another_program_gets_no_statements(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    by_an_administrator(url, "CREATE TABLE theirs (id int)")
    done = command.run("db", "upgrade", "--sql", environment={"PATH": "/usr/bin:/bin", "RECONCILER_AUDIT__URL": url})
    assert (done.returncode, done.stdout) == (78, "")
    assert "holds other tables (theirs, …): give the audit a database of its own" in done.stderr


def test_the_history_says_what_is_to_come(postgres: PostgresServer) -> None:
    url = postgres.new_database()
    at_revision(url, "0010_unread_lists")
    environment = {"PATH": "/usr/bin:/bin", "RECONCILER_AUDIT__URL": url}
    shown = command.run("db", "history", "--format", "csv", environment=environment).stdout.splitlines()
    assert [line.split(",")[0] for line in shown[1:]] == schema.revisions()
    assert [line.split(",")[1] for line in shown[1:]] == ["applied"] * 10 + ["to come"] * (len(shown) - 11)
