"""A real terminal: a command on a pseudo-terminal, and what it showed there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def on_terminal(
    command: Sequence[str | Path], variables: Mapping[str, str], columns: int = 80, typed: str = ""
) -> tuple[int, str]:
    """The exit code, and everything that was shown, stdout and stderr alike. `typed`: before anything was asked."""
    inside, outside = _terminal(columns)
    environment = {name: value for name, value in variables.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        command, env={"TERM": "xterm", **environment}, stdin=outside, stdout=outside, stderr=outside, close_fds=True
    )
    os.close(outside)
    os.write(inside, typed.encode())
    shown = b""
    try:
        while part := os.read(inside, 65536):
            shown += part
    except OSError:
        # Linux answers EIO when the last program has left the terminal.
        pass
    finally:
        os.close(inside)
    return process.wait(), shown.decode().replace("\r\n", "\n")


class Watched:
    """A command on a terminal, looked at while it runs."""

    def __init__(self, command: Sequence[str | Path], variables: Mapping[str, str]) -> None:
        self._inside, outside = _terminal(80)
        environment = {name: value for name, value in variables.items() if name not in {"COLUMNS", "LINES"}}
        self._process = subprocess.Popen(
            command, env={"TERM": "xterm", **environment}, stdin=outside, stdout=outside, stderr=outside,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(outside)

    def shows(self, text: str, within: float = 60) -> bool:
        """Whether it comes, from now on, in time."""
        shown, ends = b"", time.monotonic() + within
        while text.encode() not in shown:
            if not select.select([self._inside], [], [], max(ends - time.monotonic(), 0))[0]:
                return False
            shown += os.read(self._inside, 65536)
        return True

    def interrupted(self) -> int:
        """Presses Ctrl-C, and returns the exit code."""
        return self.types("\x03")[0]

    def presses(self, keys: str) -> None:
        os.write(self._inside, keys.encode())

    def types(self, keys: str) -> tuple[int, str]:
        """What ends the command; the exit code, negative for a signal, and what was shown since."""
        self.presses(keys)
        return self._ended()

    def gets(self, number: int) -> tuple[int, str]:
        """A signal that ends the command, from elsewhere; the same."""
        self._process.send_signal(number)
        return self._ended()

    def suspended(self) -> str:
        """Presses Ctrl-Z, and returns what was shown until the command stopped."""
        self.presses("\x1a")
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        shown = b""
        # A terminal hands over what was written in parts.
        while select.select([self._inside], [], [], 0.2)[0]:
            shown += os.read(self._inside, 65536)
        return shown.decode()

    def goes_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def _ended(self) -> tuple[int, str]:
        shown = b""
        # What it still says has to be read, or it waits for room.
        with contextlib.suppress(OSError):
            while select.select([self._inside], [], [], 30)[0] and (part := os.read(self._inside, 65536)):
                shown += part
        os.close(self._inside)
        try:
            return self._process.wait(30), shown.decode(errors="replace")
        finally:
            self._process.kill()


def _terminal(columns: int) -> tuple[int, int]:
    inside, outside = pty.openpty()
    fcntl.ioctl(outside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return inside, outside
