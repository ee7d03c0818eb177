"""A real MLflow server on loopback, for the demo, the tests and the benchmarks."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import requests

from reconciler.domain.errors import ExitCode, ReconcilerError

# Far longer than any machine needs; a server that dies is noticed at once.
_STARTS_WITHIN = 300.0
_STOPS_WITHIN = 15.0
# By default MLflow starts half a dozen processes for background jobs, which import all of MLflow and do nothing here,
# and it sends telemetry.
_QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


class ServerFailed(ReconcilerError):
    """The server did not start; the message ends with the last lines of its log."""

    exit_code = ExitCode.UNREACHABLE


@contextlib.contextmanager
def mlflow_server(
    directory: Path, *arguments: str, variables: Mapping[str, str] | None = None, python: Path | None = None
) -> Iterator[str]:
    """Run `mlflow server` on a free port until the block ends, and yield its address.

    Its database, artifacts and log are in `directory`. `arguments` are added to the command, `variables` to its
    environment, from which all other variables of MLflow and the app are removed. `python`: the interpreter of
    another environment, whose MLflow is run.

    Raises:
        ServerFailed: the server died, or did not answer within five minutes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    uri = f"http://127.0.0.1:{port}"
    log = directory / "mlflow-server.log"
    command = [str(python or sys.executable), *_command(directory, port, *arguments)]
    process = _start(command, _environment(python) | dict(variables or {}), log)
    try:
        _wait_until_up(process, uri, log)
        yield uri
    finally:
        _stop(process)


def _start(command: list[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603  our own command line, no shell
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            # Its own process group: the workers stop with the server, and Ctrl-C reaches only us.
            start_new_session=True,
        )


def _command(directory: Path, port: int, *arguments: str) -> list[str]:
    return [
        "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{directory / 'mlflow.db'}",
        "--artifacts-destination", str(directory / "artifacts"), *arguments,
    ]  # fmt: skip


def _environment(python: Path | None) -> dict[str, str]:
    """Our environment without variables for MLflow or the app, and with background jobs and telemetry off."""
    ours = ("MLFLOW_", "_MLFLOW_", "TRANSITION_REQUESTS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | _QUIET
    # Older servers start the first `gunicorn` on the PATH.
    return kept if python is None else kept | {"PATH": f"{python.parent}{os.pathsep}{kept.get('PATH', os.defpath)}"}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_up(process: subprocess.Popen[bytes], uri: str, log: Path) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerFailed(f"the MLflow server exited while starting: {_tail(log)}")
        with contextlib.suppress(requests.RequestException):
            # With a static prefix the health endpoint is elsewhere: any answer of the server will do.
            if requests.get(f"{uri}/health", timeout=2).status_code < 500:
                return
        time.sleep(0.1)
    raise ServerFailed(f"the MLflow server did not answer within {_STARTS_WITHIN:g} s: {_tail(log)}")


def _tail(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-5:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_STOPS_WITHIN)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
