"""Heads of the log leave the database: after each cycle that adds rows, to a file and to the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, func, select

from reconciler.audit.log.appending import stored_peaks
from reconciler.audit.log.canonical import bytes_of
from reconciler.audit.log.head_files import append, last_in
from reconciler.audit.log.signing import Signer
from reconciler.audit.log.tables import LogEpochRow, LogLeafRow, LogStateRow
from reconciler.audit.session import Session
from reconciler.audit.tables import now_in
from reconciler.domain.proofs.checkpoint import LOGGED, Head, origin_of
from reconciler.domain.proofs.merkle import Tree, peaks
from reconciler.domain.text import counted, visible_name
from reconciler.domain.times import iso
from reconciler.logs import LOGGER
from reconciler.ports import AuditUnavailable

# Heads that wait for a file that cannot be written; of more than these, every second one is dropped.
_MOST_WAITING: Final = 1_000


def size_of_log(connection: Connection) -> int:
    return connection.scalar(select(LogStateRow.size)) or 0


def first_leaf(connection: Connection) -> bytes:
    """The stored hash of the first entry, which names the log; nothing where there is none."""
    return bytes_of(connection.scalar(select(LogLeafRow.hash).where(LogLeafRow.leaf == 0)))


def stored_root(connection: Connection, size: int) -> bytes | None:
    """The root over the first entries, from the stored nodes; None where the log does not have them."""
    hashes = stored_peaks(connection, size)
    wanted = peaks(size)
    return Tree(size, [hashes[node] for node in wanted]).root() if len(hashes) == len(wanted) else None


def head_now(connection: Connection) -> Head | None:
    """The head of the log as it is stored; None where it has no entry, or its nodes are not all there."""
    size = size_of_log(connection)
    root = stored_root(connection, size)
    if not size or root is None:
        return None
    epoch = (connection.scalar(select(func.max(LogEpochRow.id))) or 0) + 1
    return Head.of(origin_of(first_leaf(connection)), size, root, epoch, iso(now_in(connection)))


class HeadKeeper:
    """Appends the heads of one log to a file, and keeps those that could not be appended.

    Args:
        path: the file; None: heads are written to the journal only.
        signer: signs them; None: they are not signed.
        quiet: the log gets those only that the file does not get: whoever reads one cycle's lines is a person.

    It never raises: a file that cannot be written stops no act. `problem` says what is wrong, in words for `status`.
    """

    def __init__(self, engine: Engine, path: Path | None, signer: Signer | None = None, quiet: bool = False) -> None:
        self._session = Session(engine)
        self._quiet = quiet
        self._waiting: list[Head] = []
        self._broken: str | None = None
        self._unwritten: str | None = None
        self._untaken: str | None = None
        self.use(path, signer)

    def use(self, path: Path | None, signer: Signer | None) -> None:
        """From now on: what waits for a file waits for this one."""
        self._path = path
        self._signer = signer
        self._last: Head | None = None
        self._looked_back = False

    @property
    def waiting(self) -> int:
        """How many heads the file does not have yet."""
        return len(self._waiting)

    @property
    def problem(self) -> str | None:
        return "; ".join(filter(None, (self._broken, self._untaken, self._unwritten))) or None

    def keep(self) -> None:
        """A cycle has ended: the head of the log, if it is longer, leaves the database."""
        try:
            with self._session.snapshot() as connection:
                head = self._next(connection)
        except AuditUnavailable as error:
            self._untaken = f"no head of the log was taken: {error}"
            LOGGER.error(self._untaken, extra={"event": "head"})
            return
        self._untaken = None
        if head is not None:
            self._take(head)
        if self._waiting and self._path is not None:
            self._append(self._path)

    def _next(self, connection: Connection) -> Head | None:
        """The head of the log; None where it was taken already."""
        if not self._looked_back:
            self._last = self._last_in_file(origin_of(first_leaf(connection)))
        elif self._last is not None and size_of_log(connection) == self._last.size:
            return None
        self._looked_back = True
        head, last = head_now(connection), self._last
        if last is None or head is None or (head.size, head.root) == (last.size, last.root):
            return head if last is None else None
        self._compare(connection, last, head)
        return head

    def _last_in_file(self, origin: str) -> Head | None:
        """The head that the file ends with, so that a start appends none twice."""
        try:
            return last_in(self._path, origin) if self._path is not None else None
        except OSError:
            # What is wrong with the file is told when a head is appended.
            return None

    def _compare(self, connection: Connection, last: Head, head: Head) -> None:
        """The log has to extend what was appended last, unless somebody declared a restore since."""
        if last.origin != head.origin:
            kept = f"{self._path} has heads of the log {visible_name(last.origin)}, and this log is {head.origin}"
            rebuilt = (
                "give each database a file of its own; if this is the same one, it was rebuilt from its first entry"
            )
            self._broken = f"{kept}: {rebuilt}"
            LOGGER.error(self._broken, extra={"event": "head"})
            return
        if last.epoch < head.epoch or stored_root(connection, last.size) == last.root:
            return
        self._broken = (
            f"the log does not extend its head of {counted(last.size, 'entry', 'entries')} that was kept"
            f"{f' at {last.time}' if last.time else ''}: run `mlflow-reconciler audit verify --head {self._path}`; "
            "after a restore, `db restored`"
        )
        LOGGER.error(self._broken, extra={"event": "head"})

    def _take(self, head: Head) -> None:
        if self._signer is not None:
            head = self._signer.signed(head)
        self._last = head
        if self._path is None or not self._quiet:
            _log(head)
        if self._path is None:
            return
        self._waiting.append(head)
        if len(self._waiting) > _MOST_WAITING:
            del self._waiting[1:-1:2]

    def _append(self, path: Path) -> None:
        try:
            append(path, self._waiting)
        except OSError as error:
            waits = f"{counted(len(self._waiting), 'head')} of the log {'waits' if self.waiting == 1 else 'wait'}"
            why = (error.strerror or "no reason given").lower()
            self._unwritten = f"audit.heads: {path} cannot be written: {why}: {waits} for it, and acts go on"
            LOGGER.error(self._unwritten, extra={"event": "head"})
            for head in self._waiting if self._quiet else ():
                _log(head)
            return
        self._waiting.clear()
        if self._unwritten is not None:
            self._unwritten = None
            LOGGER.info(f"audit.heads: {path} is written again", extra={"event": "head"})


def _log(head: Head) -> None:
    """In one line: its line breaks are written as \\n, as the log writes those of every text."""
    LOGGER.info(LOGGED + head.note.replace("\n", "\\n"), extra={"event": "head"})
