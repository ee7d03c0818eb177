"""A real terminal: a command on a pseudo-terminal, and what it showed there."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
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


def _terminal(columns: int) -> tuple[int, int]:
    inside, outside = pty.openpty()
    fcntl.ioctl(outside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return inside, outside
