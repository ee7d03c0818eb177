"""Who calls, and what the caller may do: a login is an adapter to what companies put before MLflow.

A login is found by its name in the entry-point group `mlflow_reconciler.login`. What each must hold is the contract
suite `tests/mlflow_app/test_logins.py`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Final

from flask import Flask

from reconciler.domain.request import SOMEBODY_UNKNOWN
from reconciler.domain.text import quoted, visible
from reconciler.mlflow_app.names import folded, same_but_for_case
from reconciler.mlflow_app.options import PREFIX, Options, OptionsError, logins


class Level(IntEnum):
    """MLflow's permissions on a model, in order."""

    NONE = 0
    READ = 1
    EDIT = 2
    MANAGE = 3


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is "" where nobody is authenticated."""

    name: str
    admin: bool = False
    groups: frozenset[str] = frozenset()

    @property
    def display_name(self) -> str:
        return self.name or SOMEBODY_UNKNOWN


# Variables that only some logins use, and what to do about one that the configured login does not.
_USED_BY_SOME: Final = {
    "ADMINISTRATORS": "{login} has its own administrators: name them there, and leave this unset",
    "APPROVER_GROUPS": "{login} knows no groups: name users in TRANSITION_REQUESTS_APPROVERS",
    "GROUP_HEADER": "{login} reads no header: leave it unset, or use the login header",
    "PROXY_SECRET_FILE": "{login} asks no proxy for a secret: leave it unset, or use the login header",
}


class Login(ABC):
    """One way to know who calls. Made once in the command `mlflow server`, and once in each of its workers.

    Attributes:
        ignores_case: two spellings of a name that differ in case only are one user.
        takes_argument: TRANSITION_REQUESTS_AUTH has something behind a colon.
        variables: those of ADMINISTRATORS, APPROVER_GROUPS, GROUP_HEADER, PROXY_SECRET_FILE that it uses.
    """

    ignores_case: ClassVar[bool] = False
    takes_argument: ClassVar[bool] = False
    variables: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        """Raises OptionsError if the login cannot work as it is configured."""
        self.options = options
        if options.login_argument and not self.takes_argument:
            text = quoted(f"{options.login}:{options.login_argument}")
            raise OptionsError(f"{PREFIX}AUTH: {text}: use {options.login}, which takes nothing after a colon")
        for name, remedy in _USED_BY_SOME.items():
            if environ.get(PREFIX + name) and name not in self.variables:
                raise OptionsError(f"{PREFIX}{name}: {remedy.format(login=options.login)}")
        if not environ.get("MLFLOW_FLASK_SERVER_SECRET_KEY", "").strip():
            raise OptionsError(f"{options.login} needs MLFLOW_FLASK_SERVER_SECRET_KEY: set it to a secret of your own")

    def prepare(self, server: str) -> None:  # noqa: B027  most logins have nothing to prepare
        """Check, and set up once, what must be there before the first worker starts. Raises OptionsError.

        Args:
            server: "uvicorn", "gunicorn" or "waitress".
        """

    @abstractmethod
    def stack(self, app: Flask, routes: list[tuple[str, str]]) -> Any:
        """MLflow's application with this login before it: ASGI under uvicorn, else WSGI.

        Args:
            routes: path and method of each of our own routes, which authorize their calls themselves.
        """

    @abstractmethod
    def caller(self) -> Caller:
        """The sender of the call being served; `Caller("")` if there is none."""

    @abstractmethod
    def level(self, caller: Caller, model: str, is_prompt: bool) -> Level:
        """What somebody who is not an administrator may do with a model or prompt."""

    def named(self, name: str) -> Caller:
        """The user of this name, as far as the login knows users whose call is not being served."""
        return Caller(name)

    def is_same(self, name: str, other: str) -> bool:
        """Whether two names give the same rights. Beyond ASCII, letters that merely look equal stay apart."""
        return name == other or (self.ignores_case and same_but_for_case(name, other))

    def may_be_same(self, name: str, other: str) -> bool:
        """Whether two names may belong to one person, who must not approve their own request."""
        return self.is_same(name, other) or (self.ignores_case and folded(name) == folded(other))


def load_login(options: Options, environ: Mapping[str, str]) -> Login | None:
    """The configured login; None without one. Raises OptionsError."""
    if not options.login:
        return None
    try:
        [entry] = logins(options.login)
    except ValueError:
        raise OptionsError(
            f"{PREFIX}AUTH: several packages have a login {options.login}: uninstall all but one"
        ) from None
    with one_sentence(f"{options.login}: cannot be loaded"):
        made = entry.load()(options, environ)
    if not isinstance(made, Login):
        raise OptionsError(f"{options.login}: cannot be loaded: {entry.value} makes no Login")
    return made


@contextmanager
def one_sentence(what: str) -> Iterator[None]:
    """Turn whatever a login's package raises into OptionsError, so that the command ends without a traceback."""
    try:
        yield
    except OptionsError:
        raise
    except Exception as error:  # noqa: BLE001  a package of others, with a configuration of its own, may raise anything
        said = str(error).partition("\n[SQL:")[0]
        raise OptionsError(f"{what}: {type(error).__name__}: {visible(' '.join(said.split()), 300)}") from None


def is_asgi() -> bool:
    """Whether this worker serves an ASGI application: MLflow tells its workers which server they run in."""
    return os.environ.get("_MLFLOW_SGI_NAME", "uvicorn") == "uvicorn"


def static_path(path: str) -> str:
    """Where MLflow serves one of its own pages, under its `--static-prefix` if there is one."""
    from mlflow.server.handlers import STATIC_PREFIX_ENV_VAR

    return os.environ.get(STATIC_PREFIX_ENV_VAR, "").rstrip("/") + path


def without_login(app: Flask) -> Any:
    """MLflow's application as it is served without authentication of its own."""
    if not is_asgi():
        return app
    from mlflow.server.fastapi_app import create_fastapi_app

    return create_fastapi_app(app)
