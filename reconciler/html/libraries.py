"""The libraries of the extra `report`."""

from __future__ import annotations

import mmap
from importlib.util import find_spec
from typing import Final

from reconciler.domain.errors import ExitCode, ReconcilerError

_NEEDED: Final = {"altair": "altair", "jinja2": "jinja2", "vl_convert": "vl-convert-python"}


class LibraryMissing(ReconcilerError):
    """What draws the pages is not installed."""

    exit_code = ExitCode.MISCONFIGURED


class CannotDraw(ReconcilerError):
    """This process may not do what drawing needs."""

    exit_code = ExitCode.MISCONFIGURED


def require() -> None:
    """Raises: LibraryMissing, CannotDraw."""
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise LibraryMissing(f"HTML needs {', '.join(missing)}: run `pip install 'mlflow-reconciler[report]'`")
    if not _may_execute_what_it_wrote():
        unit = "MemoryDenyWriteExecute=no in a drop-in of its unit"
        raise CannotDraw(
            f"HTML needs memory that is written and then executed, which this process is denied: set {unit}"
        )


def _may_execute_what_it_wrote() -> bool:
    """V8, which draws the charts, would end the process without a word where it may not."""
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except OSError:
        return False
    return True
