"""What the workers of `mlflow server --app-name transition-requests` serve."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import click
from flask import Flask, Response
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.server import app as mlflow_flask_app
from mlflow.utils.logging_utils import eprint
from mlflow.utils.workspace_utils import DEFAULT_WORKSPACE_NAME

from reconciler.mlflow_app import creating
from reconciler.mlflow_app.artifact_wall import ArtifactWall
from reconciler.mlflow_app.errors import Answered
from reconciler.mlflow_app.guard import Guard
from reconciler.mlflow_app.identity import Identity, Seal
from reconciler.mlflow_app.locations import Places
from reconciler.mlflow_app.login import Login, is_asgi, load_login, one_sentence, without_login
from reconciler.mlflow_app.options import PREFIX, Options, OptionsError, read_options
from reconciler.mlflow_app.origins import Origins
from reconciler.mlflow_app.protected_tags import ProtectedTags
from reconciler.mlflow_app.refusals import Refusals
from reconciler.mlflow_app.routes import Routes
from reconciler.mlflow_app.store import active_workspace, registry_store, tracking_engine
from reconciler.mlflow_app.wall import Wall
from reconciler.mlflow_app.well_known import answering_clients

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def _configured() -> tuple[Options, Login | None]:
    """Raises ClickException, which `mlflow server` tells in one line."""
    try:
        options = read_options(os.environ)
        return options, load_login(options, os.environ)
    except OptionsError as error:
        raise click.ClickException(str(error)) from None


# Read on import: in the command `mlflow server`, and again in each of its workers.
_OPTIONS, _LOGIN = _configured()


def prepare() -> None:
    """Check what would end each worker, before the command starts one. Raises ClickException."""
    context = click.get_current_context(silent=True)
    given = context.params if context is not None else {}
    servers = [name for name in ("gunicorn", "waitress") if given.get(f"{name}_opts") is not None]
    try:
        _require_database(given.get("registry_store_uri") or given.get("backend_store_uri") or "")
        if _LOGIN is not None:
            with one_sentence(f"{_OPTIONS.login}: cannot be prepared"):
                _LOGIN.prepare(servers[0] if servers else "uvicorn")
    except OptionsError as error:
        raise click.ClickException(str(error)) from None
    except MlflowException as error:
        raise click.ClickException(str(error.message)) from None


def create_app(app: Flask = mlflow_flask_app) -> Any:
    """MLflow's application with transition requests and protected targets, behind the login that is configured.

    Returns:
        An ASGI application under uvicorn (MLflow's default), else the WSGI application for gunicorn and waitress.

    Raises:
        MlflowException: the registry is not in a database.
    """
    stores = [os.environ.get(f"_MLFLOW_SERVER_{name}_STORE") for name in ("REGISTRY", "FILE")]
    _require_database(stores[0] or stores[1] or "")
    identity = Identity(_OPTIONS, _LOGIN)
    refusals = Refusals(_OPTIONS.observe)
    guard = Guard(_OPTIONS.targets, identity, refusals, active_workspace)
    seal = Seal(os.environ.get("MLFLOW_FLASK_SERVER_SECRET_KEY") if _LOGIN is not None else None)
    routes = Routes(_OPTIONS, identity, seal, guard).add_to(app)
    served = without_login(app) if _LOGIN is None else _LOGIN.stack(app, routes)
    app.register_error_handler(Answered, _answer)
    guard.install(app)
    build_walls(_OPTIONS, identity, refusals)
    _announce_once()
    return answering_clients(served, is_asgi())


def build_walls(options: Options, identity: Identity, refusals: Refusals) -> None:
    """Install the walls: after the stores have created their tables, and before anything is served."""
    registry, tracking = registry_store().engine, tracking_engine()
    creating.create(registry)
    origins = Origins(options.targets, _places(), registry, tracking)
    origins.catch_up()
    tags = ProtectedTags(options.protected_tags)
    Wall(options.targets, tags, identity, active_workspace, refusals, origins).install()
    ArtifactWall(identity, refusals, origins).install()


def _places() -> Places:
    from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
    from mlflow.server import ARTIFACTS_DESTINATION_ENV_VAR

    default = DEFAULT_WORKSPACE_NAME if MLFLOW_ENABLE_WORKSPACES.get() else None
    return Places(os.environ.get(ARTIFACTS_DESTINATION_ENV_VAR), default)


def _answer(error: Answered) -> Response:
    """The response of the few MLflow routes that do not handle its exceptions themselves."""
    return Response(error.serialize_as_json(), error.get_http_status_code(), mimetype="application/json")


def _require_database(uri: str) -> None:
    if uri and not uri.startswith(_DATABASES):
        raise MlflowException(
            "transition requests need a model registry in a database: see --backend-store-uri", INVALID_PARAMETER_VALUE
        )


def _announce_once() -> None:
    """Print what the operator should know, from one worker of the server only."""
    what = ", ".join(sorted(str(target) for target in _OPTIONS.targets)) or "nothing"
    if _OPTIONS.protected_tags:
        what += f" and the tags {', '.join(sorted(_OPTIONS.protected_tags))}"
    line = f"transition requests: {what} protected"
    if _OPTIONS.observe:
        line = f"transition requests: {what} NOT protected, refusals are only logged ({PREFIX}WALL=observe)"
    if _LOGIN is None:
        line += f"; no authentication: anyone can approve (set {PREFIX}AUTH=basic-auth)"
    if _first_of_this_server():
        eprint(line)


def _first_of_this_server() -> bool:
    server = os.environ.get("_MLFLOW_SERVER_BOOT_ID")
    if not server:
        return True
    mark = Path(tempfile.gettempdir()) / f"mlflow-transition-requests-{server}"
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    except OSError:
        return True
    return True
