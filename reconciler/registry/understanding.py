"""What a reply means: its JSON, or the error that it stands for."""

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


class Number(float):
    """A JSON number that keeps the text it was read as."""

    text: str

    def __new__(cls, text: str) -> Number:
        number = super().__new__(cls, text)
        number.text = text
        return number


class Retry(Exception):
    """An error that a read may be tried again after, and how long the server asks to wait (seconds)."""

    def __init__(self, error: Unavailable, wait: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of which server, and which credential went along."""

    what: str
    server: str
    sent: str


def understood(reply: requests.Response, body: bytes, asked: Asked) -> Any:
    """The JSON of a reply.

    Raises:
        Retry: the server may answer otherwise a little later.
        RegistryError: what else the reply says instead.
    """
    status = reply.status_code
    if 200 <= status < 300:
        return _json_of(reply, body, asked)
    if 300 <= status < 400:
        place = urlsplit(reply.headers.get("Location", "")).hostname or "another path"
        followed = f"redirected to {visible(place, 100)}, which is not followed"
        raise Unavailable(f"{asked.what}: {followed}: is {asked.server} right? (registry.uri)")
    raise _error_of(reply, body, asked)


def _json_of(reply: requests.Response, body: bytes, asked: Asked) -> Any:
    try:
        return json.loads(body, parse_float=Number, parse_constant=Number)
    except (ValueError, RecursionError):
        kind = visible(reply.headers.get("Content-Type") or "no content type", 60)
        instead = f"{asked.what}: answered with {kind} instead of JSON"
        raise Unavailable(f"{instead}: is {asked.server} an MLflow server?") from None


def _error_of(reply: requests.Response, body: bytes, asked: Asked) -> Exception:
    status = reply.status_code
    code, message = mlflow_error(body)
    if not code and wants_tls(body):
        return Unreached(f"{asked.what}: {asked.server} is asked in plain text and speaks TLS: {USE_HTTPS}")
    words = code or responses.get(status, "")
    said = f"{asked.what}: {status} {words}".rstrip() + f" from {asked.server}" + (f": {message}" if message else "")
    if status == 401 and asked.sent:
        said += f"; {asked.sent}"
    if status in _LATER:
        return Retry(Unavailable(said), retry_after(reply))
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
