"""The process itself: it decides, it is stopped, it is not alone, its registry goes away."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from reconciler.demo.server import mlflow_server
from tests import command
from tests.acceptance.conftest import Product, Server
from tests.forker import Forked
from tests.manager import Manager
from tests.unit.test_transport import serving

Name = Callable[[str], str]
# Far more than any machine needs.
_HANGS_AFTER = 300.0


def until(condition: Callable[[], bool], what: str, within: float = _HANGS_AFTER) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {within:g} s: {what}"
        time.sleep(0.05)


@contextlib.contextmanager
def daemon(product: Product, log: Path, interval: str = "0.5s") -> Iterator[Forked]:
    product.variables |= {"RECONCILER_SCHEDULE__INTERVAL": interval, "RECONCILER_SCHEDULE__JITTER": "0"}
    log.write_bytes(b"")
    process = command.start("run", environment=product.environment(), log=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def ended(process: Forked) -> int:
    """Its exit code. How long it may take is for a clock that a test controls (tests/unit/test_stopping.py)."""
    return process.wait(_HANGS_AFTER)


def test_a_typed_request_is_decided_by_the_running_daemon_and_sigterm_ends_it(
    server: Server, product: Product, name: Name, tmp_path: Path
) -> None:
    server.version(name("fraud"), metric=0.94)
    log = tmp_path / "log"
    with daemon(product, log) as process:
        until(lambda: b"cycle: 0 open" in log.read_bytes(), "the first cycle")
        server.tag(name("fraud"), "please")
        until(lambda: server.shown(name("fraud"))["current_stage"] == "Production", "the version in Production")
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    assert b"Traceback" not in log.read_bytes()
    assert [row["outcome"] for row in product.decisions()] == ["applied"]


def test_a_second_daemon_on_one_sqlite_file_exits_78_and_names_the_first(product: Product, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with daemon(product, log) as process:
        until(lambda: b"cycle:" in log.read_bytes(), "the first cycle")
        second = product.run("run")
        assert second.returncode == 78
        assert f"served by pid {process.pid} on " in second.stderr


def stuck_on(product: Product, uri: str) -> None:
    """Its calls wait far longer than a test does."""
    product.variables |= {"RECONCILER_REGISTRY__URI": uri, "RECONCILER_REGISTRY__TIMEOUT": "10m"}
    product.variables["RECONCILER_SCHEDULE__LEASE"] = "1h"


def test_a_second_signal_ends_the_daemon_at_once(product: Product, tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    with serving(holding) as stuck, contextlib.closing(manager):
        stuck_on(product, stuck.uri)
        product.variables["NOTIFY_SOCKET"] = manager.address
        with daemon(product, tmp_path / "log") as process:
            until(lambda: bool(stuck.seen), "the first call")
            process.send_signal(signal.SIGTERM)
            until(lambda: "STOPPING=1" in manager.listen(), "the first signal taken")
            # At once it would be taken for the same wish.
            time.sleep(1)
            process.send_signal(signal.SIGTERM)
            # One that had waited for the call would end with 0.
            assert ended(process) == 130


def test_one_wish_that_comes_twice_stops_the_daemon_in_order(product: Product, tmp_path: Path) -> None:
    """`timeout` sends SIGTERM to its command, and to the group that it is in."""
    log = tmp_path / "log"
    with daemon(product, log) as process:
        until(lambda: b"cycle:" in log.read_bytes(), "the first cycle")
        process.send_signal(signal.SIGTERM)
        time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    assert b"stopped" in log.read_bytes()


def test_a_registry_that_hangs_does_not_keep_the_daemon(product: Product, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(holding) as stuck:
        stuck_on(product, stuck.uri)
        with daemon(product, log) as process:
            until(lambda: bool(stuck.seen), "the first call")
            process.send_signal(signal.SIGTERM)
            assert ended(process) == 0
    # It left in the middle of the cycle.
    assert b"the next start settles what is open" in log.read_bytes()
    assert b"cycle:" not in log.read_bytes()


def test_a_pause_waits_for_a_daemon_whose_first_cycle_has_not_ended(product: Product, tmp_path: Path) -> None:
    with serving(holding) as stuck:
        stuck_on(product, stuck.uri)
        with daemon(product, tmp_path / "log") as process:
            until(lambda: bool(stuck.seen), "the first call")
            done = product.run("pause", "--reason", "a release", "--wait", "--timeout", "1s")
            assert done.returncode == 1
            assert f":{process.pid}" in done.stderr
            assert f":{process.pid}" in product.ok("status")


def holding(handler: BaseHTTPRequestHandler) -> None:
    """Says nothing until the other side has gone."""
    handler.connection.settimeout(600)
    with contextlib.suppress(OSError):
        handler.connection.recv(1)


def test_the_log_has_one_line_for_a_decision_one_for_its_outcome_and_json_if_wanted(
    server: Server, product: Product, name: Name, tmp_path: Path
) -> None:
    server.version(name("fraud"), metric=0.94)
    server.tag(name("fraud"), "please")
    product.variables["RECONCILER_LOG__FORMAT"] = "json"
    log = tmp_path / "log"
    with daemon(product, log):
        until(lambda: b"1 approved" in log.read_bytes(), "the cycle that decides")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    decided, applied = [line for line in lines if line.get("model") == name("fraud")]
    assert (decided["event"], decided["verdict"], decided["version"]) == ("decided", "approve", "1")
    assert (applied["event"], applied["level"]) == ("outcome", "info")
    assert ": applied (moved): " in applied["message"]
    for line in (decided, applied):
        assert line["decision_id"] in line["message"]


def test_a_registry_that_goes_away_gets_one_line_a_cycle_and_is_found_again(product: Product, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with mlflow_server(tmp_path / "own") as uri:
        port = uri.rpartition(":")[2]
        product.uri = uri
        with daemon(product, log):
            until(lambda: b"cycle: 0 open" in log.read_bytes(), "the first cycle")
            os.kill(_listening_on(int(port)), signal.SIGSTOP)
            product.variables["RECONCILER_REGISTRY__TIMEOUT"] = "1s"
            until(lambda: b"nothing decided: GET" in log.read_bytes(), "a line that says so")
            os.kill(_listening_on(int(port)), signal.SIGCONT)
            lines = log.read_bytes().count(b"cycle: 0 open")
            until(lambda: log.read_bytes().count(b"cycle: 0 open") > lines, "the next good cycle")
    assert b"Traceback" not in log.read_bytes()


def _listening_on(port: int) -> int:
    import psutil

    for connection in psutil.net_connections("tcp4"):
        if connection.laddr and connection.laddr[1] == port and connection.status == "LISTEN" and connection.pid:
            return connection.pid
    pytest.fail(f"nobody listens on {port}")


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"RECONCILER_POLICY": "/nowhere/policy.yaml"}, "/nowhere/policy.yaml: cannot read the file"),
        ({"RECONCILER_MODE": "enforced"}, "RECONCILER_MODE: 'enforced'"),
        ({"RECONCILER_REGISTRY__URI": "http://mlflow.example.com"}, "registry.allow_plaintext"),
        ({"RECONCILER_REGISTRY__URI": "https://me:s3cret@mlflow.example.com"}, "user or password"),
    ],
)
@pytest.mark.parametrize("command", ["run", "once"])
def test_a_wrong_configuration_exits_78_in_one_line(
    product: Product, variables: dict[str, str], says: str, command: str
) -> None:
    product.variables = variables
    done = product.run(command)
    assert done.returncode == 78
    assert says in done.stderr
    assert "s3cret" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_database_without_a_schema_exits_78_with_the_command(product: Product, tmp_path: Path) -> None:
    product.variables["RECONCILER_AUDIT__URL"] = f"sqlite:///{tmp_path}/other.db"
    codes = {}
    for there in (False, True):
        for word in ("run", "once", "status"):
            done = product.run(word)
            assert "mlflow-reconciler db upgrade" in done.stderr
            codes[word, there] = done.returncode
        (tmp_path / "other.db").touch()
    # Whoever only looks at a file that is not there has mistyped its path.
    assert codes == {
        ("run", False): 78, ("once", False): 78, ("status", False): 69,
        ("run", True): 78, ("once", True): 78, ("status", True): 78,
    }  # fmt: skip
