"""When the control operated, of real processes: killed, stopped by the operating system, reloaded, run by hand."""

from __future__ import annotations

import json
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import Product, Server
from tests.acceptance.test_daemon import daemon, ended, until


def asked(product: Product, query: str) -> list[tuple[Any, ...]]:
    """As an auditor asks, with sqlite3 alone."""
    with closing(sqlite3.connect(product.place / "audit.db")) as connection:
        return connection.execute(query).fetchall()


def cycles(log: Path) -> int:
    return log.read_bytes().count(b"cycle: ")


def running(product: Product) -> int:
    return len(asked(product, "SELECT 1 FROM running_periods WHERE state = 'running'"))


def last_cycle(product: Product) -> list[tuple[Any, ...]]:
    return asked(product, "SELECT last_cycle_at FROM daemons ORDER BY name")


def policy_periods(product: Product) -> int:
    return int(asked(product, "SELECT count(*) FROM policy_periods")[0][0])


def test_the_time_between_a_kill_and_the_next_start_is_a_gap(product: Product, tmp_path: Path) -> None:
    for number in range(2):
        with daemon(product, tmp_path / f"log{number}") as process:
            until(lambda seen=number: running(product) > seen, "the first cycle has begun")  # type: ignore[misc]
            until(lambda: cycles(tmp_path / f"log{number}") > 0, "a cycle has ended")  # noqa: B023
            process.send_signal(signal.SIGKILL)
            process.wait()
        time.sleep(2)
    periods = asked(product, "SELECT daemon, state, ended_at IS NULL FROM running_periods ORDER BY began_at")
    assert [(state, goes_on) for _, state, goes_on in periods] == [("running", 0), ("running", 1)]
    seconds = asked(product, "SELECT seconds FROM control_gaps WHERE ended_at IS NOT NULL")
    assert len(seconds) == 1
    assert seconds[0][0] >= 2


def test_a_process_that_the_system_stopped_did_not_operate(product: Product, tmp_path: Path) -> None:
    log = tmp_path / "log"
    stood_still = "SELECT (julianday(ended_at) - julianday(began_at)) * 86400 FROM running_periods "
    stood_still += "WHERE state = 'stood_still' AND ended_at IS NOT NULL"

    def stopped() -> bool:
        process.send_signal(signal.SIGSTOP)
        time.sleep(8)
        last = last_cycle(product)
        process.send_signal(signal.SIGCONT)
        until(lambda: last_cycle(product) != last, "the cycle after it has ended")
        return any(seconds >= 7.9 for (seconds,) in asked(product, stood_still))

    with daemon(product, log, interval="1s") as process:
        until(lambda: running(product) > 0 and cycles(log) > 0, "the first cycle")
        # A cycle may take far longer, so that it has to be stopped between two.
        until(stopped, "it says that it stood still", within=300)
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    assert asked(product, "SELECT count(*) FROM running_periods WHERE ended_at IS NULL") == [(0,)]


def test_a_reload_begins_a_period_of_the_new_policy_and_names_file_and_account(
    product: Product, tmp_path: Path
) -> None:
    log, text = tmp_path / "log", (product.place / "policy.yaml").read_text()
    with daemon(product, log) as process:
        for number, comment in enumerate(("", "# another\n", "")):
            product.policy(text + comment)
            until(lambda seen=number: policy_periods(product) == seen + 1, "its period")  # type: ignore[misc]
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    rows = asked(product, "SELECT policy_digest, policy_file, loaded_by FROM policy_periods ORDER BY began_at")
    digests = [digest for digest, _, _ in rows]
    assert digests[0] == digests[2] != digests[1]
    assert {file for _, file, _ in rows} == {str(product.place / "policy.yaml")}
    assert all("@" in account for _, _, account in rows)


def test_once_on_a_schedule_is_one_period(product: Product) -> None:
    product.variables["RECONCILER_SCHEDULE__INTERVAL"] = "10m"
    for _ in range(3):
        assert product.run("once").returncode == 0
    assert asked(product, "SELECT count(*) FROM running_states") == [(1,)]
    assert len(asked(product, "SELECT 1 FROM running_periods WHERE last_seen_at > began_at")) == 1


def test_who_runs_one_cycle_finds_what_it_approved_in_the_report(product: Product, name: Callable[[str], str]) -> None:
    server = Server(product.uri)
    server.version(name("fraud"), metric=0.95)
    server.ask(name("fraud"))
    product.ok("once")
    assert server.shown(name("fraud"))["current_stage"] == "Production"
    told = product.ok("audit", "report", "completeness", "--model", name("fraud"), "--format", "json")
    report = json.loads(told)
    assert [(one["version"], one["began_by"]) for one in report["tenures"]] == [("1", "decision")]
    assert "since the last look" not in report["opinion"]
