"""One HTTP transport to an MLflow server: bounded in time, bytes and tries; a write is sent once."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http.client import responses
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from reconciler.domain.text import visible
from reconciler.ports import Conflict, Invalid, Measured, Meter, NotFound, Refused, RegistryError, Unavailable
from reconciler.registry.reaching import USE_HTTPS, Unreached, distrust, unreachable
from reconciler.registry.replies import mlflow_error, retry_after, skew, wants_tls

_CHUNK = 64 * 1024
_LONGEST_RETRY_AFTER = 5.0
_FIRST_PAUSE = 0.2
_LATER = frozenset({429, 500, 502, 503, 504})


class TooLarge(Unavailable):
    """The reply is larger than is read."""


class NoEndpoint(Unavailable):
    """The server does not know this path at all: a 404 that is not MLflow's own."""


class PlainlyRefused(Refused):
    """A 403 that is not MLflow's own JSON: basic-auth says so also to paths that nobody serves."""


class Pace(Protocol):
    """Spaces calls to a server that others use too."""

    def wait(self, seconds: float) -> bool:
        """Waits for a place, at most so long; False when none came free."""

    def slow_down(self) -> None:
        """The server said that there were too many."""


class Number(float):
    """A JSON number that keeps the text it was read as."""

    text: str

    def __new__(cls, text: str) -> Number:
        number = super().__new__(cls, text)
        number.text = text
        return number


class NoAuth(AuthBase):
    """Sends no credentials. An auth callable, even this one, keeps requests from asking netrc for others."""

    origin = "no credentials were sent: set MLFLOW_TRACKING_USERNAME and _PASSWORD, or see docs/configuration.md"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Retry(Exception):
    """An error that a read may be tried again after, and how long the server asks to wait (seconds)."""

    def __init__(self, error: Unavailable, wait: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait


class Transport:
    """Calls to one server. Not for several threads at once.

    `timeout` is the deadline of one call in seconds, from its first byte out to its last byte in, tries included.
    `max_bytes` bounds one reply. `calls` and `bytes_read` count since the last `begin`. `skew` is how many seconds the
    server's clock was ahead in its last answer. `on_answer` is called after each. `clock` and `sleep` are in seconds.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: AuthBase | None = None,
        verify: bool | str = True,
        cert: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        max_bytes: int = 32 * 1024 * 1024,
        retries: int = 2,
        pace: Pace | None = None,
        on_answer: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.base = base_url.rstrip("/")
        self._session = requests.Session()
        self._session.auth = auth or NoAuth()
        # Given with each call: $REQUESTS_CA_BUNDLE would win over the session's.
        self._verify = verify
        self._session.cert = cert
        self._session.headers.update({"Accept": "application/json", "User-Agent": "mlflow-reconciler"})
        self._session.headers.update(headers or {})
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._retries = retries
        self._pace = pace
        self._on_answer = on_answer
        self._clock = clock
        self._sleep = sleep
        self._cycle_ends: float | None = None
        self.calls = 0
        self.bytes_read = 0
        self.skew: float | None = None

    def begin(self, deadline: float | None) -> None:
        """Counters to zero; `deadline` seconds from now every call raises Unavailable."""
        self.calls = self.bytes_read = 0
        self._cycle_ends = None if deadline is None else self._clock() + deadline

    def close(self) -> None:
        self._session.close()

    # --- calls -----------------------------------------------------------------------------------------------

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return self._read("GET", path, params=params)

    def text(self, path: str) -> str:
        """A short answer that is no JSON."""
        return str(self._read("GET", path, as_text=True))

    def search(self, path: str, body: Mapping[str, Any]) -> Any:
        """A POST that only reads, so that it may be tried again."""
        return self._read("POST", path, json=body)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._write("POST", path, body)

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._write("PATCH", path, body)

    def delete(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._write("DELETE", path, body)

    def delete_by_query(self, path: str, query: Mapping[str, Any]) -> Any:
        return self._write("DELETE", path, None, query)

    def _write(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, Any] | None = None
    ) -> Any:
        """Sent once: after an error it may or may not have happened, and only reading tells."""
        try:
            return self._send(method, path, self._ends(path), json=body, params=query)
        except _Retry as retry:
            raise retry.error from None

    def _read(self, method: str, path: str, **arguments: Any) -> Any:
        ends = self._ends(path)
        for attempt in range(self._retries + 1):
            try:
                return self._send(method, path, ends, **arguments)
            except _Retry as retry:
                pause = _FIRST_PAUSE * 2**attempt if retry.wait is None else retry.wait
                last = attempt == self._retries or self._clock() + pause >= ends
                if last or pause > _LONGEST_RETRY_AFTER:
                    raise retry.error from None
                self._sleep(pause)
        raise AssertionError("the last attempt either returns or raises")

    def _ends(self, path: str) -> float:
        now = self._clock()
        if self._cycle_ends is not None and now >= self._cycle_ends:
            raise Unavailable(f"{path}: not asked, the cycle's deadline has passed (schedule.deadline)")
        return min(now + self._timeout, self._cycle_ends or now + self._timeout)

    # --- one exchange ----------------------------------------------------------------------------------------

    def _send(
        self, method: str, path: str, ends: float, *, renewed: bool = False, as_text: bool = False, **arguments: Any
    ) -> Any:
        what = f"{method} {path}"
        if self._pace is not None and not self._pace.wait(ends - self._clock()):
            raise Unavailable(f"{what}: not asked, the budget of calls is used up (registry.budget)")
        self.calls += 1
        left = max(ends - self._clock(), 0.01)
        try:
            with contextlib.closing(
                self._session.request(
                    method,
                    self.base + path,
                    timeout=left,
                    allow_redirects=False,
                    stream=True,
                    verify=self._verify,
                    **arguments,
                )
            ) as reply:
                body = self._body(reply, what, ends)
        except requests.exceptions.SSLError as error:
            raise Unreached(f"{what}: TLS failed: {distrust(error, self.base, self._verify)}") from None
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            remedy = "is the server overloaded, or a firewall in between? (registry.timeout)"
            silent = f"{what}: no answer from {self.base} within {self._timeout:g} s: {remedy}"
            raise _Retry(Unreached(silent)) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _Retry(Unreached(f"{what}: {unreachable(error, self.base)}")) from None
        self._on_answer()
        self.skew = skew(reply)
        if reply.status_code == 429 and self._pace is not None:
            self._pace.slow_down()
        if reply.status_code == 401 and not renewed and self._renewed():
            # Refused before anything was done, so a write may be sent again; once.
            return self._send(method, path, ends, renewed=True, as_text=as_text, **arguments)
        if as_text and reply.status_code == 200:
            return visible(body.decode("utf-8", "replace").strip(), 100)
        # Which credential went along; never its value.
        sent = str(getattr(self._session.auth, "origin", "") or "")
        return _understood(reply, body, _Asked(what, self.base, sent))

    def _renewed(self) -> bool:
        renew = getattr(self._session.auth, "renew", None)
        return renew is not None and bool(renew())

    def _body(self, reply: requests.Response, what: str, ends: float) -> bytes:
        """The whole body, within the cap and the deadline, however slowly it drips."""
        parts: list[bytes] = []
        size = 0
        self._limit_waiting(reply, ends)
        while part := reply.raw.read1(_CHUNK, decode_content=True):
            size += len(part)
            self.bytes_read += len(part)
            if size > self._max_bytes:
                raise TooLarge(f"{what}: the reply is larger than {self._max_bytes} bytes (registry.max_bytes)")
            if self._clock() >= ends:
                raise Unavailable(f"{what}: the reply was not complete within {self._timeout:g} s")
            parts.append(part)
            self._limit_waiting(reply, ends)
        return b"".join(parts)

    def _limit_waiting(self, reply: requests.Response, ends: float) -> None:
        """The socket waits no longer than the call may: `timeout` of requests starts anew with every byte."""
        connection = getattr(reply.raw, "connection", None) or getattr(reply.raw, "_connection", None)
        if connection is not None and connection.sock is not None:
            connection.sock.settimeout(max(ends - self._clock(), 0.01))


# --- understanding a reply -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """What was asked of which server, and which credential went along."""

    what: str
    server: str
    sent: str


def _understood(reply: requests.Response, body: bytes, asked: _Asked) -> Any:
    status = reply.status_code
    if 200 <= status < 300:
        return _json_of(reply, body, asked)
    if 300 <= status < 400:
        place = urlsplit(reply.headers.get("Location", "")).hostname or "another path"
        followed = f"redirected to {visible(place, 100)}, which is not followed"
        raise Unavailable(f"{asked.what}: {followed}: is {asked.server} right? (registry.uri)")
    raise _error_of(reply, body, asked)


def _json_of(reply: requests.Response, body: bytes, asked: _Asked) -> Any:
    try:
        return json.loads(body, parse_float=Number, parse_constant=Number)
    except (ValueError, RecursionError):
        kind = visible(reply.headers.get("Content-Type") or "no content type", 60)
        instead = f"{asked.what}: answered with {kind} instead of JSON"
        raise Unavailable(f"{instead}: is {asked.server} an MLflow server?") from None


def _error_of(reply: requests.Response, body: bytes, asked: _Asked) -> Exception:
    status = reply.status_code
    code, message = mlflow_error(body)
    if not code and wants_tls(body):
        return Unreached(f"{asked.what}: {asked.server} is asked in plain text and speaks TLS: {USE_HTTPS}")
    words = code or responses.get(status, "")
    said = f"{asked.what}: {status} {words}".rstrip() + f" from {asked.server}" + (f": {message}" if message else "")
    if status == 401 and asked.sent:
        said += f"; {asked.sent}"
    if status in _LATER:
        return _Retry(Unavailable(said), retry_after(reply))
    if status == 404 and not code:
        return NoEndpoint(f"{asked.what}: 404, {asked.server} has no such endpoint")
    if status == 403 and not code:
        return PlainlyRefused(said)
    return _ERRORS.get(status, Invalid if status < 500 else Unavailable)(said)


_ERRORS: dict[int, type[RegistryError]] = {
    401: Refused,
    403: Refused,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
}


def begin_all(transports: Collection[Transport], deadline: timedelta | None) -> Meter:
    """A cycle starts on several transports."""
    for transport in transports:
        transport.begin(deadline.total_seconds() if deadline else None)
    return lambda: _measured(transports)


def _measured(transports: Collection[Transport]) -> Measured:
    """What several transports counted; the skew of the first that knows one."""
    skews = [one.skew for one in transports if one.skew is not None]
    return Measured(sum(one.calls for one in transports), timedelta(seconds=skews[0]) if skews else None)
