"""Files that a command writes: each is replaced as a whole, so that nobody reads half of one, or is new."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from reconciler.cli.exits import is_out_of
from reconciler.cli.signals import ended_in_order


@contextlib.contextmanager
def put(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends, and is gone where it fails.

    Raises:
        SettingsError: it cannot be written there.
        OSError: the disk is full.
    """
    from reconciler.settings.errors import SettingsError

    partial = path.with_name(path.name + ".partial")
    with ended_in_order() as no_signal_now:
        try:
            with partial.open("wb") as file:
                keep_mode(path, partial)
                yield file
            partial.replace(path)
        except BaseException as error:
            no_signal_now()
            with contextlib.suppress(OSError):
                partial.unlink()
            if isinstance(error, OSError) and not is_out_of(error):
                raise SettingsError([f"{path}: cannot be written: {error.strerror}"]) from None
            raise


def keep_mode(place: Path, successor: Path) -> None:
    """Who may read what is there may read what takes its place, and nobody else; where nothing is, by the umask."""
    try:
        before = place.stat()
    except FileNotFoundError:
        return
    mode = stat.S_IMODE(before.st_mode)
    try:
        os.chown(successor, -1, before.st_gid)
    except PermissionError:
        # Its group is another one.
        mode &= ~stat.S_IRWXG
    successor.chmod(mode)


def write_new(path: Path, content: str, mode: int) -> None:
    """Writes a file that must not be there yet, and its folder; one for credentials is closed to others."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if path.parent.name == "credentials" else 0o755)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        # Exactly this mode, whatever the umask: others may read what is meant for them, and never write it.
        os.fchmod(file.fileno(), mode)
        file.write(content)
