"""The verifier that an auditor gets, as a module: it is no part of the package, and shares no line with it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

TOOL = Path(__file__).parents[1] / "tools" / "verify_audit.py"


def _loaded() -> Any:
    spec = importlib.util.spec_from_file_location("verify_audit", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VERIFIER = _loaded()
Differs: type[Exception] = VERIFIER.Differs
