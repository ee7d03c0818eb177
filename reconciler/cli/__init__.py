"""The command line: parse, call, print. `main` is the entry point."""

from __future__ import annotations

import sys

from reconciler.cli.common import common_first
from reconciler.cli.exits import guarded
from reconciler.cli.running import asks_for_run, run

__all__ = ["main"]


def main() -> None:
    """Runs one command and leaves with its exit code."""
    sys.exit(guarded(_run))


def _run() -> int:
    typed = common_first(sys.argv[1:])
    if asks_for_run(typed):
        return run()
    from reconciler.cli.app import run_typed

    return run_typed(typed)
