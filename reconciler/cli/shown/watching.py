"""What a terminal shows anew every two seconds."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

import typer

from reconciler.cli.exits import INTERRUPTED
from reconciler.cli.written.restoring import SCREEN, restored
from reconciler.domain.errors import ReconcilerError
from reconciler.domain.text import visible

_PAUSE = 2.0
_TICK = 0.1


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

    interrupted = _Interrupted()
    with restored(sys.stdout, SCREEN), Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(Text.from_ansi(_printed(show)), refresh=True)
            if interrupted.within(_PAUSE):
                return INTERRUPTED


class _Interrupted:
    """Whether Ctrl-C was pressed. An exception could be lost: a driver takes one within its callback for its own.

    A second one ends the command at once, also where a database does not answer.
    """

    def __init__(self) -> None:
        self._pressed = False
        signal.signal(signal.SIGINT, self._press)

    def _press(self, number: int, frame: FrameType | None) -> None:
        self._pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def within(self, seconds: float) -> bool:
        """Waits so long, or until it is pressed."""
        ends = time.monotonic() + seconds
        while not self._pressed and time.monotonic() < ends:
            time.sleep(_TICK)
        return self._pressed


def _printed(show: Callable[[], None]) -> str:
    printed = _Shown()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            show()
        except ReconcilerError as error:
            print(visible(str(error), 1_000))
    return printed.getvalue()
