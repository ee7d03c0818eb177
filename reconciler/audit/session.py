"""The session: how a transaction on the audit database begins, ends and fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from reconciler.audit.database import SNAPSHOT, audit_errors
from reconciler.audit.log.appending import Recording, recorded
from reconciler.ports.errors import AuditUnavailable


def _nothing() -> None:
    pass


def _reads_only(connection: Connection) -> Connection:
    return connection.execution_options(**{SNAPSHOT: True})


class Session:
    """Transactions on one database.

    Args:
        on_answer: called after each transaction, as a sign that the database answers.
    """

    def __init__(self, engine: Engine, on_answer: Callable[[], None] = _nothing) -> None:
        self._engine = engine
        self._on_answer = on_answer
        # A transaction could not begin or end. Whoever keeps account of that sets it to False again.
        self.failed = False

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        try:
            with audit_errors(self._engine):
                yield
        except AuditUnavailable:
            self.failed = True
            raise
        self._on_answer()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction: everything in it takes effect, or nothing.

        Raises:
            AuditUnavailable: nothing was changed, or it is not known whether it was.
        """
        with self._noticing(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def recording(self) -> Iterator[Recording]:
        """A transaction that adds rows to history: they are in the log when it is committed.

        Raises:
            AuditUnavailable: as `transaction`.
            SchemaMismatch: the log is not complete, which `db upgrade` mends.
        """
        with self.transaction() as connection, recorded(connection) as recording:
            yield recording

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """One state of the database, to be read only: on SQLite it takes no lock, so a writer need not wait.

        Raises:
            AuditUnavailable: it cannot be read.
        """
        with self._noticing(), self._engine.connect() as connection, _reads_only(connection).begin():
            yield connection
