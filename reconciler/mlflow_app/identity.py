"""The caller, and what basic-auth permits with a model. The only module that uses basic-auth's internals."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from flask import g, has_request_context

from reconciler.domain.request import SOMEBODY_UNKNOWN, Request
from reconciler.domain.times import iso
from reconciler.mlflow_app.options import Options


class Level(IntEnum):
    """MLflow's permissions on a model, in order."""

    NONE = 0
    READ = 1
    EDIT = 2
    MANAGE = 3


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is "" without authentication; then every caller may do everything."""

    name: str
    admin: bool = False

    @property
    def display_name(self) -> str:
        return self.name or SOMEBODY_UNKNOWN


class Identity:
    """Tells who calls and what the caller may do, under basic-auth or without authentication."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def caller(self) -> Caller:
        """The sender of the request being served; `Caller("")` if there is none, or none that Flask knows."""
        if not (self._options.basic_auth and has_request_context()):
            return Caller("")
        name: str = g.get("mlflow_authenticated_user") or ""
        if not name:
            return Caller("")
        auth = _auth_module()
        return Caller(name, bool(auth.store.get_user(name).is_admin))

    def level(self, caller: Caller, model: str, is_prompt: bool = False) -> Level:
        """What basic-auth permits this caller; it keeps grants on prompts apart from grants on models."""
        if not self._options.basic_auth or caller.admin:
            return Level.MANAGE
        auth = _auth_module()
        for level, action in ((Level.MANAGE, "manage"), (Level.EDIT, "update"), (Level.READ, "read")):
            if self._authorized(auth, caller, ("prompt" if is_prompt else "registered_model", model), action):
                return level
        return Level.NONE

    def _authorized(self, auth: Any, caller: Caller, container: tuple[str, str], action: str) -> bool:
        # As basic-auth authorizes acts on a version: by the model's grant, and by the versions' if there is one.
        versions = auth.Requirement(f"{container[0]}_version", "*", action, fallback_if_no_grant=(container,))
        return bool(auth.authorize(caller.name, container, [auth.Requirement(*container, action), versions]))

    def may_approve(self, caller: Caller, model: str, is_prompt: bool = False) -> bool:
        level = self.level(caller, model, is_prompt)
        if self._options.approvers:
            return caller.name in self._options.approvers and level >= Level.READ
        return level >= Level.MANAGE


def _auth_module() -> Any:
    # Importing it needs the extra mlflow[auth], which a server without authentication does not have.
    from mlflow.server import auth

    return auth


class Seal:
    """Proves that this server authenticated a requester. A tag alone proves nothing: any editor may have written it."""

    def __init__(self, secret: str | None) -> None:
        self._secret = secret

    def of(self, request: Request) -> str | None:
        """HMAC-SHA256 (hex) over place, target, id, requester and time; None without a secret."""
        if not self._secret or not request.requester.name:
            return None
        parts = [
            request.workspace, request.model, request.version, str(request.target), request.id,
            request.requester.name, iso(request.requested_at),
        ]  # fmt: skip
        message = b"mlflow-reconciler request v1\0" + json.dumps(parts).encode()
        return hmac.new(self._secret.encode(), message, hashlib.sha256).hexdigest()

    def holds(self, request: Request, seal: object) -> bool:
        expected = self.of(request)
        return expected is not None and isinstance(seal, str) and hmac.compare_digest(expected, seal)


def seal_in(value: str) -> object:
    """What a request tag gives as its seal; None if it gives none."""
    try:
        data = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return data.get("seal") if isinstance(data, dict) else None
