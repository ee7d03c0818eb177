"""What `mlflow server --app-name transition-requests` loads: nothing of MLflow's before its release is known.

`mlflow server` imports this module before it starts any worker, so what is wrong ends the command with one sentence. A
worker that failed would be restarted again and again.
"""

from __future__ import annotations

import os
from typing import Any

import click
from mlflow.version import VERSION

from reconciler.mlflow_app.versions import UntestedRelease, is_tested, require_tested


def __getattr__(name: str) -> Any:
    """`application`, created when a server's worker asks for it.

    The entry point names it instead of the factory: for waitress MLflow 3.17 writes a factory as `create_app()`, which
    waitress does not understand. The command `mlflow server` only checks whether it is a function.
    """
    if name != "application":
        raise AttributeError(name)
    if not os.environ.get("_MLFLOW_SGI_NAME"):
        return "made by the worker that serves it"
    from reconciler.mlflow_app.serving import create_app

    globals()[name] = create_app()
    return globals()[name]


def _prepare() -> None:
    """Raises ClickException, which `mlflow server` tells in one line; it would show the traceback of any other."""
    try:
        require_tested(os.environ)
    except UntestedRelease as error:
        raise click.ClickException(str(error)) from None
    try:
        from reconciler.mlflow_app import serving
    except ImportError as error:
        if is_tested():
            raise
        raise click.ClickException(f"transition requests: MLflow {VERSION} lacks what the app uses: {error}") from None
    if not os.environ.get("_MLFLOW_SGI_NAME"):
        serving.prepare()


_prepare()
