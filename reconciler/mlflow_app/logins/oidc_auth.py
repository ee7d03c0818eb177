"""`mlflow-oidc-auth`: single sign-on with its own users, groups and grants. The only module that uses its internals.

It serves a FastAPI application that it makes on import, around the same Flask application as ours.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from flask import Flask, has_request_context
from mlflow.exceptions import MlflowException

from reconciler.domain.text import quoted
from reconciler.mlflow_app.login import Caller, Level, Login, one_sentence
from reconciler.mlflow_app.options import Options, OptionsError

_PACKAGE: Final = "mlflow-oidc-auth"
_TESTED: Final = "11"


class OidcAuth(Login):
    """Levels are its grants, apart for models and prompts; it remembers a level for up to 30 s."""

    ignores_case = True
    variables = frozenset({"APPROVER_GROUPS"})

    def __init__(self, options: Options, environ: Mapping[str, str]) -> None:
        super().__init__(options, environ)
        try:
            found = version(_PACKAGE)
        except PackageNotFoundError:
            raise OptionsError(f"oidc-auth needs {_PACKAGE}: pip install 'mlflow-reconciler[oidc]'") from None
        if found.partition(".")[0] != _TESTED:
            raise OptionsError(
                f"oidc-auth is tested with {_PACKAGE} {_TESTED}, and {found} is installed: "
                "pip install 'mlflow-reconciler[oidc]'"
            )

    def prepare(self, server: str) -> None:
        if server != "uvicorn":
            raise OptionsError(f"oidc-auth runs under uvicorn only: leave --{server}-opts out")
        # Also what is wrong in its own variables; release 11.0.2 cannot be imported on Python 3.11.
        with one_sentence(f"oidc-auth: {_PACKAGE} cannot be imported"):
            importlib.import_module("mlflow_oidc_auth.hooks")
            settings = importlib.import_module("mlflow_oidc_auth.config")
            permissions = importlib.import_module("mlflow_oidc_auth.permissions")
        if not settings.config_manager.get("SECRET_KEY"):
            # It would make a key up in each worker, and a session of one would be none to the next.
            raise OptionsError("oidc-auth needs SECRET_KEY: set it to a secret of its own, for people's sessions")
        default = str(settings.config.DEFAULT_MLFLOW_PERMISSION)
        with one_sentence(f"oidc-auth: DEFAULT_MLFLOW_PERMISSION: {quoted(default)} is not one of its permissions"):
            permissions.get_permission(default)
        _create_tables()

    def stack(self, app: Flask, routes: list[tuple[str, str]]) -> Any:
        self.prepare(os.environ.get("_MLFLOW_SGI_NAME") or "uvicorn")
        from mlflow_oidc_auth.hooks.before_request import BEFORE_REQUEST_VALIDATORS

        # It refuses a route without a validator to all but administrators.
        BEFORE_REQUEST_VALIDATORS.update(dict.fromkeys(routes, lambda _user: True))
        from mlflow_oidc_auth.app import app as served

        return served

    def caller(self) -> Caller:
        """Of calls that reach Flask: its own routes, such as the trash, change nothing as anybody."""
        if not has_request_context():
            return Caller("")
        from flask import request
        from mlflow_oidc_auth.entities.auth_context import AUTH_CONTEXT_KEY

        known = request.environ.get(AUTH_CONTEXT_KEY)
        return self.named(known.username) if known is not None and known.username else Caller("")

    def level(self, caller: Caller, model: str, is_prompt: bool) -> Level:
        from mlflow_oidc_auth.utils.permissions import (
            effective_prompt_permission,
            effective_registered_model_permission,
        )

        effective = effective_prompt_permission if is_prompt else effective_registered_model_permission
        granted = effective(model, caller.name).permission
        if granted.can_manage:
            return Level.MANAGE
        if granted.can_update:
            return Level.EDIT
        return Level.READ if granted.can_read else Level.NONE

    def named(self, name: str) -> Caller:
        """By the name as it is stored, whatever spelling the login accepted."""
        from mlflow_oidc_auth.store import store

        try:
            user = store.get_user_profile(name)
        except MlflowException:
            return Caller("")
        return Caller(user.username, bool(user.is_admin), self._groups(user.username)) if user.active else Caller("")

    def _groups(self, name: str) -> frozenset[str]:
        if not self.options.approver_groups:
            return frozenset()
        from mlflow_oidc_auth.store import store

        return frozenset(store.get_groups_for_user(name))


def _create_tables() -> None:
    """Once, before there are workers: each of them would, and they would run into one another."""
    from mlflow_oidc_auth.store import store

    with one_sentence("oidc-auth: its database (OIDC_USERS_DB_URI) cannot be used"):
        store.has_user("")
