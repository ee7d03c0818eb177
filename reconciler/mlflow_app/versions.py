"""The MLflow releases that the app was tested on. It relies on private names of MLflow, which may change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_STATE
from mlflow.version import VERSION

TESTED: Final = ("3.17",)
VARIABLE: Final = "TRANSITION_REQUESTS_ACCEPT_MLFLOW"


def require_tested(environ: Mapping[str, str], version: str = VERSION) -> None:
    """Raises MlflowException on an untested release, unless the operator accepts exactly this version."""
    if ".".join(version.split(".")[:2]) in TESTED or environ.get(VARIABLE) == version:
        return
    raise MlflowException(
        f"transition requests: not tested with MLflow {version}, only with {', '.join(TESTED)}: "
        f"install a tested release, or set {VARIABLE}={version} once you have tested the walls on it",
        INVALID_STATE,
    )
