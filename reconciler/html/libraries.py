"""The libraries of the extra `report`."""

from __future__ import annotations

import mmap
from importlib import import_module
from importlib.util import find_spec
from typing import Final

from reconciler.domain.errors import ExitCode, ReconcilerError
from reconciler.domain.text import visible

# Each with something that we use of it: of a library that was removed in part an empty folder may be left. Altair
# loads jinja2, so that comes first.
_NEEDED: Final = {
    "jinja2": ("jinja2", "Environment"),
    "altair": ("altair", "Chart"),
    "vl_convert": ("vl-convert-python", "vegalite_to_svg"),
}


class LibraryMissing(ReconcilerError):
    """What draws the pages is not installed, or cannot be loaded."""

    exit_code = ExitCode.MISCONFIGURED


class CannotDraw(ReconcilerError):
    """This process may not do what drawing needs."""

    exit_code = ExitCode.MISCONFIGURED


def require() -> None:
    """Raises: LibraryMissing, CannotDraw."""
    missing = [package for module, (package, _) in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise LibraryMissing(f"HTML needs {', '.join(missing)}: run `pip install 'mlflow-reconciler[report]'`")
    for module, (package, used) in _NEEDED.items():
        _load(module, package, used)
    if not _may_execute_what_it_wrote():
        unit = "MemoryDenyWriteExecute=no in a drop-in of its unit"
        raise CannotDraw(
            f"HTML needs memory that is written and then executed, which this process is denied: set {unit}"
        )


def _load(module: str, package: str, used: str) -> None:
    """A library may be there in part, or made for another system: a shared library that it needs is none."""
    try:
        getattr(import_module(module), used)
    except Exception as error:  # noqa: BLE001  whatever a broken library raises when it is loaded
        why = visible(f"{type(error).__name__}: {error}", 200)
        remedy = f"run `pip install --force-reinstall {package}`"
        raise LibraryMissing(f"{package} cannot be loaded ({why}): {remedy}") from None


def _may_execute_what_it_wrote() -> bool:
    """V8, which draws the charts, would end the process without a word where it may not."""
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except OSError:
        return False
    return True
