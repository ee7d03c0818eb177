"""The operator's settings: TRANSITION_REQUESTS_* variables, read once when the server starts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoints, entry_points
from typing import Final

from mlflow.prompt.constants import IS_PROMPT_TAG_KEY

from reconciler.domain.errors import ExitCode, ReconcilerError
from reconciler.domain.target import Target
from reconciler.domain.text import quoted
from reconciler.mlflow_app.changes import folded, is_our_tag

PREFIX = "TRANSITION_REQUESTS_"
KNOWN = (
    "TARGETS", "AUTH", "APPROVERS", "APPROVER_GROUPS", "ADMINISTRATORS", "GROUP_HEADER", "PROXY_SECRET_FILE",
    "SELF_APPROVAL", "WALL", "PUBLIC_URL", "ACCEPT_MLFLOW", "PROTECTED_TAGS",
)  # fmt: skip
# What makes sense only where callers are known.
_NEEDS_LOGIN = (
    "APPROVERS", "APPROVER_GROUPS", "ADMINISTRATORS", "GROUP_HEADER", "PROXY_SECRET_FILE", "PROTECTED_TAGS",
)  # fmt: skip
# What MLflow takes as the key of a tag.
_TAG: Final = re.compile(r"[/\w.\- :]{1,250}")

# An origin as browsers send it, with a path that does not count.
_URL: Final = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+])(?::([0-9]{1,5}))?(?:[/?#]\S*)?", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class OptionsError(ReconcilerError):
    """A variable is wrong; the message names it and says what is allowed."""

    exit_code = ExitCode.MISCONFIGURED


@dataclass(frozen=True, slots=True)
class Options:
    """What the variables say.

    Attributes:
        targets: what is protected.
        login: what authenticates callers, "" if nothing does; `login_argument`: what follows its colon.
        approvers, approver_groups: who may approve. Where both are empty, that is who has MANAGE on the model.
        administrators: where the login has none of its own.
        group_header: in which header a proxy lists the groups of a caller; "" if in none.
        observe: the walls only log what they would refuse.
        protected_tags: keys of tags of models and versions that only approvers and administrators change.
        public_origin: scheme, host and port by which browsers reach the server, if it cannot see that; else "".
    """

    targets: frozenset[Target]
    login: str = ""
    login_argument: str = ""
    approvers: frozenset[str] = frozenset()
    approver_groups: frozenset[str] = frozenset()
    administrators: frozenset[str] = frozenset()
    group_header: str = ""
    self_approval: bool = False
    observe: bool = False
    protected_tags: frozenset[str] = frozenset()
    public_origin: str = ""

    @property
    def names_approvers(self) -> bool:
        """Whether MANAGE on a model is not enough to decide."""
        return bool(self.approvers or self.approver_groups)


def read_options(environ: Mapping[str, str]) -> Options:
    """Raises OptionsError."""
    _refuse_unknown(environ)
    login, argument = _login(environ)
    lists = {name: frozenset(_words(name, environ.get(PREFIX + name, ""))) for name in _NEEDS_LOGIN}
    return Options(
        targets=_targets(environ.get(f"{PREFIX}TARGETS") or "Production"),
        login=login,
        login_argument=argument,
        approvers=lists["APPROVERS"],
        approver_groups=lists["APPROVER_GROUPS"],
        administrators=lists["ADMINISTRATORS"],
        group_header=environ.get(f"{PREFIX}GROUP_HEADER", ""),
        self_approval=_choice(environ, "SELF_APPROVAL", "deny", "allow") == "allow",
        observe=_choice(environ, "WALL", "enforce", "observe") == "observe",
        protected_tags=frozenset(map(_tag, sorted(lists["PROTECTED_TAGS"]))),
        public_origin=_public_origin(environ.get(f"{PREFIX}PUBLIC_URL", "")),
    )


def logins(name: str | None = None) -> EntryPoints:
    """The logins that are installed, or those of this name."""
    found = entry_points(group="mlflow_reconciler.login")
    return found if name is None else found.select(name=name)


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = [PREFIX + name for name in KNOWN]
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise OptionsError(f"{name}: unknown option" + (f": did you mean {near[0]}?" if near else ""))


def _words(variable: str, text: str) -> list[str]:
    """What stands between commas. A list that is given and names nothing was meant to name something."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if text and not words:
        raise OptionsError(f"{PREFIX}{variable}: {quoted(text)} names nothing: leave it unset, or name something")
    return words


def _targets(text: str) -> frozenset[Target]:
    try:
        return frozenset(Target.parse(word) for word in _words("TARGETS", text))
    except ValueError as error:
        raise OptionsError(f"{PREFIX}TARGETS: {error}") from None


def _tag(key: str) -> str:
    if not _TAG.fullmatch(key):
        allowed = "name each key in full, with letters, digits, blanks and /_.-: in it, 250 characters at most"
        raise OptionsError(f"{PREFIX}PROTECTED_TAGS: {quoted(key)} is not a tag key: {allowed}")
    if is_our_tag(key) or folded(key) == IS_PROMPT_TAG_KEY:
        raise OptionsError(f"{PREFIX}PROTECTED_TAGS: {quoted(key)} is protected already: leave it out")
    return key


def _login(environ: Mapping[str, str]) -> tuple[str, str]:
    """The name of the configured login, and what follows its colon; neither without one."""
    text = environ.get(f"{PREFIX}AUTH", "")
    name, _, argument = text.partition(":")
    known = sorted(logins().names)
    if text and name not in known:
        raise OptionsError(f"{PREFIX}AUTH: unknown value {quoted(text)}: use {' or '.join(known)}, or leave it unset")
    for other in _NEEDS_LOGIN:
        if environ.get(PREFIX + other) and not text:
            raise OptionsError(f"{PREFIX}{other} requires authentication: set {PREFIX}AUTH=basic-auth too")
    return name, argument


def _choice(environ: Mapping[str, str], name: str, default: str, other: str) -> str:
    text = environ.get(PREFIX + name) or default
    if text not in {default, other}:
        raise OptionsError(f"{PREFIX}{name}: unknown value {quoted(text)}: use {other} or {default}")
    return text


def _public_origin(text: str) -> str:
    if not text:
        return ""
    matched = _URL.fullmatch(text)
    if matched is None or int(matched[3] or 0) > 65535:
        raise OptionsError(
            f"{PREFIX}PUBLIC_URL: {quoted(text)} is not a URL: use one such as https://mlflow.example.com"
        )
    scheme, host = matched[1].lower(), matched[2].lower()
    # Browsers leave the default port out.
    port = "" if int(matched[3] or 0) in {0, _DEFAULT_PORTS[scheme]} else f":{int(matched[3])}"
    return f"{scheme}://{host}{port}"
