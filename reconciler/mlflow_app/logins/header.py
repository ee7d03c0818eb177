"""A proxy before the server logs people in and names them in a header, such as X-Forwarded-Email."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from flask import Flask

from reconciler.domain.text import quoted, visible
from reconciler.mlflow_app.login import Caller, Level, Login, is_asgi, static_path, without_login
from reconciler.mlflow_app.logins.door import (
    PROOF,
    AsgiDoor,
    Keys,
    WsgiDoor,
    caller_within,
    digest,
)
from reconciler.mlflow_app.names import is_name
from reconciler.mlflow_app.options import PREFIX, Options, OptionsError

_FILE: Final = f"{PREFIX}PROXY_SECRET_FILE"
_SHORTEST: Final = 32
_LARGEST_FILE: Final = 4096
# A header may consist of more, but what is not a letter, a digit or a hyphen is rewritten or dropped on the way.
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")
# Written by clients, and read by servers and by MLflow for other purposes.
_TAKEN: Final = re.compile(
    r"accept.*|authorization|cache-control|connection|content-.*|cookie|date|expect|forwarded|host|if-.*|keep-alive"
    r"|origin|pragma|proxy-.*|range|referer|sec-.*|te|trailer|transfer-encoding|upgrade|user-agent|via"
    r"|x-forwarded-(for|host|port|prefix|proto)|x-mlflow-.*|x-real-ip",
    re.IGNORECASE,
)


class Header(Login):
    """There are no levels per model: who was let in may ask, and do what MLflow itself does not protect."""

    ignores_case = True
    takes_argument = True
    variables = frozenset({"ADMINISTRATORS", "APPROVER_GROUPS", "GROUP_HEADER", "PROXY_SECRET_FILE"})

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        super().__init__(options, environ)
        user = _header(options.login_argument, f"{PREFIX}AUTH", "header:X-Forwarded-Email")
        groups = ""
        if options.group_header:
            groups = _header(options.group_header, f"{PREFIX}GROUP_HEADER", "X-Forwarded-Groups")
        if groups.lower() == user.lower():
            raise OptionsError(f"{PREFIX}GROUP_HEADER: must not be the header that names the user")
        _require_deciders(options)
        self._keys = Keys(user, groups, digest(_secret(environ.get(_FILE, ""))))

    def prepare(self, server: str) -> None:
        if self._keys.groups and server != "uvicorn":
            raise OptionsError(
                f"{PREFIX}GROUP_HEADER needs uvicorn: {server} joins a header that was sent twice, so that a caller "
                "could add groups"
            )

    def stack(self, app: Flask, routes: list[tuple[str, str]]) -> Any:
        self.prepare(os.environ.get("_MLFLOW_SGI_NAME") or "uvicorn")
        kind = AsgiDoor if is_asgi() else WsgiDoor
        return kind(self._admit, self._keys.watched, frozenset({static_path("/health")}), without_login(app))

    def caller(self) -> Caller:
        return caller_within()

    def level(self, caller: Caller, model: str, is_prompt: bool) -> Level:
        return Level.EDIT

    def named(self, name: str) -> Caller:
        return Caller(name, any(self.is_same(name, admin) for admin in self.options.administrators))

    def _admit(self, headers: Any) -> Caller:
        caller = self._keys.admit(headers)
        return replace(self.named(caller.name), groups=caller.groups)


def _header(name: str, variable: str, example: str) -> str:
    if not name:
        raise OptionsError(f"{variable}: names no header: use one such as {example}")
    if not _HEADER.fullmatch(name):
        raise OptionsError(f"{variable}: {quoted(name)} may have letters, digits and hyphens, as {example}")
    if _TAKEN.fullmatch(name) or name.lower() == PROOF.lower():
        raise OptionsError(f"{variable}: {name} has another meaning: use a header of its own, such as {example}")
    return name


def _require_deciders(options: Options) -> None:
    for variable, names in (("ADMINISTRATORS", options.administrators), ("APPROVERS", options.approvers)):
        for name in sorted(names):
            if not is_name(name):
                raise OptionsError(f"{PREFIX}{variable}: {quoted(name)} is not a name that a proxy can send")
    if options.approver_groups and not options.group_header:
        raise OptionsError(f"{PREFIX}APPROVER_GROUPS needs {PREFIX}GROUP_HEADER: the header that lists groups")
    if not (options.approvers or options.approver_groups or options.administrators):
        raise OptionsError(
            f"nobody could approve: name somebody in {PREFIX}APPROVERS, {PREFIX}APPROVER_GROUPS or "
            f"{PREFIX}ADMINISTRATORS"
        )


def _secret(name: str) -> bytes:
    """The secret in the file of this name. No message quotes it."""
    if not name:
        raise OptionsError(f"header needs {_FILE}: a file with the secret that the proxy sends in {PROOF}")
    place = f"{_FILE}: {visible(name)}"
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise OptionsError(f"{place}: {getattr(error, 'strerror', None) or 'is not a path'}") from None
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OptionsError(f"{place}: not a file")
        if mode & stat.S_IRWXO:
            raise OptionsError(f"{place}: other users of this machine may read or change it: run chmod o= on it")
        secret = os.read(descriptor, _LARGEST_FILE + 1).strip()
    finally:
        os.close(descriptor)
    if not (_SHORTEST <= len(secret) <= _LARGEST_FILE and all(0x21 <= byte <= 0x7E for byte in secret)):
        raise OptionsError(
            f"{place}: must hold one secret of at least {_SHORTEST} printable characters without blanks, such as "
            "`openssl rand -hex 32` writes"
        )
    return secret
