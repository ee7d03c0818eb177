"""The caller, what the caller may do with a model, and the proof that a requester was authenticated."""

from __future__ import annotations

import hashlib
import hmac
import json

from reconciler.domain.request import Request
from reconciler.domain.times import iso
from reconciler.mlflow_app.login import Caller, Level, Login
from reconciler.mlflow_app.options import Options


class Identity:
    """Tells who calls and what the caller may do. Without a login everybody is nobody, and may do everything."""

    def __init__(self, options: Options, login: Login | None = None) -> None:
        self._options = options
        self._login = login

    @property
    def is_known(self) -> bool:
        """Whether callers are authenticated at all."""
        return self._login is not None

    def caller(self) -> Caller:
        """The sender of the call being served; `Caller("")` if there is none, or none that the login knows."""
        if self._login is None:
            return Caller("")
        caller = self._login.caller()
        if not (isinstance(caller, Caller) and isinstance(caller.name, str)):
            raise TypeError(f"the login returned {type(caller).__name__} instead of a caller with a name")
        # Who has no name is nobody, whatever else the login says: an administrator's change must have an author.
        return caller if caller.name.strip() else Caller("")

    def level(self, caller: Caller, model: str, is_prompt: bool = False) -> Level:
        """What this caller may do with a model or prompt."""
        if self._login is None or (caller.admin and caller.name):
            return Level.MANAGE
        return self._login.level(caller, model, is_prompt) if caller.name else Level.NONE

    def may_approve(self, caller: Caller, model: str, is_prompt: bool = False) -> bool:
        level = self.level(caller, model, is_prompt)
        if self._login is None or not self._options.names_approvers:
            return level >= Level.MANAGE
        named = any(self._login.is_same(caller.name, approver) for approver in self._options.approvers)
        return level >= Level.READ and (named or bool(caller.groups & self._options.approver_groups))

    def user_may_approve(self, name: str, model: str) -> bool:
        """The same of a user who does not call, as far as the login knows such users."""
        return self.may_approve(Caller(name) if self._login is None else self._login.named(name), model)

    def is_own(self, requester: str, caller: Caller) -> bool:
        """Whether this caller has the rights of the requester; without a login, nobody is nobody else."""
        return requester == caller.name if self._login is None else self._login.is_same(requester, caller.name)

    def approves_own(self, requester: str, caller: Caller) -> bool:
        """Whether the caller would approve a request that may be their own."""
        return self._login is not None and bool(caller.name) and self._login.may_be_same(requester, caller.name)


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
        return hmac.new(self._secret.encode(errors="surrogateescape"), message, hashlib.sha256).hexdigest()

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
