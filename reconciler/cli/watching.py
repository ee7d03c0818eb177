"""What a terminal shows anew every two seconds."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable

import typer

from reconciler.cli.exits import INTERRUPTED
from reconciler.domain.errors import ReconcilerError
from reconciler.domain.text import visible

_PAUSE = 2.0


class _Shown(io.StringIO):
    """What is printed while it stands in for stdout may have the terminal's colours."""

    def isatty(self) -> bool:
        return True


def watched(show: Callable[[], None]) -> int:
    """Calls what prints again and again, and shows the latest, cut to the terminal. An error is shown like a result.

    Raises:
        BadParameter: stdout is no terminal.
    """
    if not sys.stdout.isatty():
        raise typer.BadParameter("needs a terminal: run it without --watch", param_hint="--watch")
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(Text.from_ansi(_printed(show)), refresh=True)
            try:
                time.sleep(_PAUSE)
            except KeyboardInterrupt:
                return INTERRUPTED


def _printed(show: Callable[[], None]) -> str:
    printed = _Shown()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            show()
        except ReconcilerError as error:
            print(visible(str(error), 1_000))
    return printed.getvalue()
