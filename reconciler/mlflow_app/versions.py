"""The MLflow releases that the app was tested on. It relies on private names of MLflow, which may change.

Imports nothing that an old release lacks: this is what tells its user that it is too old.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mlflow.version import VERSION

TESTED: Final = ("3.17",)
VARIABLE: Final = "TRANSITION_REQUESTS_ACCEPT_MLFLOW"


class UntestedRelease(Exception):
    """The message says which releases the app needs, and how to accept another."""


def require_tested(environ: Mapping[str, str], version: str = VERSION) -> None:
    """Raises UntestedRelease, unless the operator accepts exactly this version."""
    if is_tested(version) or environ.get(VARIABLE) == version:
        return
    needed = " or ".join(TESTED)
    if _number(version) < min(_number(tested) for tested in TESTED):
        what = f"needs MLflow {needed}, and {version} is installed: back up MLflow's database, and upgrade"
    else:
        what = f"not tested with MLflow {version}, only with {needed}: install a tested release"
    raise UntestedRelease(
        f"transition requests: {what}; or set {VARIABLE}={version} once you have tested the walls on it"
    )


def is_tested(version: str = VERSION) -> bool:
    return _minor(version) in TESTED


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in _minor(version).split(".") if part.isdigit())
