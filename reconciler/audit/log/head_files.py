"""The file of heads: heads are appended, each whole or not at all, and nothing in it is ever written again."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from reconciler.domain.errors import ExitCode, ReconcilerError
from reconciler.domain.proofs.checkpoint import Head, Heads, heads_in

# A head takes about 300 bytes: the last one of a log is among so many.
_TAIL: Final = 64 * 1024
# A year of heads, one each second, is 10 GB: far more than any file that is read as a whole.
_LARGEST: Final = 1 << 30
_TRIES, _BETWEEN_TRIES = 20, 0.05


class NoHeads(ReconcilerError):
    """A file that should hold heads cannot be read, or holds none."""

    exit_code = ExitCode.USAGE


def append(path: Path, heads: Sequence[Head]) -> None:
    """Appends heads and waits until they are on the disk. Raises OSError, and then has appended none, if it can."""
    with _locked(path) as file:
        before = os.fstat(file).st_size
        # What an interrupted write left is no head, and must not become a part of the next one.
        torn = before > 0 and os.pread(file, 2, max(before - 2, 0)) != b"\n\n"
        content = (b"\n\n" if torn else b"") + "".join(f"{head.note}\n" for head in heads).encode()
        if os.write(file, content) != len(content):
            with contextlib.suppress(OSError):
                os.ftruncate(file, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, open for appending. Several processes may append to it: `once` beside a daemon on PostgreSQL."""
    # A pipe that nobody reads would stop the daemon.
    how = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    file = os.open(path, how, 0o644)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        _lock(file)
        yield file
    finally:
        os.close(file)


def _lock(file: int) -> None:
    """Ours hold it for one write. Whoever holds it for longer must not stop the daemon."""
    for _ in range(_TRIES):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_BETWEEN_TRIES)
    raise OSError(errno.EAGAIN, "another program has locked it")


def last_in(path: Path, origin: str) -> Head | None:
    """The last head of a log that the file has, else of any log; None where there is none. Raises OSError."""
    try:
        if not path.is_file():
            # Opening a pipe would wait for whoever writes to it.
            return None
        with path.open("rb") as file:
            start = max(file.seek(0, os.SEEK_END) - _TAIL, 0)
            file.seek(start)
            tail = file.read(_TAIL).decode(errors="replace")
    except FileNotFoundError:
        return None
    heads = heads_in(tail).heads
    return next((head for head in reversed(heads) if head.origin == origin), next(reversed(heads), None))


def read(path: Path) -> Heads:
    """The heads of a file. Raises NoHeads."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError as error:
        raise NoHeads(f"{path}: cannot be read: {(error.strerror or '').lower()}: name a file of heads") from None
    if len(content) > _LARGEST:
        raise NoHeads(f"{path}: larger than 1 GiB: name a part of it, such as its end")
    # A copy may have been through a program that ends lines in its own way, or marks the file as UTF-8.
    found = heads_in(content.decode("utf-8-sig", errors="replace").replace("\r\n", "\n"))
    if not found.heads:
        raise NoHeads(f"{path}: has no head of a log: name a file that the daemon appended heads to (audit.heads)")
    return found
