"""What `mlflow server --app-name transition-requests` serves."""

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
from reconciler.mlflow_app.options import PREFIX, Options, OptionsError, read_options
from reconciler.mlflow_app.origins import Origins
from reconciler.mlflow_app.refusals import Refusals
from reconciler.mlflow_app.routes import Routes
from reconciler.mlflow_app.store import active_workspace, registry_store, tracking_engine
from reconciler.mlflow_app.versions import require_tested
from reconciler.mlflow_app.wall import Wall

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def _options() -> Options:
    """Raises ClickException, which `mlflow server` tells in one line; it would show the traceback of any other."""
    try:
        require_tested(os.environ)
        return read_options(os.environ)
    except MlflowException as error:
        raise click.ClickException(error.message) from None
    except OptionsError as error:
        raise click.ClickException(str(error)) from None


# Read on import: `mlflow server` imports this module before it starts any worker, so a mistake is reported once and
# ends the command. A worker that failed would be restarted again and again.
_OPTIONS = _options()


def create_app(app: Flask = mlflow_flask_app) -> Any:
    """MLflow's application with transition requests and protected targets, on basic-auth if that is configured.

    Returns:
        An ASGI application under uvicorn (MLflow's default), else the WSGI application for gunicorn and waitress.

    Raises:
        MlflowException: the registry is not in a database.
    """
    _require_database()
    identity = Identity(_OPTIONS)
    refusals = Refusals(_OPTIONS.observe)
    guard = Guard(_OPTIONS.targets, identity, refusals, active_workspace)
    seal = Seal(os.environ.get("MLFLOW_FLASK_SERVER_SECRET_KEY") if _OPTIONS.basic_auth else None)
    routes = Routes(_OPTIONS, identity, seal, guard).add_to(app)
    served = _on_basic_auth(app, routes) if _OPTIONS.basic_auth else _served(app)
    app.register_error_handler(Answered, _answer)
    guard.install(app)
    build_walls(_OPTIONS, identity, refusals)
    _announce_once()
    return served


def build_walls(options: Options, identity: Identity, refusals: Refusals) -> None:
    """Install the walls: after the stores have created their tables, and before anything is served."""
    registry, tracking = registry_store().engine, tracking_engine()
    creating.create(registry)
    origins = Origins(options.targets, _places(), registry, tracking)
    origins.catch_up()
    Wall(options.targets, identity, refusals, origins).install()
    ArtifactWall(identity, refusals, origins).install()


def __getattr__(name: str) -> Any:
    """`application`, created when a server's worker asks for it.

    The entry point names it instead of the factory: for waitress MLflow 3.17 writes a factory as `create_app()`, which
    waitress does not understand. The command `mlflow server` only checks whether it is a function.
    """
    if name != "application":
        raise AttributeError(name)
    if not os.environ.get("_MLFLOW_SGI_NAME"):
        return "made by the worker that serves it"
    globals()[name] = create_app()
    return globals()[name]


def _places() -> Places:
    from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES
    from mlflow.server import ARTIFACTS_DESTINATION_ENV_VAR

    default = DEFAULT_WORKSPACE_NAME if MLFLOW_ENABLE_WORKSPACES.get() else None
    return Places(os.environ.get(ARTIFACTS_DESTINATION_ENV_VAR), default)


def _answer(error: Answered) -> Response:
    """The response of the few MLflow routes that do not handle its exceptions themselves."""
    return Response(error.serialize_as_json(), error.get_http_status_code(), mimetype="application/json")


def _on_basic_auth(app: Flask, routes: list[tuple[str, str]]) -> Any:
    from mlflow.server import auth

    # Under MLflow's fail-closed default, a route without a validator is refused. Our routes authorize their own calls.
    auth.BEFORE_REQUEST_VALIDATORS.update(dict.fromkeys(routes, lambda: True))
    return auth.create_app(app)


def _served(app: Flask) -> Any:
    if os.environ.get("_MLFLOW_SGI_NAME", "uvicorn") != "uvicorn":
        return app
    from mlflow.server.fastapi_app import create_fastapi_app

    return create_fastapi_app(app)


def _require_database() -> None:
    uri = os.environ.get("_MLFLOW_SERVER_REGISTRY_STORE") or os.environ.get("_MLFLOW_SERVER_FILE_STORE") or ""
    if uri and not uri.startswith(_DATABASES):
        raise MlflowException("transition requests need a model registry in a database", INVALID_PARAMETER_VALUE)


def _announce_once() -> None:
    """Print what the operator should know, from one worker of the server only."""
    targets = ", ".join(sorted(str(target) for target in _OPTIONS.targets)) or "nothing"
    line = f"transition requests: {targets} protected"
    if _OPTIONS.observe:
        line = f"transition requests: {targets} NOT protected, refusals are only logged ({PREFIX}WALL=observe)"
    if not _OPTIONS.basic_auth:
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
