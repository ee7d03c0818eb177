"""What systemd is told, and what it will make of the units."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.cli.service import CONFIG, UNITS, templates
from reconciler.settings.secret_files import SECRETS, SIGNING_KEY
from tests.acceptance.conftest import Product
from tests.acceptance.test_daemon import daemon, ended, until
from tests.command import COMMAND
from tests.databricks_double import Workspace
from tests.manager import Manager
from tests.operations.conftest import POLICY

ROOT = Path(__file__).resolve().parents[2]
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not on this machine")


class Gate:
    """Each call of the registry waits here until it is let through."""

    def __init__(self) -> None:
        self.arrived = 0
        self._places = threading.Semaphore(0)

    def __call__(self, method: str, path: str) -> None:
        self.arrived += 1
        self._places.acquire()

    def let_through(self, calls: int = 1) -> None:
        self._places.release(calls)


def frozen(pid: int) -> bool:
    """Every thread has stopped: a signal takes its time."""
    states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else f"@reconciler-test-{os.getpid()}")
    yield manager
    manager.close()


def watched(product: Product, manager: Manager, seconds: float) -> None:
    product.variables |= {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": str(int(seconds * 1e6))}


def test_ready_comes_with_the_first_cycle_that_reached_everything_and_each_cycle_tells_its_sentence(
    held: Workspace, product: Product, manager: Manager, tmp_path: Path
) -> None:
    watched(product, manager, 1.5)
    held.wire = lambda method, path: "503"
    with daemon(product, tmp_path / "log") as process:
        until(lambda: "STATUS=waiting: nothing decided" in manager.listen(), "waiting for the registry")
        assert "READY=1" not in manager.listen()
        held.wire = lambda method, path: None
        until(lambda: "READY=1\nSTATUS=0 open" in manager.listen(), "READY")
        held.ask("m", held.version("m", "0.95"))
        until(lambda: "STATUS=1 open, 1 applied, 1 approved" in manager.listen(), "the sentence of a cycle")
        before = manager.beats()
        until(lambda: manager.beats() >= before + 2, "beats while all is well")
        process.send_signal(signal.SIGHUP)
        until(lambda: "RELOADING=1" in manager.listen(), "RELOADING")
        until(lambda: "READY=1\nSTATUS=reloaded" in manager.listen(), "READY after it")
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
        assert "STOPPING=1" in manager.listen()


def test_a_reload_before_the_first_good_cycle_is_not_taken_for_ready(
    held: Workspace, product: Product, manager: Manager, tmp_path: Path
) -> None:
    watched(product, manager, 5)
    held.wire = lambda method, path: "503"
    with daemon(product, tmp_path / "log") as process:
        until(lambda: "STATUS=waiting: nothing decided" in manager.listen(), "waiting for the registry")
        process.send_signal(signal.SIGHUP)
        until(lambda: b"reloaded: policy" in (tmp_path / "log").read_bytes(), "the reload")
        until(lambda: "STATUS=reloaded" in manager.listen(), "STATUS of it")
        assert "READY=1" not in manager.listen()
        assert "RELOADING=1" not in manager.listen()


def test_between_two_cycles_the_schedule_feeds_the_watchdog(
    held: Workspace, product: Product, manager: Manager, tmp_path: Path
) -> None:
    watched(product, manager, 0.9)

    def three_beats_without_a_call() -> bool:
        calls, before = len(held.calls), manager.beats()
        until(lambda: manager.beats() >= before + 3, "three beats")
        return len(held.calls) == calls

    with daemon(product, tmp_path / "log", interval="1h"):
        until(lambda: "READY=1" in manager.listen(), "READY")
        until(three_beats_without_a_call, "beats while nothing is to be done")


def test_a_hung_registry_starves_the_watchdog_and_each_answer_of_a_slow_one_feeds_it(
    held: Workspace, product: Product, manager: Manager, tmp_path: Path
) -> None:
    watched(product, manager, 0.9)
    product.variables |= {"RECONCILER_REGISTRY__TIMEOUT": "5m", "RECONCILER_SCHEDULE__LEASE": "1h"}
    for number in range(40):
        held.version(f"m{number}", "0.95")
    held.wire = gate = Gate()
    # All in the first cycle: there is none after it for an hour.
    with daemon(product, tmp_path / "log", interval="1h"):
        until(lambda: gate.arrived > 0, "the first call")
        until(lambda: manager.silent_for(3.0), "silence while the registry hangs")
        for _ in range(6):
            # Longer than a fifth of the watchdog's time, in which one beat is enough.
            time.sleep(0.2)
            before = manager.beats()
            gate.let_through()
            until(lambda before=before: manager.beats() > before, "a beat for an answer")  # type: ignore[misc]
        until(lambda: manager.silent_for(3.0), "silence while it hangs again")
        assert "READY=1" not in manager.listen()
        gate.let_through(1000)
        until(lambda: "READY=1" in manager.listen(), "the end of the cycle")


def test_a_frozen_daemon_says_nothing(product: Product, manager: Manager, tmp_path: Path) -> None:
    watched(product, manager, 0.9)
    with daemon(product, tmp_path / "log") as process:
        until(lambda: "READY=1" in manager.listen(), "READY")
        process.send_signal(signal.SIGSTOP)
        until(lambda: frozen(process.pid), "every thread to stop")
        assert manager.silent_for(2.0)
        before = manager.beats()
        process.send_signal(signal.SIGCONT)
        until(lambda: manager.beats() > before, "a beat after it")


def test_a_hung_database_starves_the_watchdog(product: Product, manager: Manager, tmp_path: Path) -> None:
    import sqlite3

    watched(product, manager, 0.9)
    with daemon(product, tmp_path / "log"):
        until(lambda: "READY=1" in manager.listen(), "READY")
        holder = sqlite3.connect(tmp_path / "audit.db", timeout=60, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        # A cycle that runs when the database hangs goes on until it asks; the one after it asks at once.
        until(lambda: manager.silent_for(3.0), "silence while the database hangs")
        before = manager.beats()
        holder.close()
        until(lambda: manager.beats() > before, "a beat when it answers again")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_units_are_understood_and_exposed_at_most_one(unit: str, product: Product, tmp_path: Path) -> None:
    root, prefix = tmp_path / "root", tmp_path / "opt"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "bin/mlflow-reconciler").symlink_to(COMMAND)
    product.ok("install-service", "--root", str(root), "--prefix", str(prefix))
    path = root / "etc/systemd/system" / unit
    # Beside each other, so that the timer finds its service; without the drop-in's folder, which is not for it.
    verified = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    assert (verified.returncode, verified.stderr) == (0, "")
    if unit.endswith(".service"):
        command = [str(ANALYZE), "security", "--offline=true", "--threshold=10", "--no-pager", str(path)]
        judged = subprocess.run(command, capture_output=True, text=True, check=False)
        assert judged.returncode == 0, judged.stdout[-300:]


def test_the_service_is_installed_once_and_nothing_is_overwritten(product: Product, tmp_path: Path) -> None:
    root = tmp_path / "root"
    planned = product.ok("install-service", "--root", str(root), "--dry-run")
    assert not root.exists()
    written = product.ok("install-service", "--root", str(root))
    assert planned.replace("would write", "wrote") == written
    credentials = root / "etc/mlflow-reconciler/credentials"
    assert {path.name: path.stat().st_mode & 0o777 for path in credentials.iterdir()} == {
        "registry.token": 0o600, "registry.password": 0o600, "audit.url": 0o600,
    }  # fmt: skip
    assert credentials.stat().st_mode & 0o077 == 0
    unit = (root / "etc/systemd/system/mlflow-reconciler.service").read_text()
    assert "ExecStart=/usr/bin/mlflow-reconciler run" in unit
    (root / "etc/mlflow-reconciler/config.yaml").write_text("mine")
    assert {line.split()[0] for line in product.ok("install-service", "--root", str(root)).splitlines()} == {"kept"}
    assert (root / "etc/mlflow-reconciler/config.yaml").read_text() == "mine"


def test_the_installed_configuration_and_policy_are_valid(product: Product, tmp_path: Path) -> None:
    root = tmp_path / "root"
    product.ok("install-service", "--root", str(root))
    config = root / "etc/mlflow-reconciler/config.yaml"
    assert product.run("policy", "validate", str(root / "etc/mlflow-reconciler/policy.yaml")).returncode == 0
    lines = product.run("check", "--config", str(config)).stdout.splitlines()
    assert lines[0].startswith("OK   configuration")


@pytest.mark.parametrize("unit", ["mlflow-reconciler.service", "mlflow-reconciler@.service"])
def test_a_daemon_is_handed_every_secret_that_may_be_a_credential(unit: str) -> None:
    handed_over = re.findall(r"^LoadCredential=(\S+?):\S+/credentials/(\S+)", (templates() / unit).read_text(), re.M)
    names = {".".join(secret) for secret in (*SECRETS, SIGNING_KEY)}
    assert sorted(handed_over) == sorted((name, name) for name in names)
    # A host that was set up before has no such file, which systemd forgives only where a default is given.
    for later in ("registry.password", "audit.signing_key"):
        assert f"\nSetCredential={later}:\\n\n" in (templates() / unit).read_text()


def test_each_unit_promises_no_inbound_port() -> None:
    for unit in UNITS:
        if unit.endswith(".service"):
            text = (templates() / unit).read_text()
            assert "SocketBindDeny=any\n" in text
            assert "IPAddressDeny=any\n" in text


def test_the_metrics_path_that_is_proposed_lies_in_a_folder_that_the_service_may_write_and_others_read() -> None:
    [proposed] = re.findall(r"^#   path: (\S+)", CONFIG, re.MULTILINE)
    unit = (templates() / "mlflow-reconciler.service").read_text()
    [folder] = re.findall(r"^RuntimeDirectory=(\S+)", unit, re.MULTILINE)
    assert Path(proposed).parent == Path("/run") / folder
    assert "\nRuntimeDirectoryMode=0755\n" in unit
    assert proposed in (ROOT / "docs/operating.md").read_text()


def test_a_changed_policy_is_in_force_from_the_next_cycle_and_a_broken_one_is_not(
    held: Workspace, product: Product, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    product.variables["RECONCILER_METRICS__PATH"] = str(tmp_path / "m.prom")
    with daemon(product, log):
        until(lambda: b"cycle: 0 open" in log.read_bytes(), "the first cycle")
        product.policy("version: 1\nrules: none\n")
        until(lambda: b"reload refused, the old policy stays in force" in log.read_bytes(), "the refusal")
        until(lambda: "reload refused" in product.ok("status"), "status telling it")
        until(lambda: "reload_failures_total 1.0" in (tmp_path / "m.prom").read_text(), "the metric")
        held.ask("m", held.version("m", "0.95"))
        until(lambda: not held.requests, "a decision by the old policy")
        product.policy(POLICY.replace("0.9", "0.99"))
        until(lambda: b"reloaded: policy" in log.read_bytes(), "the reload")
        until(lambda: "reload refused" not in product.ok("status"), "status telling it no more")
        held.ask("n", held.version("n", "0.95"))
        until(lambda: not held.requests, "a decision by the new policy")
    assert {row["model"]: row["verdict"] for row in product.decisions()} == {"m": "approve", "n": "reject"}
    assert len({row["policy_digest"] for row in product.decisions()}) == 2
    assert log.read_bytes().count(b"reload refused") == 1


def test_a_policy_that_others_may_write_is_refused(product: Product, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").chmod(0o666)
    for command in ("run", "once"):
        done = product.run(command)
        assert (done.returncode, "chmod go-w" in done.stderr) == (78, True)
    assert "FAIL policy" in product.run("check").stdout
