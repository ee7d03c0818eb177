"""The libraries of the extra `report`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from reconciler.domain.errors import ExitCode, ReconcilerError

_NEEDED: Final = {"altair": "altair", "jinja2": "jinja2", "vl_convert": "vl-convert-python"}


class LibraryMissing(ReconcilerError):
    """What draws the pages is not installed."""

    exit_code = ExitCode.MISCONFIGURED


def require() -> None:
    """Raises: LibraryMissing."""
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise LibraryMissing(f"HTML needs {', '.join(missing)}: run `pip install 'mlflow-reconciler[report]'`")
