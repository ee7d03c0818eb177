"""Files that a command writes: each is replaced as a whole, so that nobody reads half of one, or is new."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from reconciler.cli.exits import is_out_of
from reconciler.cli.written.signals import ended_in_order
from reconciler.domain.errors import ExitCode, ReconcilerError


class Unwritable(ReconcilerError):
    """Nothing can be written to the place that a command names, or something is there that must not be replaced."""

    exit_code = ExitCode.USAGE


# Who writes it: two at once write two files, of which the last takes the place.
_WHOSE: Final = re.compile("([0-9]+)-[0-9a-f]{6}")


@contextlib.contextmanager
def put(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends, and is gone where it fails.

    A link stays, and the file that it names is replaced. What is no file, such as /dev/null or a pipe, is written to.

    Raises:
        Unwritable: it cannot be written there.
        OSError: the disk is full.
    """
    try:
        with _in_place(path) if _is_special(path) else _replacing(Path(os.path.realpath(path))) as file:
            yield file
    except OSError as error:
        if is_out_of(error) or isinstance(error, BrokenPipeError):
            raise
        raise Unwritable(f"{path}: cannot be written: {error.strerror}") from None


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
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}-{secrets.token_hex(3)}")
    with ended_in_order() as no_signal_now:
        try:
            _clear_after_the_killed(path)
            with partial.open("xb") as file:
                lock(file.fileno())
                keep_mode(path, partial)
                yield file
            partial.replace(path)
        except BaseException:
            no_signal_now()
            with contextlib.suppress(OSError):
                partial.unlink()
            raise


def lock(descriptor: int) -> None:
    """Shows others that it is being written; where the file system has no locks, they take it for that, too."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _clear_after_the_killed(path: Path) -> None:
    """Removes what a process that was killed had begun; what cannot be listed or removed stays."""
    entries: list[os.DirEntry[str]] = []
    with contextlib.suppress(OSError):
        entries = list(os.scandir(path.parent))
    for entry in entries:
        with contextlib.suppress(OSError):
            if _is_of_the_killed(entry.name, f"{path.name}.partial-") and _is_left(entry):
                os.unlink(entry)


def _is_of_the_killed(name: str, begins: str) -> bool:
    whose = _WHOSE.fullmatch(name.removeprefix(begins)) if name.startswith(begins) else None
    return whose is not None and not is_running(int(whose[1]))


def _is_left(entry: os.DirEntry[str]) -> bool:
    """Whether this account began it, and nobody is writing it."""
    descriptor = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(descriptor)
        return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
    finally:
        os.close(descriptor)


def is_running(number: int) -> bool:
    """Whether another process has this number."""
    if number == os.getpid():
        # What is there was there before us: in a container every process may have this number.
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


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
