"""The product's command, run in a process of its own that has imported everything already (forker.py).

Where the script itself matters (the interpreter's start, a terminal, signals), tests run `COMMAND`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests import forker

COMMAND = Path(sys.executable).with_name("mlflow-reconciler")


def run(*arguments: str, environment: Mapping[str, str], timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run([COMMAND, *arguments], …, capture_output=True, text=True)`."""
    done = forker.run(forker.PRODUCT, "reconciler.cli:main", *arguments, environment=environment, timeout=timeout)
    done.args = [COMMAND, *arguments]
    return done


def start(*arguments: str, environment: Mapping[str, str], log: Path) -> forker.Forked:
    """As `subprocess.Popen([COMMAND, *arguments], …)`, with all that it writes at the end of `log`."""
    return forker.start(forker.PRODUCT, "reconciler.cli:main", *arguments, environment=environment, out=log)
