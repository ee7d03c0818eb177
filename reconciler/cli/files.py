"""Files that a command writes: each is replaced as a whole, so that nobody reads half of one, or is new."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from reconciler.cli.exits import is_out_of
from reconciler.cli.signals import ended_in_order


@contextlib.contextmanager
def put(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends, and is gone where it fails.

    A link stays, and the file that it names is replaced. What is no file, such as /dev/null or a pipe, is written to.

    Raises:
        SettingsError: it cannot be written there.
        OSError: the disk is full.
    """
    from reconciler.settings.errors import SettingsError

    try:
        with _in_place(path) if _is_special(path) else _replacing(Path(os.path.realpath(path))) as file:
            yield file
    except OSError as error:
        if is_out_of(error) or isinstance(error, BrokenPipeError):
            raise
        raise SettingsError([f"{path}: cannot be written: {error.strerror}"]) from None


def _is_special(path: Path) -> bool:
    """Whether it is there, and is neither a file nor a directory: root could replace even a device by a file."""
    return path.exists() and not path.is_file() and not path.is_dir()


@contextlib.contextmanager
def _in_place(path: Path) -> Iterator[IO[bytes]]:
    # Half of it reaches nobody there, either; and a ZIP goes back to write its sizes.
    with path.open("wb") as special, tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        shutil.copyfileobj(file, special)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    partial = path.with_name(path.name + ".partial")
    with ended_in_order() as no_signal_now:
        try:
            with partial.open("wb") as file:
                keep_mode(path, partial)
                yield file
            partial.replace(path)
        except BaseException:
            no_signal_now()
            with contextlib.suppress(OSError):
                partial.unlink()
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
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            # Exactly this mode, whatever the umask: others may read what is meant for them, and never write it.
            os.fchmod(file.fileno(), mode)
            file.write(content)
    except BaseException:
        # Half of it would stand in the way of the next try.
        path.unlink()
        raise
