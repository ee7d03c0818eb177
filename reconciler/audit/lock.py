"""SQLite serves one daemon; a second one is refused, and learns about the first."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import make_url

from reconciler.domain.text import visible
from reconciler.domain.times import iso
from reconciler.ports import AlreadyServed, AuditUnavailable


@contextlib.contextmanager
def hold(url: str) -> Iterator[None]:
    """Holds `<file>.lock` beside a SQLite database; nothing on PostgreSQL, which settles races itself.

    Raises:
        AlreadyServed: another process holds it.
        AuditUnavailable: the lock file cannot be written.
    """
    location = make_url(url)
    if location.get_backend_name() != "sqlite" or not location.database:
        yield
        return
    path = Path(location.database + ".lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        question = "does the folder exist, and may this user write there?"
        raise AuditUnavailable(f"lock file {path}: {error.strerror}: {question}") from None
    try:
        _take(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, path: Path) -> None:
    try:
        # The kernel releases the lock when the process dies, however it dies.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = visible(os.pread(descriptor, 300, 0).decode("utf-8", "replace").strip()) or "another process"
        database = path.name.removesuffix(".lock")
        raise AlreadyServed(
            f"{database} is served by {holder}: SQLite serves one daemon; stop that one, or use PostgreSQL"
        ) from None
    served_by = f"pid {os.getpid()} on {socket.gethostname()} since {iso(datetime.now(UTC))}\n"
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, served_by.encode(), 0)
    except OSError as error:
        remedy = "free some space for the audit, or move it to another disk"
        raise AuditUnavailable(f"lock file {path}: cannot be written: {error.strerror}: {remedy}") from None
