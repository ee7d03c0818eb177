"""A process that is stopped within the transaction that writes what it saw, and goes on later, as a machine may be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from sqlalchemy import create_engine, text

import tests
from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.log import appending
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce, Times
from reconciler.domain.decision import Mode
from reconciler.domain.target import Target
from reconciler.failpoints import watching
from reconciler.policy.file import parse_policy
from reconciler.ports import AuditUnavailable
from tests.builders import accuracy_policy
from tests.crash.record import says_nothing_false
from tests.fake_registry import FakeRegistry
from tests.postgres import PostgresServer


def cycle(url: str, name: str, version: str = "") -> None:
    """One cycle of a daemon of this name, over a registry in which this version holds Production."""
    engine, registry = make_engine(url), FakeRegistry()
    if version:
        registry.accuracy["fraud", version] = "0.95"
        registry.holders["fraud", Target.parse("Production")] = version
    loaded = parse_policy(accuracy_policy(), "policy.yaml")
    log = SqlAuditLog(engine, name, registry.uri)
    daemon = Cycle(registry, log, times=Times(), everything_is_due=True)
    daemon.run(PolicyInForce(loaded.policy, loaded.digest, loaded.text), Mode.ENFORCE)
    engine.dispose()


def stopped(url: str) -> None:
    """The process of the test's own: it stops when what it saw is about to be committed."""

    def stop(name: str) -> None:
        if name == "observations to be committed":
            os.kill(os.getpid(), signal.SIGSTOP)

    appending._LONGEST_SILENCE = "1s"  # type: ignore[misc]
    with watching(stop):
        try:
            cycle(url, "test:1", "1")
        except AuditUnavailable as error:
            print(error, flush=True)


def test_others_write_though_a_process_is_stopped_in_its_transaction_and_its_rows_are_written_by_nobody(
    postgres: PostgresServer,
) -> None:
    url = postgres.new_database()
    schema.upgrade(url)
    cycle(url, "test:1")
    code = f"from tests.store.test_stopped_in_a_transaction import stopped; stopped({url!r})"
    root = Path(tests.__file__).parents[1]
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("UPDATE looks SET leased_until = now() - interval '1 hour'"))
        cycle(url, "test:2", "2")
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate()
        with engine.connect() as connection:
            held = connection.execute(text("SELECT version FROM tenures")).scalars().all()
        engine.dispose()
    finally:
        process.kill()
        process.wait()
    assert "audit database" in said
    assert held == ["2"]
    says_nothing_false(url)
