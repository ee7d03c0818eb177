"""Connections that lose nothing, with settings that were measured for SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from reconciler.audit.log.canonical import Damaged
from reconciler.domain.text import visible
from reconciler.ports import AuditLocked, AuditUnavailable, SchemaMismatch

_ACCESS: Final = "access"
# An option of a connection: what follows only reads.
SNAPSHOT: Final = "snapshot"
# Durability before speed: an MLflow server takes far fewer decisions a second than this commits.
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "busy_timeout=10000",
    "foreign_keys=ON",
    "recursive_triggers=ON",
    "trusted_schema=OFF",
    # What is removed from evidence must not stay in the free pages of the file.
    "secure_delete=ON",
)


class Access(Enum):
    """What may be done to a database. The values are SQLite's own names for it."""

    READ = "ro"
    WRITE = "rw"
    # Only `db upgrade` creates a database: otherwise a mistyped path would become an empty file.
    CREATE = "rwc"


def make_engine(url: str, access: Access = Access.WRITE) -> Engine:
    """An engine for an audit database. Readers never block the daemon, and cannot write.

    Does not connect yet, so it raises nothing. The caller disposes of it, as `opened` does.
    """
    backend = _sqlite if make_url(url).get_backend_name() == "sqlite" else _postgresql
    return backend(url, access)


@contextlib.contextmanager
def opened(url: str, access: Access) -> Iterator[Engine]:
    """As `make_engine`, with the engine disposed of at the end."""
    engine = make_engine(url, access)
    try:
        yield engine
    finally:
        engine.dispose()


def is_read_only(engine: Engine) -> bool:
    return engine.get_execution_options().get(_ACCESS) is Access.READ


# --- SQLite --------------------------------------------------------------------------------------------------


def _sqlite(url: str, access: Access) -> Engine:
    engine = create_engine(url, execution_options={_ACCESS: access})
    path = Path(make_url(url).database or "").absolute()

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, arguments: Any, keywords: Any) -> sqlite3.Connection:
        return _reading(path) if access is Access.READ else _writing(path, access)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reads = access is Access.READ or connection.get_execution_options().get(SNAPSHOT)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _writing(path: Path, access: Access) -> sqlite3.Connection:
    if access is Access.CREATE and not path.exists():
        # Evidence and names are for those who may read the audit; SQLite would follow the umask. Where this fails
        # SQLite fails too, and it is SQLite's error that is translated.
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = _connected(path, f"mode={access.value}")
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _reading(path: Path) -> sqlite3.Connection:
    # Only mode "rw" removes SQLite's shared-memory files at the end; otherwise they would belong to the reader and
    # block the daemon. `query_only` keeps such a reader from writing.
    may_write = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
    connection = _connected(path, "mode=rw" if may_write else "mode=ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if not path.exists() or os.access(path.parent, os.W_OK):
            raise
        connection = _immutable(path)
    connection.execute("PRAGMA query_only=ON")
    return connection


def _immutable(path: Path) -> sqlite3.Connection:
    """For a folder in which this user cannot create the shared-memory files that every reader of a WAL needs.

    A writer always has both files; where they are missing there is no writer, and the file can be read as it is.
    """
    beside = [path.with_name(path.name + suffix) for suffix in ("-wal", "-shm")]
    if any(file.exists() for file in beside):
        raise sqlite3.OperationalError(
            f"a daemon has it open, and this user may not write in {path.parent}: read a copy, made by the daemon's "
            "user with `mlflow-reconciler db backup COPY`"
        )
    return _connected(path, "mode=ro&immutable=1")


def _connected(path: Path, how: str) -> sqlite3.Connection:
    # The driver must not open transactions by itself: a deferred BEGIN loses updates without an error.
    connection = sqlite3.connect(
        f"{path.as_uri()}?{how}", uri=True, timeout=10, check_same_thread=False, isolation_level=None
    )
    connection.execute("PRAGMA trusted_schema=OFF")
    return connection


# --- PostgreSQL ----------------------------------------------------------------------------------------------


# Else a time near the ends of the calendar, which any request may give, leaves it in the zone of the server; and dates
# may come in any order. Sent as libpq starts a session, which pgbouncer passes on, unlike `options`.
_STARTING = {"PGTZ": "UTC", "PGDATESTYLE": "ISO"}


def _postgresql(url: str, access: Access) -> Engine:
    os.environ.update(_STARTING)
    # No prepared statements and no session state: pgbouncer in transaction mode hands sessions around.
    arguments = {"prepare_threshold": None, "connect_timeout": 10, "application_name": "mlflow-reconciler"}
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=2,
        max_overflow=2,
        connect_args=arguments,
        execution_options={_ACCESS: access},
    )

    @event.listens_for(engine, "connect")
    def times(connection: Any, record: Any) -> None:
        connection.adapters.register_loader("timestamptz", _loader_of_times())

    if access is Access.READ:

        @event.listens_for(engine, "connect")
        def read_only(connection: Any, record: Any) -> None:
            # The driver then sends BEGIN READ ONLY each time, which needs no session state.
            connection.read_only = True

    return engine


@functools.cache
def _loader_of_times() -> type[Any]:
    """Reads what Python has no time for, such as `infinity`, as text: one such cell does not end the reading."""
    # The driver is loaded where it is asked for.
    from psycopg import DataError
    from psycopg.types.datetime import TimestamptzLoader

    class TimeOrText(TimestamptzLoader):
        def load(self, data: Any) -> Any:
            try:
                return super().load(data)
            except DataError:
                return bytes(data).decode()

    return TimeOrText


# --- what both have in common --------------------------------------------------------------------------------


@contextlib.contextmanager
def one_state(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees no rows added meanwhile, however many statements it has."""
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            # SQLite's BEGIN is a snapshot by itself.
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextlib.contextmanager
def any_bytes(connection: Connection) -> Iterator[None]:
    """Reads what is no UTF-8, where SQLite keeps it as text, as bytes: one such cell does not end the reading."""
    with _texts_by(connection, _text_or_bytes):
        yield


@contextlib.contextmanager
def texts_only(connection: Connection) -> Iterator[None]:
    """At the speed of SQLite's driver, which calls no function of ours for each: one cell that is no text ends it."""
    with _texts_by(connection, str):
        yield


@contextlib.contextmanager
def _texts_by(connection: Connection, factory: Any) -> Iterator[None]:
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.name != "sqlite":
        yield
        return
    before, driver.text_factory = driver.text_factory, factory
    try:
        yield
    finally:
        driver.text_factory = before


def _text_or_bytes(cell: bytes) -> str | bytes:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell


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
    except Damaged as damage:
        where = engine.url.render_as_string(hide_password=True)
        raise AuditUnavailable(f"audit database {where}: a row {damage}: see `mlflow-reconciler db check`") from None


def _translated(error: SQLAlchemyError, engine: Engine) -> Exception:
    where = engine.url.render_as_string(hide_password=True)
    message = str(error.orig) if isinstance(error, DBAPIError) and error.orig is not None else str(error)
    first_line = visible(message.strip().splitlines()[0] if message.strip() else type(error).__name__, 300)
    if "file is not a database" in message or "malformed" in message:
        remedy = "move the file away and run `mlflow-reconciler db upgrade`, or restore a backup"
        return SchemaMismatch(f"{where} is not an audit database ({first_line}): {remedy}")
    kind = AuditLocked if _LOCKED in message else AuditUnavailable
    return kind(f"audit database {where}: {first_line}" + _remedy(message))


_LOCKED = "database is locked"
_NOT_POSTGRESQL = "that port speaks another protocol: is the port in audit.url the one of PostgreSQL?"
_REMEDIES = {
    "unable to open database file": "does its folder exist, and may this user write there?",
    "disk is full": "free some space; open requests are decided then",
    "disk I/O error": "is the disk full? Then free some space; otherwise see the kernel's log (dmesg)",
    "readonly database": "this user may not write to it",
    "permission denied": "`mlflow-reconciler db roles` prints which role may do what",
    "read-only transaction": "the server is read-only: is this a standby?",
    "Connection refused": "is PostgreSQL running there?",
    "failed to resolve host": "is the host in audit.url correct, and does DNS work here?",
    "response to SSL negotiation": _NOT_POSTGRESQL,
    "expected authentication request": _NOT_POSTGRESQL,
    _LOCKED: "another program has locked it",
}


def _remedy(message: str) -> str:
    return next((f" ({remedy})" for words, remedy in _REMEDIES.items() if words in message), "")
