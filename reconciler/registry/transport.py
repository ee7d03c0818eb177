"""One HTTP transport to an MLflow server: bounded in time, bytes and attempts; a write is sent once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

import requests
import urllib3

from reconciler.domain.text import visible
from reconciler.ports import Measured, Meter, Unavailable
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.errors import TooLarge
from reconciler.registry.reaching import Unreached, distrust, unreachable
from reconciler.registry.replies import retry_after, skew
from reconciler.registry.understanding import Call, Retry, understood

_CHUNK = 64 * 1024
_LONGEST_RETRY_AFTER = 5.0
_SLOW = "is the server overloaded, or a firewall in between? (registry.timeout)"
_FIRST_PAUSE = 0.2


class Pace(Protocol):
    """Spaces calls to a server that is shared with others."""

    def wait(self, seconds: float) -> bool:
        """Block until a slot is free or the timeout passes; return False if none became free."""

    def slow_down(self, pause: float | None = None) -> None:
        """Called when the server answered that there were too many calls; `pause`: the seconds it asks to wait."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one call.

    `timeout` is its deadline in seconds, from the first byte sent to the last byte received, retries included.
    `max_bytes` limits one reply. `retries`: how often a read is sent again.
    """

    timeout: float = 10.0
    max_bytes: int = 32 * 1024 * 1024
    retries: int = 2


@dataclass(frozen=True, slots=True)
class Timing:
    """The clock and the sleep function, in seconds."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep


_USUAL = Limits()
_REAL_TIME = Timing()


class Transport:
    """Calls to one server. Not thread-safe.

    `calls` and `bytes_read` count since the last `begin`. `skew` is by how many seconds the server's clock was ahead
    in its last answer. `on_answer` is called after each answer.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limits: Limits = _USUAL,
        *,
        pace: Pace | None = None,
        on_answer: Callable[[], None] = lambda: None,
        timing: Timing = _REAL_TIME,
    ) -> None:
        self.base = endpoint.url.rstrip("/")
        self._session = _session(endpoint)
        # Passed with each call: $REQUESTS_CA_BUNDLE would override the session's.
        self._verify = endpoint.verify
        self._limits = limits
        self._pace = pace
        self._on_answer = on_answer
        self._now = timing.clock
        self._sleep = timing.sleep
        self._cycle_ends: float | None = None
        self.calls = 0
        self.bytes_read = 0
        self.skew: float | None = None

    def begin(self, deadline: float | None) -> None:
        """Reset the counters. From `deadline` seconds from now on, every call raises Unavailable."""
        self.calls = self.bytes_read = 0
        self._cycle_ends = None if deadline is None else self._now() + deadline

    @property
    def registry_clock(self) -> int | None:
        """The server's time now, in milliseconds since 1970, as its last answer told it; None: it told none."""
        return None if self.skew is None else round((time.time() + self.skew) * 1000)

    def close(self) -> None:
        self._session.close()

    # --- calls -----------------------------------------------------------------------------------------------

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return self._read("GET", path, params=params)

    def text(self, path: str) -> str:
        """A short answer that is not JSON."""
        raw: bytes = self._read("GET", path, raw_up_to=self._limits.max_bytes)
        return visible(raw.decode("utf-8", "replace").strip(), 100)

    def file(self, path: str, params: Mapping[str, Any], at_most: int) -> bytes:
        """The bytes of a file. Raises TooLarge if there are more than `at_most`."""
        raw: bytes = self._read("GET", path, params=params, raw_up_to=at_most)
        return raw

    def search(self, path: str, body: Mapping[str, Any]) -> Any:
        """A POST that only reads, so it may be retried."""
        return self._read("POST", path, json=body)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._write("POST", path, body)

    def delete(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._write("DELETE", path, body)

    def delete_by_query(self, path: str, query: Mapping[str, Any]) -> Any:
        return self._write("DELETE", path, None, query)

    def _write(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, Any] | None = None
    ) -> Any:
        """Send once: after an error the write may or may not have happened, and only reading shows which."""
        try:
            return self._send(method, path, self._ends(path), json=body, params=query)
        except Retry as retry:
            raise retry.error from None

    def _read(self, method: str, path: str, **arguments: Any) -> Any:
        ends = self._ends(path)
        for attempt in range(self._limits.retries + 1):
            try:
                return self._send(method, path, ends, **arguments)
            except Retry as retry:
                pause = _FIRST_PAUSE * 2**attempt if retry.wait is None else retry.wait
                last = attempt == self._limits.retries or self._now() + pause >= ends
                if last or pause > _LONGEST_RETRY_AFTER:
                    raise retry.error from None
                self._sleep(pause)
        raise AssertionError("the last attempt either returns or raises")

    def _ends(self, path: str) -> float:
        now = self._now()
        if self._cycle_ends is not None and now >= self._cycle_ends:
            raise Unavailable(f"{path}: not sent, the cycle's deadline has passed (schedule.deadline)")
        return min(now + self._limits.timeout, self._cycle_ends or now + self._limits.timeout)

    # --- one exchange ----------------------------------------------------------------------------------------

    def _send(
        self,
        method: str,
        path: str,
        ends: float,
        *,
        renewed: bool = False,
        raw_up_to: int | None = None,
        **arguments: Any,
    ) -> Any:
        """`raw_up_to`: the bytes themselves are asked for, so many at most, and not the JSON in them."""
        name = f"{method} {path}"
        self._await_slot(name, ends)
        reply, body = self._exchange(method, path, ends, arguments, raw_up_to)
        self._record(reply)
        if reply.status_code == 401 and not renewed and self._renewed():
            # Refused before anything was done, so even a write may be sent again, once.
            return self._send(method, path, ends, renewed=True, raw_up_to=raw_up_to, **arguments)
        if raw_up_to is not None and reply.status_code == 200:
            return body
        # Where the credential came from; never its value.
        origin = str(getattr(self._session.auth, "origin", "") or "")
        return understood(reply, body, Call(name, self.base, origin))

    def _await_slot(self, name: str, ends: float) -> None:
        if self._pace is not None and not self._pace.wait(ends - self._now()):
            used_up = "the budget of calls is used up, or the server asked for a pause"
            raise Unavailable(f"{name}: not sent, {used_up} (registry.budget)")

    def _exchange(
        self, method: str, path: str, ends: float, arguments: Mapping[str, Any], raw_up_to: int | None
    ) -> tuple[requests.Response, bytes]:
        name = f"{method} {path}"
        self.calls += 1
        try:
            with contextlib.closing(self._request(method, path, ends, arguments)) as reply:
                # What an error says is no file.
                limit = self._limits.max_bytes if raw_up_to is None or reply.status_code != 200 else raw_up_to
                return reply, self._body(reply, name, ends, limit)
        except requests.exceptions.SSLError as error:
            raise Unreached(f"{name}: TLS failed: {distrust(error, self.base, self._verify)}") from None
        except (requests.Timeout, urllib3.exceptions.TimeoutError):
            message = f"{name}: no answer from {self.base} within {self._limits.timeout:g} s: {_SLOW}"
            raise Retry(Unreached(message)) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise Retry(Unreached(f"{name}: {unreachable(error, self.base)}")) from None

    def _request(self, method: str, path: str, ends: float, arguments: Mapping[str, Any]) -> requests.Response:
        return self._session.request(
            method,
            self.base + path,
            timeout=self._left(ends),
            allow_redirects=False,
            stream=True,
            verify=self._verify,
            **arguments,
        )

    def _left(self, ends: float) -> float:
        """Seconds left, always above zero, since a socket accepts no other timeout."""
        return max(ends - self._now(), 0.01)

    def _record(self, reply: requests.Response) -> None:
        self._on_answer()
        self.skew = skew(reply)
        if reply.status_code == 429 and self._pace is not None:
            self._pace.slow_down(retry_after(reply))

    def _renewed(self) -> bool:
        renew = getattr(self._session.auth, "renew", None)
        return renew is not None and bool(renew())

    def _body(self, reply: requests.Response, name: str, ends: float, limit: int) -> bytes:
        """The whole body, within the size limit and the deadline, however slowly it arrives."""
        parts: list[bytes] = []
        size = 0
        self._limit_socket_timeout(reply, ends)
        while part := reply.raw.read1(_CHUNK, decode_content=True):
            size += len(part)
            self.bytes_read += len(part)
            if size > limit:
                setting = " (registry.max_bytes)" if limit == self._limits.max_bytes else ""
                raise TooLarge(f"{name}: the reply is larger than {limit} bytes{setting}")
            if self._now() >= ends:
                late = f"the reply from {self.base} was not complete within {self._limits.timeout:g} s"
                raise Unavailable(f"{name}: {late}: {_SLOW}")
            parts.append(part)
            self._limit_socket_timeout(reply, ends)
        return b"".join(parts)

    def _limit_socket_timeout(self, reply: requests.Response, ends: float) -> None:
        """Let the socket wait no longer than the call may: the `timeout` of requests restarts with every byte."""
        connection = getattr(reply.raw, "connection", None) or getattr(reply.raw, "_connection", None)
        if connection is not None and connection.sock is not None:
            connection.sock.settimeout(self._left(ends))


def _session(endpoint: Endpoint) -> requests.Session:
    session = requests.Session()
    session.auth = endpoint.auth
    session.cert = endpoint.cert
    session.headers.update({"Accept": "application/json", "User-Agent": "mlflow-reconciler"})
    session.headers.update(endpoint.headers)
    return session


def begin_all(transports: Collection[Transport], deadline: timedelta | None) -> Meter:
    """Begin a cycle on several transports."""
    for transport in transports:
        transport.begin(deadline.total_seconds() if deadline else None)
    return lambda: _measured(transports)


def _measured(transports: Collection[Transport]) -> Measured:
    """The sum of several transports' calls; the skew of the first that knows one."""
    skews = [transport.skew for transport in transports if transport.skew is not None]
    return Measured(sum(transport.calls for transport in transports), timedelta(seconds=skews[0]) if skews else None)
