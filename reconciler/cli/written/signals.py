"""Signals that end a command, which first removes what it was writing."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from types import FrameType
from typing import Final

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Ended(BaseException):
    """SIGTERM or SIGHUP came; as with KeyboardInterrupt, nothing but the end of the process answers it."""

    def __init__(self, number: int) -> None:
        self.number = number


@contextlib.contextmanager
def ended_in_order(signals: Collection[signal.Signals] = _ENDING) -> Iterator[Callable[[], None]]:
    """SIGTERM, SIGHUP and Ctrl-C leave the block as errors do, each once, where they are not ignored (`nohup`).

    Yields what the block calls before it does what must not be left undone: from then on a signal waits for its end.

    Raises:
        Ended, KeyboardInterrupt: a signal came.
    """
    # Python gives signals to its first thread only.
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    came: list[int] = []
    waits = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) == 1 and not waits.is_set():
            raise _error(number)

    heeded = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heeded}
    try:
        yield waits.set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            raise _error(came[0]) from None


def _error(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else Ended(number)


def end_by(number: int) -> int:
    """Ends the process by the signal, so that who started it sees by what; the first of a container by an exit code."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    return 128 + number
