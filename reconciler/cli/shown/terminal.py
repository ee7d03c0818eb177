"""What a terminal gets and a pipe does not: colours and a spinner."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TextIO

from reconciler.cli.written.restoring import CURSOR, restored


class Colour(StrEnum):
    GOOD = "32"
    BAD = "1;31"
    DOUBTFUL = "33"
    QUIET = "2"


def colour_wanted(stream: TextIO) -> bool:
    """Whether to use colours: only on a terminal that is not dumb, and where NO_COLOR is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, colour: Colour, stream: TextIO | None = None) -> str:
    """`text`, coloured where `stream` (default: stdout) shows colours."""
    return f"\x1b[{colour}m{text}\x1b[0m" if colour_wanted(stream or sys.stdout) else text


@contextlib.contextmanager
def spinner(text: str) -> Iterator[None]:
    """Shows a spinner on stderr while the block runs; prints a line where stderr is not a terminal."""
    if not sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
        yield
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True, color_system="auto" if colour_wanted(sys.stderr) else None)
    with restored(sys.stderr, CURSOR), console.status(Text(text)):
        yield


@contextlib.contextmanager
def progress_bar(text: str, *, beside_rows: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal while the block runs; it moves to and fro until it is told how much is done, and of how much.

    Args:
        beside_rows: the block writes rows to stdout; where a terminal shows them, they are the progress.
    """
    if not sys.stderr.isatty() or _goes_to_a_program() or (beside_rows and sys.stdout.isatty()):
        yield lambda done, of: None
        return
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, color_system="auto" if colour_wanted(sys.stderr) else None)
    # Lines for a terminal stand above the bar; rich would send those for a file there, too.
    drawn = Progress(console=console, transient=True, redirect_stdout=sys.stdout.isatty())
    with restored(sys.stderr, CURSOR), drawn as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _goes_to_a_program() -> bool:
    """Whether stdout is a pipe: what reads it, such as less, has the terminal to itself."""
    try:
        return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return False
