"""Creates the app's tables, or brings those of an older version up to date: by one worker, under a lock."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Final

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_STATE
from sqlalchemy import Connection, Engine, func, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.schema import CreateColumn

from reconciler.mlflow_app.holders import OURS
from reconciler.mlflow_app.tables import PREFIX, counter, history, metadata, schema

VERSION: Final = 2
_ATTEMPTS: Final = 5
_ADDED: Final = ("what", "assurance", "request_id", "decision_id")
_OURS: Final = {OURS: True}
# Any number that nobody else uses in this database.
_LOCK: Final = 7_146_203_811
_log = logging.getLogger("mlflow.transition_requests")


def create(engine: Engine) -> None:
    """Create what is missing. Several workers and servers may do so at once; nothing is written where all is there.

    Raises:
        MlflowException: the database does not let this user create them, or a newer version of this app wrote them.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            if not _is_current(engine):
                with _locked(engine) as connection:
                    _upgrade(connection)
            return
        except DBAPIError as error:
            # A database without a lock for this: another worker created them since the check. The next finds them.
            if attempt == _ATTEMPTS:
                raise _cannot_create(error) from error


def _is_current(engine: Engine) -> bool:
    if not inspect(engine).has_table(schema.name):
        return False
    with engine.connect() as connection:
        return _is_ours(connection.scalar(select(schema.c.version)))


def _is_ours(version: int | None) -> bool:
    if version is not None and version > VERSION:
        raise MlflowException(
            f"transition requests: the tables {PREFIX}… in MLflow's database have version {version}, and this release "
            f"knows {VERSION} at most: install the release that created them, or a newer one",
            INVALID_STATE,
        )
    return version == VERSION


@contextlib.contextmanager
def _locked(engine: Engine) -> Iterator[Connection]:
    """A connection that alone creates tables. SQLite and PostgreSQL undo all of it if something fails."""
    if engine.dialect.name == "sqlite":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
        return
    with engine.begin() as connection:
        mysql = engine.dialect.name in {"mysql", "mariadb"}
        if engine.dialect.name == "postgresql":
            connection.scalar(select(func.pg_advisory_xact_lock(_LOCK)))
        elif mysql:
            connection.scalar(select(func.get_lock(PREFIX, 60)))
        try:
            yield connection
        finally:
            if mysql:
                connection.scalar(select(func.release_lock(PREFIX)))


def _upgrade(connection: Connection) -> None:
    metadata.create_all(connection, checkfirst=True)
    known = {column["name"] for column in inspect(connection).get_columns(history.name)}
    for name in _ADDED:
        if name not in known:
            column = CreateColumn(history.c[name]).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {history.name} ADD COLUMN {column}", execution_options=_OURS)
    for index in history.indexes:
        index.create(connection, checkfirst=True)
    if connection.scalar(select(counter.c.id)) is None:
        newest = connection.scalar(select(func.max(history.c.number))) or 0
        connection.execute(insert(counter).values(id=1, number=newest), execution_options=_OURS)
    _forbid_changes(connection)
    version = connection.scalar(select(schema.c.version))
    written = (
        insert(schema).values(id=1, version=VERSION) if version is None else update(schema).values(version=VERSION)
    )
    connection.execute(written, execution_options=_OURS)


def _forbid_changes(connection: Connection) -> None:
    """Triggers that make history append-only, where the database lets a table's owner create them."""
    try:
        for statement in _TRIGGERS.get(connection.dialect.name, []):
            connection.exec_driver_sql(statement, execution_options=_OURS)
    except DBAPIError as error:
        # MySQL with a binary log wants SUPER for it; a failed statement does not end its transaction.
        if connection.dialect.name not in {"mysql", "mariadb"}:
            raise
        _log.warning(
            "%s can be changed by everybody who can write to this database, since it does not allow triggers (%s)",
            history.name, str(error.__cause__ or error).splitlines()[0],
        )  # fmt: skip


_SAID: Final = f"{history.name} is append-only"
_NAMES: Final = {"UPDATE": f"{history.name}_no_update", "DELETE": f"{history.name}_no_delete"}
_TRIGGERS: Final = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {act} ON {history.name} BEGIN SELECT RAISE(ABORT, '{_SAID}'); END"
        for act, name in _NAMES.items()
    ],
    "postgresql": [
        f"CREATE OR REPLACE FUNCTION {history.name}_kept() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$BEGIN RAISE EXCEPTION '{_SAID}'; END$$",
        f"DROP TRIGGER IF EXISTS {history.name}_kept ON {history.name}",
        f"CREATE TRIGGER {history.name}_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON {history.name} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {history.name}_kept()",
    ],
    "mysql": [
        statement
        for act, name in _NAMES.items()
        for statement in (
            f"DROP TRIGGER IF EXISTS {name}",
            f"CREATE TRIGGER {name} BEFORE {act} ON {history.name} FOR EACH ROW "
            f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{_SAID}'",
        )
    ],
}  # fmt: skip


def _cannot_create(error: SQLAlchemyError) -> MlflowException:
    reason = str(error.__cause__ or error).splitlines()[0]
    names = " and ".join(sorted(metadata.tables))
    return MlflowException(
        f"transition requests: cannot create {names} in MLflow's database ({reason}): "
        "allow the server's database user to create tables, at least for the first start",
        INVALID_STATE,
    )
