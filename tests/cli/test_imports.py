"""A command loads what it uses: every name here is looked for among the modules of a real process at its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reconciler.audit import schema

HTTP_CLIENTS = {"requests", "urllib3", "httpx"}
COMMAND_LINE = {"typer", "rich"}
DATABASE = {"sqlalchemy", "alembic", "psycopg"}
# By a database on SQLite, a policy without a regular expression, and a configuration without `metrics.path`.
NOT_ASKED_FOR = {
    "alembic", "psycopg", "sqlalchemy.orm", "sqlalchemy.dialects.postgresql", "re2", "prometheus_client",
    "junitparser",
    "altair", "vl_convert", "jinja2", "reconciler.html",
}  # fmt: skip

# The entry point of the console script; what it had loaded when it ended goes into a file.
PROBE = """
import atexit, pathlib, sys
from importlib.metadata import entry_points
loaded = pathlib.Path(sys.argv.pop(1))
atexit.register(lambda: loaded.write_text("\\n".join(sys.modules)))
[script] = entry_points(group="console_scripts", name="mlflow-reconciler")
script.load()()
"""
POLICY = """\
version: 1
rules:
  - name: described
    models: ["*"]
    targets: [Production]
    require:
      - description: {min_length: 10}
"""
VERSION = {
    "name": "fraud", "version": "7", "current_stage": "None", "status": "READY",
    "creation_timestamp": 1_700_000_000_000, "last_updated_timestamp": 1_700_000_000_000,
    "description": "weights of the third training", "source": "s3://b/m",
    "tags": [{"key": "transition_request.stage.Production", "value": "please"}],
}  # fmt: skip
ANSWERS = {
    "model-versions/search": {"model_versions": [VERSION]},
    "model-versions/get": {"model_version": VERSION},
    "registered-models/get": {"registered_model": {"name": "fraud"}},
    "model-versions/set-tag": {},
}


class _Registry(BaseHTTPRequestHandler):
    """One version with one open request; everything is answered, so that each command goes to its end."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer()

    def _answer(self) -> None:
        known = [answer for path, answer in ANSWERS.items() if path in self.path]
        body = json.dumps(known[0] if known else {"error_code": "ENDPOINT_NOT_FOUND"}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A registry that answers, a policy, and an audit database in which one decision is recorded."""
    place = tmp_path_factory.mktemp("imports")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    policy = place / "policy.yaml"
    policy.write_text(POLICY)
    policy.chmod(0o600)
    url = f"sqlite:///{place / 'audit.db'}"
    schema.upgrade(url)
    variables = {
        "PATH": os.environ["PATH"],
        "RECONCILER_REGISTRY__URI": f"http://127.0.0.1:{server.server_port}",
        "RECONCILER_REGISTRY__PROTOCOL": "tags",
        "RECONCILER_POLICY": str(policy),
        "RECONCILER_AUDIT__URL": url,
    }
    loaded_by("once", environment=variables, place=place)
    yield variables
    server.shutdown()
    server.server_close()


def loaded_by(*arguments: str, environment: dict[str, str], place: Path, says: str = "") -> set[str]:
    """The modules that a command which succeeded has loaded; `says`: what its output must show that it did."""
    loaded = place / "loaded"
    command = [sys.executable, "-c", PROBE, str(loaded), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert says in done.stdout + done.stderr
    return set(loaded.read_text().splitlines())


def of(modules: set[str], *packages: str) -> list[str]:
    """Those that are in one of the packages."""
    return sorted(name for name in modules if any(f"{name}.".startswith(f"{package}.") for package in packages))


@pytest.mark.parametrize(("arguments", "says"), [(["audit", "list"], "fraud"), (["status"], "last cycle of")])
def test_who_reads_the_audit_loads_no_registry(
    arguments: list[str], says: str, environment: dict[str, str], tmp_path: Path
) -> None:
    loaded = loaded_by(*arguments, environment=environment, place=tmp_path, says=says)
    assert of(loaded, "sqlalchemy") != []
    judging = ("reconciler.domain.checks", "reconciler.domain.policy", "reconciler.policy", "yaml")
    assert of(loaded, *HTTP_CLIENTS, *judging, "reconciler.registry", *NOT_ASKED_FOR) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["request", "list"], "fraud"), (["request", "create", "fraud", "7", "Staging"], "filed")],
)
def test_who_files_or_lists_requests_loads_no_database(
    arguments: list[str], says: str, environment: dict[str, str], tmp_path: Path
) -> None:
    loaded = loaded_by(*arguments, environment=environment, place=tmp_path, says=says)
    assert of(loaded, "requests") != []
    assert of(loaded, *DATABASE, "reconciler.audit") == []


def test_who_asks_for_an_explanation_without_a_database_loads_none(environment: dict[str, str], tmp_path: Path) -> None:
    without = {name: value for name, value in environment.items() if name != "RECONCILER_AUDIT__URL"}
    asked = ("explain", "fraud", "7", "Production")
    loaded = loaded_by(*asked, environment=without, place=tmp_path, says="would approve")
    assert of(loaded, "requests") != []
    assert of(loaded, *DATABASE, "reconciler.audit") == []


@pytest.mark.parametrize("options", [[], ["--log-level", "info"], ["--log-format=text"]])
@pytest.mark.parametrize("behind", [True, False])
def test_the_daemon_loads_no_command_line(
    options: list[str], behind: bool, environment: dict[str, str], tmp_path: Path
) -> None:
    arguments = ["run", *options] if behind else [*options, "run"]
    loaded = loaded_by_the_daemon(arguments, environment, tmp_path)
    assert of(loaded, "sqlalchemy") != []
    assert of(loaded, *COMMAND_LINE, *NOT_ASKED_FOR) == []


def loaded_by_the_daemon(arguments: list[str], environment: dict[str, str], place: Path) -> set[str]:
    """From its start to the end of its first cycle and SIGTERM."""
    loaded, log = place / "loaded", place / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", PROBE, str(loaded), *arguments], env=environment, stderr=stderr
        )
        try:
            ends = time.monotonic() + 60
            while "cycle: " not in log.read_text() and process.poll() is None and time.monotonic() < ends:
                time.sleep(0.05)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
    assert code == 0, log.read_text()
    assert "cycle: " in log.read_text()
    return set(loaded.read_text().splitlines())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run", "--help"], 0, "Run the daemon until SIGTERM or SIGINT."),
        (["run", "--log-level", "loud"], 2, "--log-level: 'loud' is not one of 'debug', 'info', 'warning', 'error'"),
        (["run", "extra"], 2, "got unexpected extra argument(s) (extra)"),
        (["run", "--nonsense"], 2, "no such option '--nonsense'"),
        (["run", "--config"], 2, "missing command"),
        (["run", "--config", "/nowhere/config.yaml"], 78, "/nowhere/config.yaml: cannot read the file"),
    ],
)
def test_what_is_not_plainly_run_is_answered_as_ever(
    arguments: list[str], code: int, says: str, environment: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", PROBE, str(tmp_path / "loaded"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
