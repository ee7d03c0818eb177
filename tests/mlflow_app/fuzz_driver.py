"""One run of the fuzz test: the calls of one mode against the server's application in this process.

MLflow's application is one per process, so each mode has a process of its own:

    python -m tests.mlflow_app.fuzz_driver --mode "basic-auth" --template DIR --directory DIR --out result.json
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import logging
import os
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from tests import forker
from tests.mlflow_app.fuzz_calls import Call, Scene, make_calls
from tests.mlflow_app.fuzz_judge import Terms, Verdict, counted, judged
from tests.mlflow_app.fuzz_routes import routes_of
from tests.mlflow_app.fuzz_world import (
    ADMINISTRATOR,
    APPROVER,
    MANAGER,
    PASSWORD,
    PROTECTED,
    PROTECTED_KEYS,
    World,
    auth_config,
)
from tests.mlflow_app.witness import Change, FileWitness, Witness

PREFIX = "/behind/a-prefix"
# The app's own tables: what administrators did, and what holders were made of.
HISTORY, ORIGINS = "transition_requests_history", "transition_requests_origins"
# The parts of the product that a run can take away.
PARTS = ("guard", "store", "files")


@dataclass(frozen=True)
class Mode:
    """A way to run the server. `object_store`: artifacts lie in a store with multipart and presigned uploads."""

    name: str
    server: str = "uvicorn"
    login: bool = True
    workspaces: bool = False
    prefix: str = ""
    object_store: bool = False
    managers_approve: bool = False

    @property
    def approvers(self) -> list[str] | None:
        if not self.login:
            return None
        return [MANAGER, ADMINISTRATOR] if self.managers_approve else [APPROVER]

    @property
    def terms(self) -> Terms:
        return Terms(self.approvers, protects_tags=self.login)

    @property
    def template(self) -> str:
        return "-".join(
            ["world", *(["workspaces"] if self.workspaces else []), *(["objects"] if self.object_store else [])]
        )


MODES = {
    mode.name: mode
    for mode in (
        Mode("basic-auth"),
        Mode("basic-auth with workspaces", workspaces=True),
        Mode("nobody logs in, workspaces, a prefix", "gunicorn", login=False, workspaces=True, prefix=PREFIX),
        Mode("basic-auth on an object store", "gunicorn", object_store=True, managers_approve=True),
    )
}


@dataclass(frozen=True)
class Seen:
    """A call, what it was answered, and what the witness saw of it."""

    call: Call
    status: int
    changes: list[Change]
    verdict: Verdict
    answer: str = ""
    # What of the changes is protected on this server.
    left: list[Change] = field(default_factory=list)


@dataclass
class Outcome:
    """What a run has found, as it is handed to the test."""

    mode: str
    seed: int
    without: list[str]
    statuses: list[int] = field(default_factory=list)
    routes: list[str] = field(default_factory=list)
    families: list[str] = field(default_factory=list)
    endpoints: list[str] = field(default_factory=list)
    identities: list[str] = field(default_factory=list)
    # By call: the protected things that changed, what allowed it, and what is wrong with it.
    changed: dict[int, str] = field(default_factory=dict)
    accounted: dict[int, str] = field(default_factory=dict)
    wrong: dict[int, str] = field(default_factory=dict)
    shown: dict[int, str] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, seen: Seen) -> None:
        call = seen.call
        self.statuses.append(seen.status)
        self.routes.append(call.route)
        self.families.append(call.family)
        self.endpoints.append(call.endpoint)
        self.identities.append(call.identity)
        left = seen.left
        if left:
            self.changed[call.number] = "; ".join(sorted({f"{change.thing} {change.kind}" for change in left}))
            self.shown[call.number] = call.shown()
        if seen.verdict.by:
            self.accounted[call.number] = seen.verdict.by
        if seen.verdict.wrong:
            self.wrong[call.number] = f"{seen.verdict.wrong}: {_changes_shown(left)}"
        if seen.status >= 500:
            self.shown[call.number] = call.shown()
            self.errors[call.number] = seen.answer

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Outcome:
        data = json.loads(path.read_text())
        for name in ("changed", "accounted", "wrong", "shown", "errors"):
            data[name] = {int(number): text for number, text in data[name].items()}
        return cls(**data)


def _changes_shown(changes: Sequence[Change]) -> str:
    shown = [
        f"{change.thing} {change.kind} {change.workspace}/{change.name}/{change.version} {change.what}"
        f"{change.was[:60]!r} -> {change.became[:60]!r}"
        for change in changes
    ]
    return "; ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "")


# --- the server in this process ------------------------------------------------------------------------------


def environment(mode: Mode, directory: Path, uri: str) -> dict[str, str]:
    """What `mlflow server` hands its workers, and what the operator sets."""
    scheme = "object://" if mode.object_store else ""
    own = {
        "_MLFLOW_SERVER_FILE_STORE": uri,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"{scheme}{directory / 'artifacts'}",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_STATIC_PREFIX": mode.prefix,
        "_MLFLOW_SGI_NAME": mode.server,
        "MLFLOW_TRACKING_URI": uri,
    }
    return {name: value for name, value in own.items() if value} | operator_variables(mode, directory, uri)


def operator_variables(mode: Mode, directory: Path, uri: str) -> dict[str, str]:
    variables = {
        "TRANSITION_REQUESTS_TARGETS": PROTECTED,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HOME": str(directory),
    }
    if mode.workspaces:
        variables |= {"MLFLOW_ENABLE_WORKSPACES": "true", "MLFLOW_WORKSPACE_STORE_URI": uri}
    if mode.login:
        variables |= {
            "TRANSITION_REQUESTS_AUTH": "basic-auth",
            "MLFLOW_AUTH_CONFIG_PATH": str(auth_config(directory, mode.workspaces)),
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "a secret of this test",
            "TRANSITION_REQUESTS_PROTECTED_TAGS": ",".join(PROTECTED_KEYS),
        }
        variables |= {} if mode.managers_approve else {"TRANSITION_REQUESTS_APPROVERS": APPROVER}
    return variables


def take_away(parts: Sequence[str]) -> None:
    """Run the app without these parts. The only place that knows how."""
    from reconciler.mlflow_app import serving as app

    for part, name in (("guard", "Guard"), ("store", "Wall"), ("files", "ArtifactWall")):
        if part in parts and hasattr(app, name):
            getattr(app, name).install = lambda *arguments, **named: None
    if "guard" in parts and hasattr(app.Guard, "before"):
        app.Guard.before = lambda self: None
        app.Guard.after = lambda self, response: response


def serve(mode: Mode, without: Sequence[str]) -> tuple[Any, Any]:
    """MLflow's Flask application, and what the server serves."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")
    def in_memory(connection: Any, record: Any) -> None:
        # Thousands of commits need not reach the disk.
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")

    if mode.object_store:
        from tests.mlflow_app import fuzz_store

        fuzz_store.register()
    take_away(without)
    from mlflow.server import app as flask_app

    from reconciler.mlflow_app.serving import create_app

    return flask_app, create_app()


Send = Callable[[Call], tuple[int, str]]


def authorization(identity: str) -> dict[str, str]:
    if not identity:
        return {}
    token = base64.b64encode(f"{identity}:{PASSWORD}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def wsgi_sender(application: Any) -> Send:
    def send(call: Call) -> tuple[int, str]:
        path, _, query = call.path.partition("?")
        headers = {"Host": "localhost", **call.headers, **authorization(call.identity)}
        environ = {
            "REQUEST_METHOD": call.method, "SCRIPT_NAME": "", "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query, "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1", "CONTENT_LENGTH": str(len(call.body)), "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(call.body), "wsgi.errors": sys.stderr,
            "wsgi.multithread": False, "wsgi.multiprocess": False, "wsgi.run_once": False,
        }  # fmt: skip
        for name, value in headers.items():
            environ["CONTENT_TYPE" if name == "Content-Type" else f"HTTP_{name.upper().replace('-', '_')}"] = value
        status: list[int] = []
        body = application(environ, lambda line, headers, exc_info=None: status.append(int(line.split()[0])))
        try:
            return status[-1], b"".join(body).decode("utf-8", "replace")
        finally:
            getattr(body, "close", lambda: None)()

    return send


def asgi_sender(application: Any) -> Send:
    """Send from one task that never ends, as a server does: task-local state is not recreated for each call."""
    loop = asyncio.new_event_loop()
    waiting: asyncio.Queue[tuple[Call, Future[tuple[int, str]]]] = asyncio.Queue()

    async def serve_all() -> None:
        while True:
            call, answer = await waiting.get()
            try:
                answer.set_result(await asyncio.wait_for(_asgi_call(application, call), 60))
            except Exception as error:  # noqa: BLE001  raised where the answer is awaited
                answer.set_exception(error)

    threading.Thread(target=lambda: loop.run_until_complete(serve_all()), daemon=True).start()

    def send(call: Call) -> tuple[int, str]:
        answer: Future[tuple[int, str]] = Future()
        loop.call_soon_threadsafe(waiting.put_nowait, (call, answer))
        return answer.result(120)

    return send


async def _asgi_call(application: Any, call: Call) -> tuple[int, str]:
    path, _, query = call.path.partition("?")
    headers = {
        "Host": "localhost",
        "Content-Length": str(len(call.body)),
        **call.headers,
        **authorization(call.identity),
    }
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": call.method, "scheme": "http",
        "path": unquote_to_bytes(path).decode("utf-8", "replace"), "raw_path": path.encode(), "root_path": "",
        "query_string": query.encode(), "client": ("127.0.0.1", 1), "server": ("localhost", 80), "state": {},
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    body = [{"type": "http.request", "body": call.body, "more_body": False}]
    parts: list[Any] = []

    async def receive() -> dict[str, Any]:
        return body.pop() if body else {"type": "http.disconnect"}

    async def answer(message: Any) -> None:
        parts.append(message)

    await application(scope, receive, answer)
    body_sent = b"".join(part.get("body", b"") for part in parts)
    return parts[0]["status"], body_sent.decode("utf-8", "replace")


def careful(send: Send) -> Send:
    """Answer 500 for an exception that leaves the application, as a server does."""

    def sent(call: Call) -> tuple[int, str]:
        try:
            return send(call)
        except Exception as error:  # noqa: BLE001  whatever it is, it is the finding
            return 500, f"{type(error).__name__}: {error}"

    return sent


# --- the run -------------------------------------------------------------------------------------------------


class LoginKeeper:
    """Restores basic-auth's users and grants, which are deleted with the models that they are about."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")
        names = self._connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        )
        self._tables = [name for (name,) in names]
        for table in self._tables:
            self._connection.execute(f"CREATE TEMP TABLE kept_{table} AS SELECT * FROM {table}")

    def restore(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        for table in self._tables:
            self._connection.execute(f"DELETE FROM {table}")
            self._connection.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")
        self._connection.execute("COMMIT")


class Trial:
    """Sends calls, asks the witness after each, and puts everything back."""

    def __init__(self, mode: Mode, directory: Path, uri: str, world: World) -> None:
        self._mode = mode
        self._witness = Witness(uri)
        self._witness.install(own_tables=[ORIGINS])
        self._files = FileWitness(directory, world.holders, directory / "kept")
        self._login = LoginKeeper(directory / "auth.db") if mode.login else None
        self._has_history = self._witness.has(HISTORY)
        self._last = 0

    def run(self, calls: Sequence[Call], send: Send) -> Iterator[Seen]:
        for call in calls:
            status, answer = send(call)
            moved = self._files.changes()
            changes = [*self._witness.changes(), *moved]
            terms = self._mode.terms
            verdict = judged(call, status, changes, terms, self._written())
            left = counted(changes, terms.protects_tags)
            yield Seen(call, status, changes, verdict, answer[:600], left)
            self._restore(status < 400 or bool(changes), bool(moved))

    def _restore(self, changed: bool, moved: bool) -> None:
        if moved:
            self._files.restore()
        if changed:
            self._witness.restore()
            if self._login is not None:
                self._login.restore()

    def _written(self) -> dict[str, set[tuple[str, str]]]:
        """The models of the direct acts that the app has recorded since the last call of this method, by who acted."""
        if not self._has_history:
            return {}
        new = f"number > {self._last} AND what = 'changed'"
        rows = self._witness.rows(f"SELECT number, decider, workspace, model FROM {HISTORY} WHERE {new}")
        self._last = max((number for number, *_ in rows), default=self._last)
        written: dict[str, set[tuple[str, str]]] = {}
        for _, decider, workspace, model in rows:
            written.setdefault(decider, set()).add((workspace, model))
        return written


def relocate(database: Path, template: Path, directory: Path) -> None:
    """Make a copied world name its own artifacts where they are named by their full path."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in (
            ("experiments", "artifact_location"), ("runs", "artifact_uri"), ("model_versions", "source"),
            ("model_versions", "storage_location"),
        ):  # fmt: skip
            connection.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(template), str(directory))
            )


def run(options: RunOptions) -> Outcome:
    """In a process of its own."""
    mode = options.mode
    uri, world = _prepared(mode, options.template, options.directory)
    flask_app, served = serve(mode, options.without)
    under_uvicorn = mode.server == "uvicorn"
    routes = routes_of(flask_app, served if under_uvicorn else None)
    calls = make_calls(
        routes, Scene(world, mode.login, mode.workspaces, options.dangerous_only, options.share), options.seed
    )
    outcome = Outcome(mode.name, options.seed, list(options.without))
    if options.write_calls is not None:
        options.write_calls.write_text(json.dumps([call.as_json() for call in calls]))
        return outcome
    send = asgi_sender(served) if under_uvicorn else wsgi_sender(served)
    started = time.monotonic()
    for seen in Trial(mode, options.directory, uri, world).run(calls, careful(send)):
        outcome.add(seen)
    outcome.seconds = time.monotonic() - started
    return outcome


def _prepared(mode: Mode, template: Path, directory: Path) -> tuple[str, World]:
    """Copy the world, and set this process up as a server's."""
    shutil.copytree(template, directory)
    relocate(directory / "mlflow.db", template, directory)
    uri = f"sqlite:///{directory / 'mlflow.db'}"
    for name in [name for name in os.environ if "MLFLOW" in name or name.startswith("TRANSITION_REQUESTS")]:
        del os.environ[name]
    os.environ.update(environment(mode, directory, uri))
    os.chdir(directory)
    logging.disable(logging.CRITICAL)
    return uri, World.read(directory)


@dataclass(frozen=True)
class RunOptions:
    """The parameters of a run. `write_calls`: only write the calls there, for another process to send."""

    mode: Mode
    template: Path
    directory: Path
    seed: int = 1
    without: tuple[str, ...] = ()
    share: float = 1.0
    dangerous_only: bool = False
    write_calls: Path | None = None


def start(options: RunOptions, out: Path) -> Outcome:
    """Run it in a process of its own, and wait for it.

    Raises:
        AssertionError: the run failed; the message has the end of its stderr.
    """
    arguments = [
        "--mode", options.mode.name, "--template", str(options.template),
        "--directory", str(options.directory), "--out", str(out), "--seed", str(options.seed),
        "--share", str(options.share), "--without", ",".join(options.without),
    ]  # fmt: skip
    arguments += ["--dangerous-only"] if options.dangerous_only else []
    arguments += ["--write-calls", str(options.write_calls)] if options.write_calls is not None else []
    done = forker.run(forker.MLFLOW, __name__, *arguments, environment=os.environ)
    if done.returncode:
        raise AssertionError(f"{options.mode.name} without {options.without}: {done.stderr[-3000:]}")
    return Outcome.read(out)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=sorted(MODES), required=True)
    parser.add_argument("--template", type=Path, required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--without", default="", help=f"of {', '.join(PARTS)}, with commas")
    parser.add_argument("--dangerous-only", action="store_true")
    parser.add_argument("--write-calls", type=Path)
    arguments = parser.parse_args()
    without = tuple(part for part in arguments.without.split(",") if part)
    mode = MODES[arguments.mode]
    options = RunOptions(
        mode,
        arguments.template,
        arguments.directory,
        arguments.seed,
        without,
        arguments.share,
        arguments.dangerous_only,
        arguments.write_calls,
    )
    run(options).write(arguments.out)
    # A normal exit would wait for the server's threads, for some forever.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
