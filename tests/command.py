"""The product's command, run in a process of its own that has imported everything already.

A command of the console script imports for a second and works for a tenth of one; some hundred tests run several.
Here one process imports, and forks for each command: the same `main`, with its own environment, arguments, folder and
files for output. Where the script itself matters (the interpreter's start, a terminal, signals), tests run `COMMAND`.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import pkgutil
import socket
import socketserver
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).with_name("mlflow-reconciler")
_STARTS_WITHIN = 60.0
# What a command imports when it needs it, beside the modules of the product.
_LATER = ("alembic.command", "alembic.config", "psycopg", "rich.console", "rich.table", "sqlalchemy.dialects.sqlite")


def run(*arguments: str, environment: Mapping[str, str], timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run([COMMAND, *arguments], …, capture_output=True, text=True)`."""
    with tempfile.TemporaryDirectory(prefix="reconciler-command-") as directory:
        out, err = Path(directory, "out"), Path(directory, "err")
        job = {
            "arguments": arguments, "environment": dict(environment), "folder": str(Path.cwd()),
            "out": str(out), "err": str(err),
        }  # fmt: skip
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            connection.connect(_forker())
            connection.sendall(json.dumps(job).encode() + b"\n")
            answer = connection.makefile().readline()
        return subprocess.CompletedProcess([COMMAND, *arguments], int(answer), out.read_text(), err.read_text())


@functools.cache
def _forker() -> str:
    """The socket of this process's forker, which ends with it."""
    directory = tempfile.mkdtemp(prefix="reconciler-forker-")
    place = f"{directory}/socket"
    process = subprocess.Popen([sys.executable, "-m", "tests.command", place])
    atexit.register(_stop, process, directory)
    deadline = time.monotonic() + _STARTS_WITHIN
    # The socket's file is there a moment before anybody listens.
    while not _listens(place):
        assert process.poll() is None, "the forker ended"
        assert time.monotonic() < deadline, "the forker did not start"
        time.sleep(0.02)
    return place


def _listens(place: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(place)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True


def _stop(process: subprocess.Popen[bytes], directory: str) -> None:
    process.terminate()
    process.wait()
    Path(directory, "socket").unlink(missing_ok=True)
    Path(directory).rmdir()


# --- in the forker ----------------------------------------------------------------------------------------------


class _Forker(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    """Each connection is one command: a child waits for it, so that several may run at once."""

    max_children = 100
    request_queue_size = 100


class _Job(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        line = self.rfile.readline()
        if not line:
            return
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(job)
        _, status = os.waitpid(child, 0)
        self.wfile.write(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(job: dict[str, Any]) -> None:
    """The command, to its end."""
    code: int | str | None = 1
    try:
        _take_over(job)
        from reconciler.cli import main

        code = main()  # type: ignore[func-returns-value]
    except SystemExit as ended:
        code = ended.code
    finally:
        # As the interpreter ends: what is buffered is written, and a text is told.
        if isinstance(code, str):
            print(code, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _take_over(job: dict[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    sys.argv = [str(COMMAND), *job["arguments"]]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, place in ((1, job["out"]), (2, job["err"])):
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT, 0o600), number)
    time.tzset()


def _serve(place: str) -> None:
    import reconciler

    for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
        # The app and the demo bring all of MLflow's server, which no command of these tests needs.
        if not module.name.startswith(("reconciler.mlflow_app", "reconciler.demo", "reconciler.__main__")):
            importlib.import_module(module.name)
    for name in _LATER:
        importlib.import_module(name)
    with _Forker(place, _Job) as server:
        server.serve_forever()


if __name__ == "__main__":
    _serve(sys.argv[1])
