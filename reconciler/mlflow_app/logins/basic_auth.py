"""MLflow's own users and passwords. The only module that uses basic-auth's internals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from flask import Flask, g, has_request_context
from mlflow.exceptions import MlflowException

from reconciler.domain.text import quoted
from reconciler.mlflow_app.login import Caller, Level, Login, one_sentence
from reconciler.mlflow_app.options import Options, OptionsError

_CONFIGURATION: Final = "MLFLOW_AUTH_CONFIG_PATH"
_NO_SUCH_USER: Final = "RESOURCE_DOES_NOT_EXIST"


class BasicAuth(Login):
    """Levels are MLflow's grants, apart for models and prompts; users have roles, but no groups."""

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        super().__init__(options, environ)
        with _told(f"its configuration ({environ.get(_CONFIGURATION) or _CONFIGURATION}) cannot be used"):
            try:
                from mlflow.server import auth
            except ImportError:
                raise OptionsError("basic-auth needs the extra: pip install 'mlflow-reconciler[auth]'") from None
        self._auth: Any = auth

    def prepare(self, server: str) -> None:
        configured = self._auth.auth_config
        with _told("its database (database_uri in its configuration) cannot be used"):
            self._auth.bootstrap_admin_user()
        # Both would be found out by the first call only.
        with _told(f"its default_permission {quoted(configured.default_permission)} is not a permission"):
            self._auth.get_permission(configured.default_permission)
        with _told(f"its authorization_function {quoted(configured.authorization_function)} cannot be loaded"):
            self._auth.get_auth_func(configured.authorization_function)

    def stack(self, app: Flask, routes: list[tuple[str, str]]) -> Any:
        # Under MLflow's fail-closed default, a route without a validator is refused.
        self._auth.BEFORE_REQUEST_VALIDATORS.update(dict.fromkeys(routes, lambda: True))
        return self._auth.create_app(app)

    def caller(self) -> Caller:
        return self.named(g.get("mlflow_authenticated_user") or "") if has_request_context() else Caller("")

    def named(self, name: str) -> Caller:
        """By the name as it is stored: MySQL lets `MIA` log in as `mia`, who is the same person."""
        if not name:
            return Caller("")
        try:
            user = self._auth.store.get_user(name)
        except MlflowException as error:
            if error.error_code != _NO_SUCH_USER:
                raise
            return Caller("")
        return Caller(user.username, bool(user.is_admin))

    def level(self, caller: Caller, model: str, is_prompt: bool) -> Level:
        container = ("prompt" if is_prompt else "registered_model", model)
        for level, action in ((Level.MANAGE, "manage"), (Level.EDIT, "update"), (Level.READ, "read")):
            if self._authorized(caller, container, action):
                return level
        return Level.NONE

    def _authorized(self, caller: Caller, container: tuple[str, str], action: str) -> bool:
        # As basic-auth authorizes acts on a version: by the model's grant, and by the versions' if there is one.
        requirement = self._auth.Requirement
        versions = requirement(f"{container[0]}_version", "*", action, fallback_if_no_grant=(container,))
        return bool(self._auth.authorize(caller.name, container, [requirement(*container, action), versions]))


@contextmanager
def _told(what: str) -> Iterator[None]:
    """MLflow's own sentence, where it has one; else ours, with what was raised."""
    with one_sentence(f"basic-auth: {what}"):
        try:
            yield
        except MlflowException as error:
            raise OptionsError(f"basic-auth: {' '.join(str(error.message).split())}") from None
