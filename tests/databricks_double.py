"""A Databricks workspace registry as the worst reading of its documents has it, over real HTTP.

Several people may ask for one target; lists carry no ids; an approval closes every request for its target and names
none; nothing tells on a version who decided. On demand its lists lag, and it answers 500 after it has acted. It counts
what serving costs, and can refuse more calls in a second than it likes (`throttle`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Reply = tuple[int, dict[str, Any]]
START = 1_700_000_000_000
LOGGED_MODEL = "m-1"


@dataclass
class Version:
    stage: str = "None"
    run_id: str = ""
    source: str = ""
    # In milliseconds since 1970, where it is shown.
    created: int | None = None

    def shown(self) -> dict[str, Any]:
        times = {"creation_timestamp": self.created, "last_updated_timestamp": self.created} if self.created else {}
        return {"current_stage": self.stage, **times}


@dataclass
class Asked:
    model: str
    version: str
    stage: str
    user: str
    at: int
    comment: str = ""

    def row(self) -> dict[str, Any]:
        shown = {"creation_timestamp": self.at, "user_id": self.user, "to_stage": self.stage}
        shown["activity_type"] = "REQUESTED_TRANSITION"
        return shown | ({"comment": self.comment} if self.comment else {})


@dataclass
class Throttle:
    """More than `most` calls in a second are answered 429 with Retry-After: `pause`, as is every call until then.

    `refused` has the times of the calls that were, `too_early` of those among them that came before the pause was over.
    """

    most: int
    pause: float
    clock: Callable[[], float] = time.monotonic
    refused: list[float] = field(default_factory=list)
    too_early: list[float] = field(default_factory=list)
    _sent: deque[float] = field(default_factory=deque)
    _until: float = 0.0

    def refuses(self) -> bool:
        now = self.clock()
        while self._sent and now - self._sent[0] >= 1:
            self._sent.popleft()
        self._sent.append(now)
        early = now < self._until
        if not early and len(self._sent) <= self.most:
            return False
        self.refused.append(now)
        if early:
            self.too_early.append(now)
        else:
            self._until = now + self.pause
        return True


@dataclass
class Workspace:
    """What the workspace holds, and its own record of what it was told (`heard`), did, closed, and was asked (`calls`).

    `wire` says what the network does to a call: nothing (None), or one of WIRE_FAULTS. `pages` counts those of each
    list and `rows` what was in them, `cpu` the seconds spent on answering; `latency` is what a simulated call takes.
    """

    models: dict[str, dict[str, Version]] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    requests: list[Asked] = field(default_factory=list)
    acts: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    closed: list[tuple[Asked, str]] = field(default_factory=list)
    looked: Counter[str] = field(default_factory=Counter)
    calls: list[tuple[str, str, float]] = field(default_factory=list)
    lagging: list[Asked] = field(default_factory=list)
    before: Callable[[str, str], Reply | None] = lambda method, path: None
    after: Callable[[str, str], Reply | None] = lambda method, path: None
    level: str = "CAN_MANAGE"
    authorizations: list[str] = field(default_factory=list)
    accepts: str = ""
    wire: Callable[[str, str], str | None] = lambda method, path: None
    # How a call's time is made to run out (fault "timeout"); by itself it does not.
    run_out: Callable[[], None] = lambda: None
    uri: str = ""
    throttle: Throttle | None = None
    pages: Counter[str] = field(default_factory=Counter)
    rows: int = 0
    cpu: float = 0.0
    latency: float = 0.0
    _ticks: Any = field(default_factory=lambda: itertools.count(START))
    _lock: Any = field(default_factory=threading.RLock)

    # --- people ----------------------------------------------------------------------------------------------

    def version(self, model: str, accuracy: str | None = None) -> str:
        """A new version; its number."""
        versions = self.models.setdefault(model, {})
        number = str(max((int(one) for one in versions), default=0) + 1)
        run = f"run{next(self._ticks)}" if accuracy is not None else ""
        versions[number] = Version(run_id=run)
        if accuracy is not None:
            self.runs[run] = accuracy
        return number

    def ask(
        self, model: str, version: str = "1", stage: str = "Production", user: str = "ada", comment: str = ""
    ) -> Asked:
        asked = Asked(model, version, stage, user, next(self._ticks), comment)
        self.requests.append(asked)
        return asked

    def withdraw(self, asked: Asked) -> None:
        self.requests.remove(asked)

    def lag(self) -> None:
        """Lists go on showing what is open now, whatever happens."""
        self.lagging = list(self.requests)

    # --- the API ---------------------------------------------------------------------------------------------

    def serve(self, method: str, path: str, arguments: dict[str, Any]) -> Reply:
        """As `answer`, unless there are too many calls; it counts what that costs."""
        began = time.thread_time()
        try:
            if self.throttle is not None and self.throttle.refuses():
                return _error(429, "REQUEST_LIMIT_EXCEEDED", "too many calls")
            return self.answer(method, path, arguments)
        finally:
            self.cpu += time.thread_time() - began

    def headers(self, status: int) -> dict[str, str]:
        """Those that matter, beside the usual ones."""
        return {"Retry-After": f"{self.throttle.pause:g}"} if status == 429 and self.throttle is not None else {}

    def answer(self, method: str, path: str, arguments: dict[str, Any]) -> Reply:
        with self._lock:
            self.calls.append((method, path, time.monotonic()))
            early = self.before(method, path)
            if early is not None:
                return early
            handler = _ROUTES.get((method, path))
            reply = handler(self, arguments) if handler else (404, {})
            return self.after(method, path) or reply

    def search_models(self, arguments: dict[str, Any]) -> Reply:
        return self._page(
            "registered_models",
            sorted(self.models),
            arguments,
            lambda name: {"name": name, "latest_versions": self._latest(name)},
        )

    def _page(
        self, field: str, whole: Sequence[str], arguments: dict[str, Any], row: Callable[[str], dict[str, Any]]
    ) -> Reply:
        """As many rows of the list as were asked for; without rows the field is left out."""
        self.pages[field] += 1
        first, most = int(arguments.get("page_token") or 0), int(arguments.get("max_results") or 100)
        rows = [row(one) for one in whole[first : first + most]]
        self.rows += len(rows)
        more = {"next_page_token": str(first + most)} if first + most < len(whole) else {}
        return 200, ({field: rows} if rows else {}) | more

    def _latest(self, name: str) -> list[dict[str, Any]]:
        newest: dict[str, int] = {}
        for number, version in self.models[name].items():
            newest[version.stage] = max(int(number), newest.get(version.stage, 0))
        shown = {number: self.models[name][str(number)].shown() for number in newest.values()}
        return [{"name": name, "version": str(number), **row} for number, row in shown.items()]

    def get_model(self, arguments: dict[str, Any]) -> Reply:
        return 200, {"registered_model_databricks": {"name": arguments["name"], "permission_level": self.level}}

    def search_versions(self, arguments: dict[str, Any]) -> Reply:
        wanted = arguments.get("filter", "")
        if not wanted.startswith("name='"):
            return _error(400, "INVALID_PARAMETER_VALUE", "a filter that names a model is required")
        name = wanted[6:-1].replace("\\'", "'")
        numbers = sorted(self.models.get(name, {}), key=int, reverse=True)
        return self._page("model_versions", numbers, arguments, lambda number: self._row(name, number))

    def get_version(self, arguments: dict[str, Any]) -> Reply:
        if self._missing(arguments):
            return _gone()
        return 200, {"model_version": self._row(arguments["name"], arguments["version"])}

    def _row(self, name: str, number: str) -> dict[str, Any]:
        version = self.models[name][number]
        row = {"name": name, "version": number, "status": "READY", **version.shown()}
        source = version.source or f"runs:/{version.run_id}/model"
        return row | ({"run_id": version.run_id, "source": source} if version.run_id else {})

    def list_requests(self, arguments: dict[str, Any]) -> Reply:
        if "name" not in arguments or "version" not in arguments:
            return _error(400, "INVALID_PARAMETER_VALUE", "name and version are required")
        if self._missing(arguments):
            return _gone()
        self.looked[arguments["name"]] += 1
        shown = self.requests + [one for one in self.lagging if one not in self.requests]
        rows = [one.row() for one in shown if (one.model, one.version) == (arguments["name"], arguments["version"])]
        return 200, {"requests": rows} if rows else {}

    def create(self, arguments: dict[str, Any]) -> Reply:
        if self._missing(arguments):
            return _gone()
        if arguments.get("comment") == "":
            return _error(400, "INVALID_PARAMETER_VALUE", "comment is empty")
        if any(one.user == "svc" for one in self._matching(arguments)):
            return _error(409, "RESOURCE_ALREADY_EXISTS", "already requested")
        asked = self.ask(
            arguments["name"], arguments["version"], arguments["stage"], "svc", arguments.get("comment", "")
        )
        return 200, {"request": asked.row()}

    def approve(self, arguments: dict[str, Any]) -> Reply:
        if not isinstance(arguments.get("archive_existing_versions"), bool):
            return _error(400, "INVALID_PARAMETER_VALUE", "archive_existing_versions is required")
        return self._resolve("APPROVED_REQUEST", arguments)

    def reject(self, arguments: dict[str, Any]) -> Reply:
        return self._resolve("REJECTED_REQUEST", arguments)

    def delete(self, arguments: dict[str, Any]) -> Reply:
        found = [one for one in self._matching(arguments) if one.user == arguments.get("creator")]
        if not found:
            return _gone()
        self.withdraw(found[0])
        return 200, {"activity": {"activity_type": "CANCELLED_REQUEST"}}

    def _resolve(self, kind: str, arguments: dict[str, Any]) -> Reply:
        self.heard.append((kind, arguments))
        if self._missing(arguments):
            return _gone()
        matching = self._matching(arguments)
        if not matching:
            return _error(400, "INVALID_STATE", "there is no such request")
        self.requests = [one for one in self.requests if one not in matching]
        self.acts.append((kind, arguments))
        self.closed += [(one, arguments.get("comment", "")) for one in matching]
        version = self.models[arguments["name"]][arguments["version"]]
        if kind == "APPROVED_REQUEST":
            if arguments["archive_existing_versions"]:
                for other in self.models[arguments["name"]].values():
                    other.stage = "Archived" if other.stage == arguments["stage"] else other.stage
            version.stage = arguments["stage"]
        return 200, {"activity": {"activity_type": kind, "to_stage": arguments["stage"], "user_id": "svc"}}

    def _matching(self, arguments: dict[str, Any]) -> list[Asked]:
        wanted = (arguments["name"], arguments["version"], arguments["stage"])
        return [one for one in self.requests if (one.model, one.version, one.stage) == wanted]

    def _missing(self, arguments: dict[str, Any]) -> bool:
        return arguments["version"] not in self.models.get(arguments["name"], {})

    # --- runs ------------------------------------------------------------------------------------------------

    def search_experiments(self, arguments: dict[str, Any]) -> Reply:
        return 200, {"experiments": [{"experiment_id": "1"}]}

    def search_runs(self, arguments: dict[str, Any]) -> Reply:
        named = [run for run in self.runs if f"'{run}'" in arguments.get("filter", "")]
        return 200, {"runs": [self._run(run) for run in named]}

    def get_run(self, arguments: dict[str, Any]) -> Reply:
        run = arguments["run_id"]
        return (200, {"run": self._run(run)}) if run in self.runs else _gone()

    def get_logged_model(self, arguments: dict[str, Any]) -> Reply:
        """The one logged model there is, of the first run."""
        info = {"model_id": LOGGED_MODEL, "source_run_id": next(iter(self.runs)), "experiment_id": "1"}
        return 200, {"model": {"info": info, "data": {}}}

    def _run(self, run: str) -> dict[str, Any]:
        """No document says that a run shows its outputs."""
        info = {"run_id": run, "status": "FINISHED", "lifecycle_stage": "active", "end_time": START, "artifact_uri": ""}
        value = float(self.runs[run])
        metric = {"key": "validation_accuracy", "value": value, "timestamp": START, "step": 0}
        return {"info": info, "data": {"metrics": [metric]}}


def _error(status: int, code: str, message: str) -> Reply:
    return status, {"error_code": code, "message": message}


def _gone() -> Reply:
    return _error(404, "RESOURCE_DOES_NOT_EXIST", "not found")


# Before: the server never hears of it. After: it has done it, and its answer is lost.
BEFORE = ("reset before", "429", "500", "503", "html")
AFTER = ("reset after", "500 after", "timeout", "truncated")
WIRE_FAULTS = (*BEFORE, *AFTER)

API = "/api/2.0/mlflow/"
_ROUTES: dict[tuple[str, str], Callable[[Workspace, dict[str, Any]], Reply]] = {
    ("GET", f"{API}registered-models/search"): Workspace.search_models,
    ("GET", f"{API}databricks/registered-models/get"): Workspace.get_model,
    ("GET", f"{API}model-versions/search"): Workspace.search_versions,
    ("GET", f"{API}model-versions/get"): Workspace.get_version,
    ("GET", f"{API}transition-requests/list"): Workspace.list_requests,
    ("POST", f"{API}transition-requests/create"): Workspace.create,
    ("POST", f"{API}transition-requests/approve"): Workspace.approve,
    ("POST", f"{API}transition-requests/reject"): Workspace.reject,
    ("DELETE", f"{API}transition-requests/delete"): Workspace.delete,
    ("POST", f"{API}experiments/search"): Workspace.search_experiments,
    ("POST", f"{API}runs/search"): Workspace.search_runs,
    ("GET", f"{API}runs/get"): Workspace.get_run,
    ("GET", f"{API}logged-models/{LOGGED_MODEL}"): Workspace.get_logged_model,
}


def _instead(fault: str | None) -> Reply | None:
    """What is answered where the registry itself never hears of the call."""
    if fault == "html":
        return 418, {}
    if fault in {"429", "500", "503"}:
        return _error(int(fault), "TEMPORARILY_UNAVAILABLE", "not now")
    return (0, {}) if fault == "reset before" else None


class _Handler(BaseHTTPRequestHandler):
    held: Workspace
    protocol_version = "HTTP/1.1"
    # Without it each small answer waits for an acknowledgement.
    disable_nagle_algorithm = True

    def serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            # Whoever was sending was killed between the head of the call and its body: there was no call.
            self.close_connection = True
            return
        arguments = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.held.authorizations.append(self.headers.get("Authorization", ""))
        if self.held.accepts and self.headers.get("Authorization") != self.held.accepts:
            self.reply(*_error(401, "UNAUTHENTICATED", "who are you?"), missing=0)
            return
        fault = self.held.wire(self.command, parts.path)
        reply = _instead(fault)
        if reply is None:
            reply = self.held.serve(self.command, parts.path, arguments | (json.loads(body) if body else {}))
        if fault == "timeout":
            self.begin_and_say_nothing()
        if fault in {"reset before", "reset after", "timeout"}:
            self.close_connection = True
            return
        if fault == "500 after":
            reply = _error(500, "INTERNAL_ERROR", "after it was done")
        with contextlib.suppress(OSError):
            self.reply(*reply, missing=10 if fault == "truncated" else 0)

    do_GET = do_POST = do_DELETE = serve

    def reply(self, status: int, data: dict[str, Any], missing: int) -> None:
        text = json.dumps(data).encode() if data or status == 200 else b"<html>"
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if data else "text/html")
        self.send_header("Content-Length", str(len(text) + missing))
        for name, value in self.held.headers(status).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)
        self.close_connection = bool(missing)

    def begin_and_say_nothing(self) -> None:
        """Until whoever asked has gone: the time of its call is over when the first of the reply comes."""
        self.held.run_out()
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.connection.settimeout(60)
        with contextlib.suppress(OSError):
            self.connection.recv(1)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class _IPv6Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6


@contextlib.contextmanager
def workspace(context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Workspace]:
    """Serves one on loopback until the block ends, over TLS where a context is given; its address is `uri`."""
    held = Workspace()
    kind = _IPv6Server if ":" in host else ThreadingHTTPServer
    server = kind((host, 0), type("Handler", (_Handler,), {"held": held}))
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shown = f"[{host}]" if ":" in host else host
    held.uri = f"{'https' if context else 'http'}://{shown}:{server.server_address[1]}"
    try:
        yield held
    finally:
        server.shutdown()
        server.server_close()
