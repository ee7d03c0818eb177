"""The door of a server behind a proxy: who comes in, by the headers that the proxy adds.

It stands outside of everything that MLflow serves, FastAPI's own routes included, and is the only place where these
headers are read: what passes has lost them, so nothing behind it can read them otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from reconciler.domain.text import visible
from reconciler.mlflow_app.login import Caller
from reconciler.mlflow_app.names import is_name

PROOF: Final = "X-Transition-Requests-Secret"

_logger = logging.getLogger("mlflow.transition_requests")
_within: ContextVar[Caller | None] = ContextVar("transition_requests_caller", default=None)
_REFUSED: Final = (
    "Unauthorized: this server takes calls from its login proxy only, with the name of one user. "
    "Use the address of the proxy; the server's log says what was wrong."
)
_BODY: Final = json.dumps({"error_code": "UNAUTHENTICATED", "message": _REFUSED}).encode()


class NotAdmitted(Exception):
    """Why a call is not let in; for the log, without any value that was sent."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of the headers, and the digest of the secret that the proxy sends. `groups` is "" without groups."""

    user: str
    groups: str
    secret: bytes

    @property
    def watched(self) -> frozenset[str]:
        """What the headers are called on the wire, in lower case."""
        return frozenset(name.lower() for name in (self.user, self.groups, PROOF) if name)

    def admit(self, headers: Iterable[tuple[str, bytes]]) -> Caller:
        """Who sent a call, by all its headers as they were sent. Raises NotAdmitted."""
        given: dict[str, list[bytes]] = {name: [] for name in self.watched}
        misspelt = set()
        for name, value in headers:
            plain = _plain(name)
            if plain in given:
                given[plain].append(value)
                if name.lower() != plain:
                    misspelt.add(plain)
        secret = given[PROOF.lower()]
        if not hmac.compare_digest(digest(secret[0] if secret else b""), self.secret):
            raise NotAdmitted(f"{PROOF} is missing or wrong")
        if misspelt:
            raise NotAdmitted(f"{min(misspelt)} is also sent with underscores in its name")
        for name, values in sorted(given.items()):
            if len(values) > 1:
                raise NotAdmitted(f"{name} is sent more than once")
        groups = given[self.groups.lower()] if self.groups else []
        return Caller(_user(given[self.user.lower()]), groups=_groups(groups))


def digest(secret: bytes) -> bytes:
    """What secrets are compared by: equally long whatever was sent."""
    return hashlib.sha256(secret).digest()


def caller_within() -> Caller:
    """The sender of the call being served; `Caller("")` outside of calls, and for one that needs no login."""
    return _within.get() or Caller("")


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _user(values: list[bytes]) -> str:
    name = _text(values[0]) if values else ""
    if not is_name(name):
        raise NotAdmitted("the user's name is not sent" if not name else "the user's name is not one name")
    return name


def _groups(values: list[bytes]) -> frozenset[str]:
    text = _text(values[0]) if values else ""
    # A blank that is not ASCII's belongs to the group's name: `model-approvers` and another group with one are two.
    return frozenset(group.strip(" \t") for group in text.split(",")) - {""}


def _text(value: bytes) -> str:
    try:
        return value.strip(b" \t").decode("utf-8")
    except UnicodeDecodeError:
        raise NotAdmitted("a header is not UTF-8") from None


Admit = Callable[[Iterable[tuple[str, bytes]]], Caller]


@dataclass(frozen=True, slots=True)
class Door:
    """Args: open_paths: paths that anybody may read, without being anybody."""

    admit: Admit
    watched: frozenset[str]
    open_paths: frozenset[str]

    def _caller(self, method: str, path: str, headers: Iterable[tuple[str, bytes]]) -> Caller | None:
        """None for an open path. Raises NotAdmitted."""
        if path in self.open_paths and method in {"GET", "HEAD"}:
            return None
        try:
            return self.admit(headers)
        except NotAdmitted as refused:
            _logger.warning("transition requests: 401 for %s %s: %s", visible(method), visible(path, 200), refused)
            raise


@dataclass(frozen=True, slots=True)
class AsgiDoor(Door):
    served: Any

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.served(scope, receive, send)
            return
        headers = [(name.decode("latin-1"), value) for name, value in scope["headers"]]
        try:
            caller = self._caller(scope.get("method", ""), scope["path"], headers)
        except NotAdmitted:
            await _refuse(scope, send)
            return
        kept = [pair for pair in scope["headers"] if _plain(pair[0].decode("latin-1")) not in self.watched]
        with _calling(caller):
            await self.served({**scope, "headers": kept}, receive, send)


@dataclass(frozen=True, slots=True)
class WsgiDoor(Door):
    """A WSGI server has joined headers that were sent twice, or spelt differently, with a comma."""

    served: Any

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        headers = {_plain(key.removeprefix("HTTP_")): key for key in environ if key.startswith("HTTP_")}
        sent = [(name, environ[key].encode("latin-1")) for name, key in headers.items()]
        try:
            caller = self._caller(environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), sent)
        except NotAdmitted:
            length = str(len(_BODY))
            start_response("401 Unauthorized", [("Content-Type", "application/json"), ("Content-Length", length)])
            return [b"" if environ["REQUEST_METHOD"] == "HEAD" else _BODY]
        kept = {key: value for key, value in environ.items() if key not in {headers.get(name) for name in self.watched}}
        with _calling(caller):
            return self.served(kept, start_response)


@contextmanager
def _calling(caller: Caller | None) -> Iterator[None]:
    token = _within.set(caller)
    try:
        yield
    finally:
        _within.reset(token)


async def _refuse(scope: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else _BODY})
