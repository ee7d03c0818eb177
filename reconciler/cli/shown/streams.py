"""What a process is given: arguments, stdout and stderr, in whatever state."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from reconciler.domain.errors import ExitCode, ReconcilerError


class OutputClosed(ReconcilerError):
    """There is something to print, and stdout is closed."""

    exit_code = ExitCode.UNREACHABLE


class _ClosedOutput(io.StringIO):
    def write(self, text: str) -> int:
        raise OutputClosed("standard output is closed: redirect it to a file or /dev/null")


def usable_streams() -> None:
    """Make output possible: what an encoding lacks is escaped, and a closed stream is noticed when it is needed."""
    _keep_free_of_files()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is None:
        sys.stdout = _ClosedOutput()
    if sys.stderr is None:
        # `print` would write to stdout instead.
        sys.stderr = io.StringIO()


def _keep_free_of_files() -> None:
    """Occupy the numbers of closed streams, so that no database gets them."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)


def arguments(typed: Sequence[str]) -> list[str]:
    """The arguments as text, also where the locale is not one of UTF-8. Raises UnicodeDecodeError."""
    return [word if _is_text(word) else os.fsencode(word).decode("utf-8") for word in typed]


def _is_text(word: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in word)
