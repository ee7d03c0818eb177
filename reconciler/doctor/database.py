"""The audit database: its revision, this user's rights, and whether history is append-only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Delete, Engine, Table, Update, and_, delete, select, text, update
from sqlalchemy.exc import DBAPIError

from reconciler.audit import schema
from reconciler.audit.append_only import APPEND_ONLY
from reconciler.audit.database import Access, audit_errors, opened
from reconciler.audit.integrity.comparing import differences
from reconciler.audit.rights import Right, rights
from reconciler.audit.tables import Base
from reconciler.doctor.findings import Finding, fail, ok, skip
from reconciler.domain.text import counted
from reconciler.ports import AuditUnavailable, SchemaMismatch
from reconciler.settings.model import Settings

_UNTRIED = ("schema", "rights", "append-only")


def database(settings: Settings) -> list[Finding]:
    url = settings.audit.url.get_secret_value()
    with opened(url, Access.WRITE) as engine:
        try:
            schema.require_head(engine)
            at_head = f"{schema.shown_url(url)} is at revision {schema.head()}"
            return [ok("database", at_head), _schema(engine), _rights(engine), _append_only(engine)]
        except SchemaMismatch as error:
            untried = "not tried: the database is not at this version's revision: run `mlflow-reconciler db upgrade`"
            return [fail("database", str(error)), *(skip(name, untried) for name in _UNTRIED)]
        except AuditUnavailable as error:
            untried = "not tried: the database cannot be read (see database)"
            return [fail("database", str(error)), *(skip(name, untried) for name in _UNTRIED)]


# --- schema --------------------------------------------------------------------------------------------------


def _schema(engine: Engine) -> Finding:
    """Whether tables, triggers, indexes and views are as a new database has them."""
    with audit_errors(engine), engine.connect() as connection:
        found = differences(connection)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        return fail("schema", f"{found[0]}{more}; `mlflow-reconciler db check` lists every difference")
    return ok("schema", "tables, triggers, indexes and views are as a new database has them")


# --- rights --------------------------------------------------------------------------------------------------


def _rights(engine: Engine) -> Finding:
    """Whether a daemon could record here, found out without writing."""
    if engine.dialect.name == "sqlite":
        path = Path(engine.url.database or "")
        lacking = [str(needed) for needed in (path, path.parent) if not os.access(needed, os.W_OK)]
        lacks, remedy = "cannot write", "run as the service's user, or grant it write permission"
    else:
        with audit_errors(engine), engine.connect() as connection:
            lacking = list(dict.fromkeys(right.table for right in rights() if not _has(connection, right)))
        lacks, remedy = "lacks rights on", "grant it the daemon's role of `mlflow-reconciler db roles`"
    if lacking:
        return fail("rights", f"this user {lacks} {', '.join(lacking)}: {remedy}")
    if owner := _owner_it_could_be(engine):
        could = f"this login is a member of {owner}, which owns the schema, so it could change what it has recorded"
        return fail("rights", f"{could}: take it away (REVOKE {owner} FROM …)")
    return ok("rights", "this user can record decisions")


def _owner_it_could_be(engine: Engine) -> str | None:
    """The role that owns the schema and cannot log in, where this login is a member of it."""
    if engine.dialect.name == "sqlite":
        return None
    query = text(
        "SELECT rolname FROM pg_class JOIN pg_roles r ON r.oid = relowner "
        "WHERE pg_class.oid = to_regclass('decisions') AND NOT rolcanlogin AND pg_has_role(r.oid, 'MEMBER')"
    )
    with audit_errors(engine), engine.connect() as connection:
        owner: str | None = connection.scalar(query)
    return owner


def _has(connection: Connection, right: Right) -> bool:
    """Whether this user has a right: a right on the table is one on each of its columns."""
    if not right.columns:
        query = text("SELECT has_table_privilege(:table, :privilege)")
        return connection.scalar(query, {"table": right.table, "privilege": right.privilege}) is True
    query = text(
        "SELECT bool_and(has_column_privilege(:table, name, :privilege)) FROM unnest(CAST(:columns AS text[])) AS name"
    )
    asked = {"table": right.table, "privilege": right.privilege, "columns": list(right.columns)}
    return connection.scalar(query, asked) is True


# --- append-only ---------------------------------------------------------------------------------------------


def _append_only(engine: Engine) -> Finding:
    """Try to change one row of each history table, in a transaction that is always rolled back."""
    keys = {name: _some_key(engine, Base.metadata.tables[name]) for name in APPEND_ONLY}
    changeable = [
        f"{name} can be {what}"
        for name, key in keys.items()
        for what in _allowed(engine, Base.metadata.tables[name], key)
    ]
    if changeable:
        remedy = "the triggers are missing: restore them from a migrated database, and find out who removed them"
        return fail("append-only", f"{', '.join(changeable)}: {remedy}")
    return ok("append-only", _refused_by(keys))


def _refused_by(keys: dict[str, ColumnElement[bool] | None]) -> str:
    tried = [name for name, key in keys.items() if key is not None]
    empty = [name for name, key in keys.items() if key is None]
    parts = [f"{counted(len(tried), 'table')} refused UPDATE and DELETE of one row (rolled back)"] if tried else []
    parts += [f"{counted(len(empty), 'table')} without rows to try it on; the triggers exist"] if empty else []
    return "; ".join(parts)


def _allowed(engine: Engine, table: Table, key: ColumnElement[bool] | None) -> Iterator[str]:
    first = next(column for column in table.columns if not column.primary_key)
    changes: dict[str, Update | Delete] = {
        "updated": update(table).values({first.name: first}),
        "deleted from": delete(table),
    }
    for what, change in changes.items():
        # An empty table has no row that a trigger could protect, so look for the trigger itself.
        refused = _has_trigger(engine, table, what) if key is None else _refuses(engine, change, key)
        if not refused:
            yield what


def _some_key(engine: Engine, table: Table) -> ColumnElement[bool] | None:
    """A condition that selects one row; None if the table is empty."""
    columns = list(table.primary_key.columns)
    with audit_errors(engine), engine.connect() as connection:
        row = connection.execute(select(*columns).limit(1)).one_or_none()
    if row is None:
        return None
    return and_(*(column == value for column, value in zip(columns, row, strict=True)))


def _refuses(engine: Engine, change: Update | Delete, key: ColumnElement[bool]) -> bool:
    with audit_errors(engine), engine.connect() as connection:
        transaction = connection.begin()
        try:
            connection.execute(change.where(key))
        except DBAPIError as error:
            return "append-only" in str(error) or "permission denied" in str(error)
        finally:
            transaction.rollback()
    return False


def _has_trigger(engine: Engine, table: Table, what: str) -> bool:
    on_sqlite = f"{table.name}_no_{'update' if what == 'updated' else 'delete'}"
    with audit_errors(engine), engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            query, name = "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND name = :name", on_sqlite
        else:
            query, name = (
                "SELECT 1 FROM pg_trigger WHERE tgname = :name AND tgenabled <> 'D'",
                f"{table.name}_no_change",
            )
        return connection.scalar(text(query), {"name": name}) is not None
