"""When the audit cannot be written or the registry misbehaves, nothing is done; afterwards everything is."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from reconciler.audit import schema
from tests.acceptance.conftest import REQUEST, Product, Server
from tests.acceptance.test_daemon import daemon, ended, until
from tests.command import COMMAND
from tests.postgres import PostgresServer
from tests.unit.test_transport import Answer, dripping, replying, serving

Name = Callable[[str], str]


def test_a_revoked_insert_stops_every_act_and_the_request_is_decided_after_the_repair(
    server: Server, product: Product, name: Name, postgres: PostgresServer
) -> None:
    owner = postgres.new_database()
    schema.upgrade(owner)
    role = make_url(owner).database
    engine = create_engine(owner, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"))
        connection.execute(text(f"REVOKE INSERT ON decisions FROM {role}"))
        product.variables["RECONCILER_AUDIT__URL"] = make_url(owner).set(username=role).render_as_string(False)
        server.version(name("fraud"), metric=0.94)
        server.tag(name("fraud"), "please")
        before = server.shown(name("fraud"))
        refused = product.run("once")
        assert refused.returncode == 69
        assert "`mlflow-reconciler db roles` prints which role may do what" in refused.stderr
        assert server.shown(name("fraud")) == before
        connection.execute(text(f"GRANT INSERT ON decisions TO {role}"))
    engine.dispose()
    product.ok("once")
    assert server.shown(name("fraud"))["current_stage"] == "Production"


def test_a_database_that_nobody_may_write_stops_every_act(server: Server, product: Product, name: Name) -> None:
    server.version(name("fraud"), metric=0.94)
    server.tag(name("fraud"), "please")
    path = product.place / "audit.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("CREATE TRIGGER full BEFORE INSERT ON decisions BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    done = product.run("once")
    assert (done.returncode, "free some space" in done.stderr) == (69, True)
    assert server.shown(name("fraud"))["tags"] == {REQUEST: "please"}
    holder.execute("DROP TRIGGER full")
    holder.close()
    product.ok("once")
    assert server.shown(name("fraud"))["current_stage"] == "Production"


@pytest.mark.parametrize(
    "answer",
    [replying(500), replying(401, "no"), replying(200, "<html>"), replying(200, b" " * 40_000_000), dripping],
    ids=["500", "401", "html", "40 MB", "drip"],
)
def test_a_registry_that_misbehaves_gets_one_line_and_exit_69(product: Product, answer: Answer) -> None:
    with serving(answer) as broken:
        product.variables |= {"RECONCILER_REGISTRY__URI": broken.uri, "RECONCILER_REGISTRY__TIMEOUT": "2s"}
        done = product.run("once")
    assert done.returncode == 69
    assert len(done.stderr.splitlines()) == 1
    assert "nothing decided: GET" in done.stderr
    assert product.decisions() == []


def test_sigterm_in_the_middle_of_a_cycle_leaves_nothing_that_the_next_start_does_not_finish(
    server: Server, product: Product, name: Name, tmp_path: Path
) -> None:
    for number in range(15):
        server.version(name(f"m{number}"), metric=0.94)
        server.tag(name(f"m{number}"), "please")
    log = tmp_path / "log"
    with daemon(product, log) as process:
        until(lambda: b": applied:" in log.read_bytes() or b": approve:" in log.read_bytes(), "the first decision")
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    product.ok("once")
    assert [row["outcome"] for row in product.decisions()] == ["applied"] * 15
    assert {server.shown(name(f"m{number}"))["current_stage"] for number in range(15)} == {"Production"}


def test_killed_at_once_the_next_cycle_finishes_what_was_decided(
    server: Server, product: Product, name: Name, tmp_path: Path
) -> None:
    for number in range(10):
        server.version(name(f"m{number}"), metric=0.94)
        server.tag(name(f"m{number}"), "please")
    log = tmp_path / "log"
    with daemon(product, log) as process:
        until(lambda: b": approve:" in log.read_bytes(), "the first decision")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    product.ok("once")
    assert [row["outcome"] for row in product.decisions()] == ["applied"] * 10


def test_a_reader_that_goes_away_gets_no_traceback(product: Product) -> None:
    command = f"{COMMAND} policy schema | head -1"
    done = subprocess.run(
        ["bash", "-c", command], env=product.environment(), capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("{\n", "")
