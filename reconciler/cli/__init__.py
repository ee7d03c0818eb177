"""The command line: parse, call, print. `main` is the entry point."""

from __future__ import annotations

import gc
import os
import sys

from reconciler.cli.common import common_first
from reconciler.cli.exits import USAGE, guarded, say
from reconciler.cli.running import asks_for_run, run
from reconciler.cli.shell_words import join_what_bash_broke
from reconciler.cli.shown.streams import arguments, usable_streams
from reconciler.domain.text import visible

__all__ = ["main"]


def main() -> None:
    """Runs one command and leaves with its exit code."""
    usable_streams()
    sys.exit(guarded(_run))


def _run() -> int:
    try:
        typed = common_first(arguments(sys.argv[1:]))
    except UnicodeDecodeError as error:
        wrong = visible(error.object.decode("utf-8", "backslashreplace"), 100)
        say(f"the argument '{wrong}' is not UTF-8: type it again (see `mlflow-reconciler --help`)")
        return USAGE
    if asks_for_run(typed):
        return run()
    _start_quickly()
    join_what_bash_broke()
    from reconciler.cli.app import run_typed

    return run_typed(typed)


def _start_quickly() -> None:
    """Spares a command that lasts a moment what serves programs that last: 8 % of the CPU of `audit list`."""
    # While modules are loaded nearly nothing is garbage, and the collector looks for it hundreds of times.
    gc.set_threshold(50_000, 20, 20)
    # Pydantic would read the metadata of every installed distribution; no plugin of it belongs to us.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
