"""The operator's settings: TRANSITION_REQUESTS_* variables, read once when the server starts."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from reconciler.domain.errors import ExitCode, ReconcilerError
from reconciler.domain.target import Target
from reconciler.domain.text import quoted

PREFIX = "TRANSITION_REQUESTS_"
KNOWN = ("TARGETS", "AUTH", "APPROVERS", "SELF_APPROVAL", "WALL", "PUBLIC_URL", "ACCEPT_MLFLOW")


class OptionsError(ReconcilerError):
    """A variable is wrong; the message names it and says what is allowed."""

    exit_code = ExitCode.MISCONFIGURED


@dataclass(frozen=True, slots=True)
class Options:
    """`targets` are protected. If `approvers` is empty, every user with MANAGE on the model may approve.

    `observe`: the walls only log what they would refuse. `public_origin`: scheme, host and port by which browsers
    reach the server, where that is not what the server sees itself; "" otherwise.
    """

    targets: frozenset[Target]
    basic_auth: bool = False
    approvers: frozenset[str] = frozenset()
    self_approval: bool = False
    observe: bool = False
    public_origin: str = ""

    def protects(self, target: Target) -> bool:
        return target in self.targets


def read_options(environ: Mapping[str, str]) -> Options:
    """Raises OptionsError."""
    _refuse_unknown(environ)
    basic_auth = _auth(environ.get(f"{PREFIX}AUTH", ""))
    approvers = frozenset(_words(environ.get(f"{PREFIX}APPROVERS", "")))
    if approvers and not basic_auth:
        raise OptionsError(f"{PREFIX}APPROVERS requires authentication: set {PREFIX}AUTH=basic-auth too")
    if basic_auth and not environ.get("MLFLOW_FLASK_SERVER_SECRET_KEY"):
        raise OptionsError("basic-auth needs MLFLOW_FLASK_SERVER_SECRET_KEY: set it to a secret of your own")
    return Options(
        _targets(environ.get(f"{PREFIX}TARGETS", "Production")),
        basic_auth,
        approvers,
        _choice(environ, "SELF_APPROVAL", "deny", "allow") == "allow",
        _choice(environ, "WALL", "enforce", "observe") == "observe",
        _public_origin(environ.get(f"{PREFIX}PUBLIC_URL", "")),
    )


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = [PREFIX + name for name in KNOWN]
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise OptionsError(f"{name}: unknown option" + (f": did you mean {near[0]}?" if near else ""))


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _targets(text: str) -> frozenset[Target]:
    try:
        return frozenset(Target.parse(word) for word in _words(text))
    except ValueError as error:
        raise OptionsError(f"{PREFIX}TARGETS: {error}") from None


def _auth(text: str) -> bool:
    if text not in {"", "basic-auth"}:
        raise OptionsError(f"{PREFIX}AUTH: unknown value {quoted(text)}: use basic-auth, or leave it unset")
    return text == "basic-auth"


def _choice(environ: Mapping[str, str], name: str, default: str, other: str) -> str:
    text = environ.get(PREFIX + name) or default
    if text not in {default, other}:
        raise OptionsError(f"{PREFIX}{name}: unknown value {quoted(text)}: use {other} or {default}")
    return text


def _public_origin(text: str) -> str:
    if not text:
        return ""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise OptionsError(
            f"{PREFIX}PUBLIC_URL: {quoted(text)} is not a URL: use one such as https://mlflow.example.com"
        )
    return f"{parts.scheme}://{parts.netloc}".lower()
