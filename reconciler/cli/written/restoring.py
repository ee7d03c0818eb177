"""A signal that ends or stops a command gives the terminal back first: its screen, and its cursor."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TextIO

from reconciler.cli.written.signals import end_by

_ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@dataclass(frozen=True, slots=True)
class Taken:
    """What was done to a terminal, and what undoes it."""

    by: str
    undone_by: str


CURSOR = Taken("\x1b[?25l", "\x1b[?25h")
SCREEN = Taken("\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l")


@contextlib.contextmanager
def restored(stream: TextIO, taken: Taken) -> Iterator[None]:
    """While the block runs, the terminal is restored before a signal ends the process, or Ctrl-Z stops it.

    Ctrl-C is left to the block, which ends in order.
    """
    # What nohup ignores stays ignored; a command that writes a file ends in order, which restores the terminal, too.
    free = [number for number in (*_ENDS, signal.SIGTSTP) if signal.getsignal(number) is signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread() or os.environ.get("TERM") == "dumb":
        free = []
    leaving = _Leaving(stream.fileno() if free else -1, taken)
    for number in free:
        signal.signal(number, leaving.stop if number == signal.SIGTSTP else leaving.end)
    try:
        yield
    finally:
        for number in free:
            signal.signal(number, signal.SIG_DFL)


class _Leaving:
    """Writes past every buffer: what is still in one belongs to the screen that is left."""

    def __init__(self, descriptor: int, taken: Taken) -> None:
        self._descriptor, self._taken, self._process = descriptor, taken, os.getpid()

    def end(self, number: int, frame: FrameType | None) -> None:
        self._write(self._taken.undone_by)
        # Past every buffer and block, as the signal by itself would.
        os._exit(end_by(number))

    def stop(self, number: int, frame: FrameType | None) -> None:
        self._write(self._taken.undone_by)
        os.kill(os.getpid(), signal.SIGSTOP)
        # Here it goes on (`fg`).
        self._write(self._taken.by)

    def _write(self, text: str) -> None:
        # A terminal that was closed takes nothing; a process that was forked has none of its own.
        if os.getpid() == self._process:
            with contextlib.suppress(OSError):
                os.write(self._descriptor, text.encode())
