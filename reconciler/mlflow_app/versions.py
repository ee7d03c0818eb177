"""The MLflow releases that the app was tested on. It leans on names that MLflow keeps to itself and may rename."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_STATE
from mlflow.version import VERSION

TESTED: Final = ("3.17",)
VARIABLE: Final = "TRANSITION_REQUESTS_ACCEPT_MLFLOW"


def require_tested(environ: Mapping[str, str], version: str = VERSION) -> None:
    """Raises MlflowException on a release that was not tested, unless the operator accepts this very one."""
    if ".".join(version.split(".")[:2]) in TESTED or environ.get(VARIABLE) == version:
        return
    raise MlflowException(
        f"transition requests: tested with MLflow {', '.join(TESTED)}, and this is {version}: "
        f"install a tested release, or set {VARIABLE}={version} once you have tried the walls on it",
        INVALID_STATE,
    )
