"""How the thread that handles signals waits, and is woken."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import weakref


class Waker:
    """A pipe to oneself. `wake` takes no lock, so it may be called within a signal handler.

    `threading.Event` is no way to do that: its `wait` holds a lock for moments, its `set` takes the same lock, and a
    handler runs in the very thread that waits. A signal in such a moment, such as SIGHUP right after SIGCONT, would
    stop the process for good.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        for end in (self._read, self._write):
            os.set_blocking(end, False)
            weakref.finalize(self, os.close, end)

    def hear_signals(self) -> None:
        """From now on each signal wakes, whichever thread the kernel hands it to. Only the main thread may ask."""
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def hear_no_more(self) -> None:
        signal.set_wakeup_fd(-1)

    def wake(self) -> None:
        # A full pipe wakes as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b"\0")

    def wait(self) -> None:
        """Returns once somebody woke it since the last call. The handlers of signals that did so have run by then."""
        waiting = select.poll()
        waiting.register(self._read, select.POLLIN)
        waiting.poll()
        with contextlib.suppress(BlockingIOError):
            while os.read(self._read, 4096):
                pass
