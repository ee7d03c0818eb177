"""What a reply means: its JSON, or the error that it represents."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http.client import responses
from typing import Any
from urllib.parse import urlsplit

import requests

from reconciler.domain.text import visible
from reconciler.ports import Conflict, Invalid, NotFound, Refused, RegistryError, Unavailable
from reconciler.registry.errors import NoEndpoint, PlainlyRefused
from reconciler.registry.reaching import USE_HTTPS, Unreached
from reconciler.registry.replies import mlflow_error, retry_after, wants_tls

_LATER = frozenset({429, 500, 502, 503, 504})
# For answers that come from what stands before the server, or from a server that is not ready.
_REMEDIES = {
    502: "does the proxy in front of the server reach it?",
    503: "is the server still starting, down for maintenance or overloaded?",
    504: "is the server overloaded, or out of reach of the proxy in front of it?",
}


class Number(float):
    """A JSON number that keeps the text it was read as."""

    text: str

    def __new__(cls, text: str) -> Number:
        number = super().__new__(cls, text)
        number.text = text
        return number


class Retry(Exception):
    """An error after which a read may be retried; `wait` is how long the server asks to wait, in seconds."""

    def __init__(self, error: Unavailable, wait: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Call:
    """A call, its server, and a note on the credential that was sent with it."""

    name: str
    server: str
    credential: str


def understood(reply: requests.Response, body: bytes, call: Call) -> Any:
    """Return the JSON of a reply.

    Raises:
        Retry: the server may answer differently a little later.
        RegistryError: any other error that the reply reports.
    """
    status = reply.status_code
    if 200 <= status < 300:
        return _json_of(reply, body, call)
    if 300 <= status < 400:
        host = urlsplit(reply.headers.get("Location", "")).hostname or "another path"
        redirect = f"redirected to {visible(host, 100)}, which is not followed"
        raise Unavailable(f"{call.name}: {redirect}: is {call.server} correct? (registry.uri)")
    raise _error_of(reply, body, call)


def _json_of(reply: requests.Response, body: bytes, call: Call) -> Any:
    try:
        return json.loads(body, parse_float=Number, parse_constant=Number)
    except (ValueError, RecursionError):
        kind = visible(reply.headers.get("Content-Type") or "no content type", 60)
        if "json" in kind.lower():
            broken = f"{call.name}: {call.server} answered with JSON that is broken or cut off"
            raise Unavailable(f"{broken}: see the log of the server, or of the proxy in front of it") from None
        instead = f"{call.name}: answered with {kind} instead of JSON"
        raise Unavailable(f"{instead}: is {call.server} an MLflow server?") from None


def _error_of(reply: requests.Response, body: bytes, call: Call) -> Exception:
    status = reply.status_code
    code, message = mlflow_error(body)
    if not code and wants_tls(body):
        return Unreached(f"{call.name}: {call.server} speaks TLS but was called in plain text: {USE_HTTPS}")
    words = code or responses.get(status, "")
    text = f"{call.name}: {status} {words}".rstrip() + f" from {call.server}" + (f": {message}" if message else "")
    if status == 401 and call.credential:
        text += f"; {call.credential}"
    if status in _REMEDIES:
        text += f": {_REMEDIES[status]}"
    if status in _LATER:
        return Retry(Unavailable(text), retry_after(reply))
    if status == 404 and not code:
        return NoEndpoint(f"{call.name}: 404, {call.server} has no such endpoint")
    if status == 403 and not code:
        return PlainlyRefused(text)
    return _ERRORS.get(status, Invalid if status < 500 else Unavailable)(text)


_ERRORS: dict[int, type[RegistryError]] = {
    401: Refused,
    403: Refused,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
}
