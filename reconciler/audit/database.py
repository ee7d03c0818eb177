"""Connections that lose nothing: the settings that were measured for SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from reconciler.domain.text import visible
from reconciler.ports import AuditUnavailable, SchemaMismatch

# Durability before speed: an MLflow server takes far fewer decisions a second than this commits.
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "busy_timeout=10000",
    "foreign_keys=ON",
    "recursive_triggers=ON",
    "trusted_schema=OFF",
)


def make_engine(url: str, *, read_only: bool = False) -> Engine:
    """An engine for an audit database. `read_only` reports never block the daemon.

    Connects nothing yet, so it raises nothing.
    """
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite(url, read_only)
    return _postgresql(url)


def _sqlite(url: str, read_only: bool) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 10, "check_same_thread": False})
    path = make_url(url).database or ""

    @event.listens_for(engine, "do_connect")
    def create_private(dialect: Any, record: Any, arguments: Any, keywords: Any) -> None:
        # Evidence and names are for those who may read the audit; SQLite would follow the umask.
        if not Path(path).exists():
            # Where this cannot be done SQLite cannot either, and it is SQLite's error that is translated.
            with contextlib.suppress(OSError):
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))

    @event.listens_for(engine, "connect")
    def configure(connection: Any, record: Any) -> None:
        # The driver must not open transactions by itself: a deferred BEGIN loses updates without an error.
        connection.isolation_level = None
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _postgresql(url: str) -> Engine:
    # No prepared statements and no session state: pgbouncer in transaction mode hands sessions around.
    arguments = {"prepare_threshold": None, "connect_timeout": 10, "application_name": "mlflow-reconciler"}
    return create_engine(url, pool_pre_ping=True, pool_size=2, max_overflow=2, connect_args=arguments)


def shown_url(url: str) -> str:
    """The URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


@contextlib.contextmanager
def audit_errors(engine: Engine) -> Iterator[None]:
    """Turns the database's errors into ours: one line, without a password, saying what to do where that is known."""
    try:
        yield
    except SQLAlchemyError as error:
        raise _translated(error, engine) from None


def _translated(error: SQLAlchemyError, engine: Engine) -> Exception:
    where = engine.url.render_as_string(hide_password=True)
    said = str(error.orig) if isinstance(error, DBAPIError) and error.orig is not None else str(error)
    first_line = visible(said.strip().splitlines()[0] if said.strip() else type(error).__name__, 300)
    if "file is not a database" in said or "malformed" in said:
        remedy = "move the file away and run `mlflow-reconciler db upgrade`, or restore a backup"
        return SchemaMismatch(f"{where} is no audit database ({first_line}): {remedy}")
    return AuditUnavailable(f"audit database {where}: {first_line}" + _remedy(said))


_REMEDIES = {
    "unable to open database file": "does its folder exist, and may this user write there?",
    "disk is full": "make room; what is open is decided then",
    "disk I/O error": "is the disk full? Then make room; else see the kernel's log (dmesg)",
    "readonly database": "this user may not write it",
    "permission denied": "grant the daemon's role INSERT on the audit tables",
    "read-only transaction": "the server is read-only: is this a standby?",
    "Connection refused": "is PostgreSQL running there?",
    "database is locked": "another program holds it",
}


def _remedy(said: str) -> str:
    return next((f" ({remedy})" for words, remedy in _REMEDIES.items() if words in said), "")
