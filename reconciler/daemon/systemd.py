"""systemd's notify protocol: what the service manager is told. Nothing is sent without $NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping

from reconciler.domain.text import visible

_STATUS_LIMIT = 500


class Notifier:
    """Sends to $NOTIFY_SOCKET, a path or an abstract name (`@…`); see sd_notify(3). Never raises, hardly waits.

    `clock` is in seconds.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._watchdog = _seconds(environ)
        self._clock = clock
        self._was_ready = False
        self._last_beat = 0.0

    @property
    def watchdog_interval(self) -> float | None:
        """Seconds within which systemd expects a sign of progress; None: it does not watch."""
        return self._watchdog

    def ready(self, status: str) -> None:
        """The first call says that the service is up; later calls, what it does."""
        self._send(*([] if self._was_ready else ["READY=1"]), _status(status))
        self._was_ready = True

    def status(self, status: str) -> None:
        self._send(_status(status))

    def progress(self) -> None:
        """The loop made progress. Only the loop calls this: a thread of its own would hide that the loop hangs."""
        now = self._clock()
        # A few within the watchdog interval are enough; one for each step would crowd out other messages.
        if self._watchdog is not None and now - self._last_beat >= self._watchdog / 5:
            self._last_beat = now
            self._send("WATCHDOG=1", patience=0.0)

    def reloading(self) -> None:
        if self._was_ready:
            self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self, status: str) -> None:
        """Ends a reload, successful or not. A service that was not ready before does not become ready by it."""
        self._send(*(["READY=1"] if self._was_ready else []), _status(status))

    def stopping(self) -> None:
        self._send("STOPPING=1", _status("stopping"))

    def _send(self, *lines: str, patience: float = 1.0) -> None:
        if not self._address:
            return
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(patience)
            sender.sendto("\n".join(lines).encode(), address)


def _status(text: str) -> str:
    return f"STATUS={visible(text, _STATUS_LIMIT)}"


def _seconds(environ: Mapping[str, str]) -> float | None:
    """$WATCHDOG_USEC in seconds, where it is meant for this process."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not usec.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1e6
