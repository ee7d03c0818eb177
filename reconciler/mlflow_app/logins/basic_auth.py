"""MLflow's own users and passwords. The only module that uses basic-auth's internals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask, g, has_request_context
from mlflow.exceptions import MlflowException

from reconciler.mlflow_app.login import Caller, Level, Login
from reconciler.mlflow_app.options import Options, OptionsError


class BasicAuth(Login):
    """Levels are MLflow's grants, apart for models and prompts; users have roles, but no groups."""

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        super().__init__(options, environ)
        try:
            from mlflow.server import auth
        except ImportError:
            raise OptionsError("basic-auth needs the extra: pip install 'mlflow-reconciler[auth]'") from None
        except MlflowException as error:
            raise OptionsError(f"basic-auth: {_sentence(error)}") from None
        self._auth: Any = auth

    def prepare(self, server: str) -> None:
        try:
            self._auth.bootstrap_admin_user()
        except MlflowException as error:
            raise OptionsError(f"basic-auth: {_sentence(error)}") from None

    def stack(self, app: Flask, routes: list[tuple[str, str]]) -> Any:
        # Under MLflow's fail-closed default, a route without a validator is refused.
        self._auth.BEFORE_REQUEST_VALIDATORS.update(dict.fromkeys(routes, lambda: True))
        return self._auth.create_app(app)

    def caller(self) -> Caller:
        """By the name as it is stored: MySQL lets `MIA` log in as `mia`, who is the same person."""
        name: str = (g.get("mlflow_authenticated_user") or "") if has_request_context() else ""
        if not name:
            return Caller("")
        user = self._auth.store.get_user(name)
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


def _sentence(error: MlflowException) -> str:
    return " ".join(str(error.message).split())
