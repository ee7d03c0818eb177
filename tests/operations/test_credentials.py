"""From a shell, every command resolves the database and the token that the service has, or says why it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from reconciler.audit import schema
from tests.acceptance.conftest import Product
from tests.acceptance.test_daemon import daemon, until
from tests.command import COMMAND
from tests.databricks_double import Workspace
from tests.postgres import PostgresServer

NOBODY = 65534


@pytest.fixture
def folder(held: Workspace, product: Product, tmp_path: Path) -> Path:
    """/etc/mlflow-reconciler of one host: configuration, policy, credentials."""
    etc = tmp_path / "etc"
    (etc / "credentials").mkdir(parents=True)
    config = f"registry: {{uri: '{held.uri}', budget: 500}}\ncredentials_directory: credentials\npolicy: policy.yaml\n"
    (etc / "config.yaml").write_text(config + "mode: enforce\n")
    (etc / "policy.yaml").write_text((tmp_path / "policy.yaml").read_text())
    for name in ("config.yaml", "policy.yaml"):
        (etc / name).chmod(0o644)
    (etc / "credentials/registry.token").write_text("the-token\n")
    (etc / "credentials/registry.token").chmod(0o640)
    return etc


def from_a_shell(folder: Path, *arguments: str, before: Sequence[str | Path] = ()) -> subprocess.CompletedProcess[str]:
    """No variable of ours but the configuration's place."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "RECONCILER_CONFIG": str(folder / "config.yaml")}
    command = [*before, COMMAND, *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False)


def test_pause_from_a_shell_reaches_the_database_that_the_credential_names(
    held: Workspace, product: Product, folder: Path, postgres: PostgresServer, tmp_path: Path
) -> None:
    url = postgres.new_database()
    schema.upgrade(url)
    (folder / "credentials/audit.url").write_text(url + "\n")
    (folder / "credentials/audit.url").chmod(0o640)
    # The daemon has its credentials as systemd hands them over.
    handed_over = tmp_path / "run"
    handed_over.mkdir()
    (handed_over / "audit.url").write_text(url)
    product.variables = {"CREDENTIALS_DIRECTORY": str(handed_over), "RECONCILER_REGISTRY__BUDGET": "500"}
    environment = product.environment()
    del environment["RECONCILER_AUDIT__URL"]
    log = tmp_path / "log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            [COMMAND, "run"], env=environment | {"RECONCILER_SCHEDULE__INTERVAL": "0.5s"}, stderr=output
        )
        try:
            until(lambda: b"cycle: 0 open" in log.read_bytes(), "the first cycle")
            paused = from_a_shell(folder, "pause", "--reason", "freeze", "--wait", "--timeout", "2m")
            assert (paused.returncode, "every daemon has obeyed" in paused.stderr) == (0, True), paused.stderr
            assert f"paused in {schema.shown_url(url)}" in paused.stderr
            assert f":{running.pid}" in paused.stderr
            held.ask("m", held.version("m", "0.95"))
            until(lambda: b"would approve" in log.read_bytes(), "a decision in the conditional")
            assert held.heard == []
        finally:
            running.kill()
            running.wait()
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT reason FROM pause_events")).scalars().all() == ["freeze"]
    engine.dispose()
    assert from_a_shell(folder, "check").stdout.count("OK   credentials: read from") == 1


@pytest.mark.parametrize("command", [["pause", "--reason", "x"], ["status"], ["check"], ["audit", "list"], ["once"]])
def test_a_credential_that_cannot_be_read_is_named_and_no_other_database_is_taken(
    folder: Path, command: list[str]
) -> None:
    (folder / "credentials/audit.url").write_text("postgresql://db/audit")
    (folder / "credentials").chmod(0o000)
    without_override: list[str | Path] = []
    if os.geteuid() == 0:
        # Root reads everything, unless it is told that it may not, and the file is somebody else's.
        os.chown(folder / "credentials", NOBODY, NOBODY)
        without_override = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    done = from_a_shell(folder, *command, before=without_override)
    os.chmod(folder / "credentials", 0o700)
    assert done.returncode == 78, done.stderr
    assert f"cannot read the file {folder / 'credentials/registry.token'}: Permission denied" in done.stderr
    assert "sudo" in done.stderr


@pytest.mark.parametrize("command", [["status"], ["policy", "validate"]])
def test_a_configuration_that_cannot_be_read_is_told_with_a_remedy(folder: Path, command: list[str]) -> None:
    config = folder / "config.yaml"
    config.chmod(0o000)
    without_override: list[str | Path] = []
    if os.geteuid() == 0:
        os.chown(config, NOBODY, NOBODY)
        without_override = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    done = from_a_shell(folder, "--config", str(config), *command, before=without_override)
    remedy = "run this as a user who may, or with sudo"
    assert (done.returncode, done.stderr) == (
        78,
        f"{config}: cannot read the file: Permission denied: {remedy}\n",
    )


def test_a_folder_without_the_databases_credential_is_a_mistake_and_no_sqlite(folder: Path) -> None:
    done = from_a_shell(folder, "status")
    assert (done.returncode, len(done.stderr.splitlines())) == (78, 1)
    assert f"audit.url: {folder / 'credentials'} has no such credential: create" in done.stderr
    (folder / "credentials/audit.url").write_text("")
    # Left empty on purpose: the SQLite file of the service.
    assert "/var/lib/mlflow-reconciler/audit.db" in from_a_shell(folder, "status").stderr


def test_a_folder_that_is_not_there_is_named(folder: Path) -> None:
    (folder / "credentials").rename(folder / "elsewhere")
    done = from_a_shell(folder, "status")
    assert (done.returncode, f"{folder / 'credentials'}: no such folder" in done.stderr) == (78, True)


def test_a_refused_credential_is_named_and_its_value_is_not(held: Workspace, folder: Path) -> None:
    (folder / "credentials/audit.url").write_text(f"sqlite:///{folder}/audit.db")
    assert from_a_shell(folder, "db", "upgrade").returncode == 0
    held.accepts = "Bearer another"
    done = from_a_shell(folder, "once")
    assert done.returncode == 69
    assert f"the server refused the token in {folder / 'credentials/registry.token'}" in done.stderr
    assert f"from {held.uri}" in done.stderr
    assert "the-token" not in done.stderr


def test_each_instance_has_the_database_of_its_own_service(tmp_path: Path) -> None:
    from reconciler.settings.load import _with_the_instances_database
    from reconciler.settings.model import DEFAULT_CONFIG

    path = DEFAULT_CONFIG.parent / "emea/config.yaml"
    assert _with_the_instances_database({}, path) == {
        "audit": {"url": "sqlite:////var/lib/mlflow-reconciler/emea/audit.db"}
    }
    assert _with_the_instances_database({}, DEFAULT_CONFIG) == {}
    assert _with_the_instances_database({}, tmp_path / "emea/config.yaml") == {}


def test_pause_says_which_database_and_which_daemons_and_names_those_that_do_not_obey(
    product: Product, tmp_path: Path
) -> None:
    nobody = product.run("pause", "--reason", "before any daemon")
    assert "no daemon runs on this database: is it the one that your daemon uses?" in nobody.stderr
    product.ok("resume")
    log = tmp_path / "log"
    # No other cycle for an hour: it would hold the database if it were frozen in the middle of one.
    with daemon(product, log, interval="1h") as process:
        until(lambda: b"cycle: 0 open" in log.read_bytes(), "the first cycle")
        os.kill(process.pid, signal.SIGSTOP)
        late = product.run("pause", "--reason", "freeze", "--wait", "--timeout", "1s")
        assert late.returncode == 1
        assert f"paused in sqlite:///{tmp_path}/audit.db" in late.stderr
        assert f":{process.pid} has not obeyed within 1s; last heard from " in late.stderr
        os.kill(process.pid, signal.SIGCONT)
        os.kill(process.pid, signal.SIGHUP)
        again = product.run("pause", "--reason", "freeze", "--wait", "--timeout", "2m")
        assert (again.returncode, "every daemon has obeyed" in again.stderr) == (0, True)
