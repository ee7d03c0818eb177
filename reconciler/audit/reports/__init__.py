"""The reports, a module each. A new one is a file here with a `REPORT`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from reconciler.audit.reporting import Report


def reports() -> Mapping[str, Report]:
    """All of them, by name."""
    found = [import_module(f"{__name__}.{module.name}").REPORT for module in iter_modules(__path__)]
    return {report.name: report for report in found}
