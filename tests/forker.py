"""Processes forked from one that has imported everything already.

A command of the product imports for a second and works for a tenth of one; MLflow imports for many seconds, twice for
each server. Here one process imports, and forks for each process that a test starts: the same code, with an
environment, arguments, folder and files for output of its own. Where the start itself matters (the interpreter, a
terminal, signals, several workers), tests start it as users do.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import multiprocessing
import os
import pkgutil
import runpy
import select
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

_STARTS_WITHIN = 300.0
PRODUCT, MLFLOW = "product", "mlflow"


class Forked:
    """A process that a forker started; used like `subprocess.Popen`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._answers = connection.makefile()
        self.pid = int(self._answers.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended(self, within: float | None) -> int | None:
        """The forker answers once more, with the exit code, and closes the connection."""
        if self.returncode is None and select.select([self._connection], [], [], within)[0]:
            self.returncode = int(self._answers.readline() or -signal.SIGKILL)
            self._answers.close()
            self._connection.close()
        return self.returncode


def start(kind: str, run: str, *arguments: str, environment: Mapping[str, str], out: Path, **more: Any) -> Forked:
    """A process of its own, leader of a process group.

    Args:
        kind: what it has imported, `PRODUCT` or `MLFLOW`.
        run: a module, run as by `python -m`; or `module:function`; or `-c`, with the code as first argument.
        out: the file to which its output is appended.
        more: `err`, a file for standard error, by default `out`; `group`, the process group to join.
    """
    return _ask(_forker(kind), run, arguments, dict(environment), out, **more)


def run(
    kind: str, run: str, *arguments: str, environment: Mapping[str, str], timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run(…, capture_output=True, text=True)`."""
    with tempfile.TemporaryDirectory(prefix="reconciler-forked-") as directory:
        out, err = Path(directory, "out"), Path(directory, "err")
        forked = start(kind, run, *arguments, environment=environment, out=out, err=err)
        try:
            code = forked.wait(timeout)
        except subprocess.TimeoutExpired:
            forked.kill()
            raise
        return subprocess.CompletedProcess([run, *arguments], code, out.read_text(), err.read_text())


def _ask(
    place: str, run: str, arguments: tuple[str, ...], environment: dict[str, str], out: Path, **more: Any
) -> Forked:
    job = {"run": run, "arguments": arguments, "environment": environment, "folder": str(Path.cwd()), "out": str(out)}
    job |= {"err": str(more.get("err") or out), "group": more.get("group", 0)}
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(place)
    connection.sendall(json.dumps(job).encode() + b"\n")
    return Forked(connection)


@functools.cache
def _forker(kind: str) -> str:
    """The socket of this process's forker, which ends with it."""
    directory = tempfile.mkdtemp(prefix="reconciler-forker-")
    place = f"{directory}/socket"
    # Jobs join process groups of one another, which is possible within a session.
    process = subprocess.Popen([sys.executable, "-m", __name__, kind, place], start_new_session=True)
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

_COMMAND = Path(sys.executable).with_name("mlflow-reconciler")
# What a command imports when it needs it, beside the modules of the product.
_LATER = ("alembic.command", "alembic.config", "psycopg", "rich.console", "rich.table", "sqlalchemy.dialects.sqlite")
# All that a server of MLflow imports but `mlflow.server`, which reads its variables when it is imported.
_BELOW_THE_SERVER = (
    "alembic.command", "fastapi", "flask", "flask_cors", "mlflow.gateway.config", "mlflow.genai.scorers",
    "mlflow.metrics", "mlflow.store.model_registry.sqlalchemy_workspace_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store", "pydantic.v1", "sqlalchemy.dialects.sqlite", "uvicorn.main",
)  # fmt: skip


class _Forker(socketserver.ForkingMixIn, socketserver.UnixStreamServer):
    """Each connection is one process: a child waits for it, so that several may run at once."""

    max_children = 100
    request_queue_size = 100
    _for = os.getppid()

    def service_actions(self) -> None:
        """Every half second. Who was killed stops nothing of what it started."""
        super().service_actions()
        if os.getppid() != self._for:
            for process in psutil.Process().children(recursive=True):
                process.kill()
            sys.exit()


class _Job(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        line = self.rfile.readline()
        if not line:
            return
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(job, str(self.server.server_address))
        # By both, since either may be the first to need it; a child may have ended, or with it the group to join.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.setpgid(child, job["group"] or child)
        self._answer(child)
        _, status = os.waitpid(child, 0)
        self._answer(os.waitstatus_to_exitcode(status))

    def _answer(self, number: int) -> None:
        # Who asked may have ended without waiting.
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(f"{number}\n".encode())


def _become(job: dict[str, Any], place: str) -> None:
    """The process, to its end."""
    code: int | str | None = 1
    try:
        _take_over(job)
        _BEFORE.get(job["run"], lambda job, place: None)(job, place)
        code = _run(job["run"])
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001  told as the interpreter tells it
        sys.excepthook(*sys.exc_info())
    finally:
        # As the interpreter ends: what is buffered is written, and a text is told.
        if isinstance(code, str):
            print(code, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _run(what: str) -> Any:
    module, _, function = what.partition(":")
    if what == "-c":
        exec(compile(sys.argv.pop(1), "<string>", "exec"), {"__name__": "__main__"})
        return None
    if function:
        return getattr(importlib.import_module(module), function)()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return None


def _take_over(job: dict[str, Any]) -> None:
    os.setpgid(0, job["group"])
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    sys.argv = [str(_COMMAND) if ":" in job["run"] else job["run"], *job["arguments"]]
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, place in ((1, job["out"]), (2, job["err"])):
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)
    sys.path[1:1] = list(filter(None, job["environment"].get("PYTHONPATH", "").split(os.pathsep)))
    time.tzset()


def _fork_what_serves_too(job: dict[str, Any], place: str) -> None:
    """`mlflow server` executes `python -m uvicorn …`, and waits: that process is forked from the same forker."""
    from mlflow.utils import process

    def started(command: list[str], *, extra_env: dict[str, str], **more: Any) -> Forked:
        assert command[1:3] in (["-m", "uvicorn"], ["-m", "gunicorn"], ["-m", "waitress"]), command
        environment = os.environ | extra_env
        return _ask(place, command[2], tuple(command[3:]), environment, job["out"], group=os.getpid())

    process._exec_cmd = started


def _fork_its_workers_too(job: dict[str, Any], place: str) -> None:
    """Uvicorn starts an interpreter for each of several workers; the other servers fork, or have threads."""
    from uvicorn import _subprocess

    _subprocess.spawn = multiprocessing.get_context("fork")  # type: ignore[assignment]
    os.register_at_fork(after_in_child=_as_a_new_interpreter)


def _as_a_new_interpreter() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


_BEFORE: dict[str, Callable[[dict[str, Any], str], None]] = {
    "mlflow": _fork_what_serves_too, "uvicorn": _fork_its_workers_too,
}  # fmt: skip


def _import_product() -> None:
    import reconciler

    for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
        # The app and the demo bring all of MLflow's server, which no command of these tests needs.
        if not module.name.startswith(("reconciler.mlflow_app", "reconciler.demo", "reconciler.__main__")):
            importlib.import_module(module.name)
    for name in _LATER:
        importlib.import_module(name)


def _import_mlflow() -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    for name in _BELOW_THE_SERVER:
        importlib.import_module(name)
    assert "mlflow.server" not in sys.modules


_IMPORTS: dict[str, Callable[[], None]] = {PRODUCT: _import_product, MLFLOW: _import_mlflow}


def _serve(kind: str, place: str) -> None:
    _IMPORTS[kind]()
    # Children neither look through what was imported for garbage nor copy its pages by that.
    gc.collect()
    gc.freeze()
    with _Forker(place, _Job) as server:
        server.serve_forever()


if __name__ == "__main__":
    _serve(*sys.argv[1:])
