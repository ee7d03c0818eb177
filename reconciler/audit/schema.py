"""The schema's revision: upgraded only on purpose, and checked before anything is done."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sqlalchemy import Connection, Engine, inspect, text

from reconciler.audit.database import SNAPSHOT, Access, audit_errors, is_read_only, opened, shown_url
from reconciler.audit.log.filling import Progress, is_complete, take_in, unseen
from reconciler.ports import AuditUnavailable, SchemaMismatch

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = [
    "current",
    "head",
    "history",
    "migrations_path",
    "opened_at_head",
    "require_head",
    "revisions",
    "shown_url",
    "upgrade",
    "upgrade_as_sql",
]

_UPGRADE = "run `mlflow-reconciler db upgrade`"
# Quoted; NULL where there is nothing yet, where it is this user's own, and where this user is no member.
_OWNER = text("""
SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class
WHERE oid = to_regclass('alembic_version') AND relowner <> current_user::regrole AND pg_has_role(relowner, 'MEMBER')
""")
# The same number for every upgrade of an audit database, so that two of them wait for each other.
_ADVISORY_LOCK = 0x6D6C_7265_636F


def migrations_path() -> Path:
    """Inside an installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def revisions() -> list[str]:
    """Every revision in order. They are named after their files, so that a daemon need not load Alembic (9 MB)."""
    return sorted(path.stem for path in (migrations_path() / "versions").glob("[0-9]*.py"))


def head() -> str:
    """The revision that this version needs."""
    return revisions()[-1]


def current(url: str) -> str | None:
    """The database's revision; None where it has no schema yet.

    Raises:
        AuditUnavailable: it cannot be reached, or there is no such file.
    """
    with opened(url, Access.READ) as engine:
        _require_file(engine)
        with audit_errors(engine), engine.connect() as connection:
            return _revision(connection)


def _revision(connection: Connection) -> str | None:
    """What Alembic's own table says; None where there is none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def upgrade(url: str, progress: Progress = unseen) -> str:
    """Brings the database to `head` in one transaction, takes older rows into its log, and returns the revision.

    What was not taken in before an interruption is taken in by the next call.

    Raises:
        SchemaMismatch: it belongs to another program, or to a newer version.
        AuditUnavailable: it cannot be reached or written.
    """
    with opened(url, Access.CREATE) as engine, audit_errors(engine), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _ADVISORY_LOCK})
        _refuse_foreign(connection, shown_url(url))
        _as_owner(connection)
        migrate(connection, "head")
    with opened(url, Access.WRITE) as engine, audit_errors(engine):
        take_in(engine, progress)
    return head()


def _as_owner(connection: Connection) -> None:
    """What an administrator makes belongs to the role that owns the rest (`db roles`), until the transaction ends."""
    if connection.dialect.name != "postgresql":
        return
    owner = connection.scalar(_OWNER)
    if owner is not None:
        connection.execute(text(f"SET LOCAL ROLE {owner}"))


def migrate(connection: Connection, revision: str) -> None:
    """Runs the revisions up to this one, in the connection's transaction."""
    from alembic import command

    config = _alembic()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def upgrade_as_sql(url: str) -> str:
    """What `upgrade` would do to a database on PostgreSQL, as one transaction; "" where it is at `head`.

    What rows that exist need besides is done by the next `upgrade`, without a right to change the schema.

    Raises:
        SchemaMismatch: it belongs to another program, or to a newer version.
        AuditUnavailable: it cannot be reached.
    """
    from alembic import command

    with opened(url, Access.READ) as engine, audit_errors(engine), engine.connect() as connection:
        _refuse_foreign(connection, shown_url(url))
        since = _revision(connection)
    written = StringIO()
    if since != head():
        command.upgrade(_alembic(written), f"{since or 'base'}:head", sql=True)
    return written.getvalue()


def _alembic(output: TextIO = sys.stdout) -> Config:
    from alembic.config import Config

    config = Config(output_buffer=output)
    config.set_main_option("script_location", str(migrations_path()).replace("%", "%%"))
    return config


def history() -> dict[str, str]:
    """What each revision brought, in order."""
    versions = migrations_path() / "versions"
    return {name: _first_sentence((versions / f"{name}.py").read_text(encoding="utf-8")) for name in revisions()}


def _first_sentence(source: str) -> str:
    said = ast.get_docstring(ast.parse(source)) or ""
    return " ".join(said.partition("\n\n")[0].split())


def _refuse_foreign(connection: Connection, where: str) -> None:
    revision = _revision(connection)
    tables = inspect(connection).get_table_names()
    if tables and revision is None:
        raise SchemaMismatch(_foreign_text(where, tables))
    _refuse_unknown(connection, revision, where)


def _refuse_unknown(connection: Connection, revision: str | None, where: str) -> None:
    """Refuses a revision that is not ours: a later one where our tables are, else that of another program."""
    if revision is None or revision in revisions():
        return
    tables = inspect(connection).get_table_names()
    raise SchemaMismatch(_newer_text(where, revision) if "decisions" in tables else _foreign_text(where, tables))


def _foreign_text(where: str, tables: list[str]) -> str:
    return f"{where} holds other tables ({', '.join(sorted(tables)[:3])}, …): give the audit a database of its own"


def _newer_text(where: str, revision: str) -> str:
    return f"{where} is at revision {revision}, which this version does not know: install the version that upgraded it"


@contextmanager
def opened_at_head(url: str, access: Access, remedy: str = _UPGRADE) -> Iterator[Engine]:
    """An open audit database at this version's revision. Raises as `require_head`."""
    with opened(url, access) as engine:
        require_head(engine, remedy)
        yield engine


def require_head(engine: Engine, remedy: str = _UPGRADE) -> None:
    """Checks that the database is at `head`.

    Args:
        remedy: what to do if it is not, for a database that is not the configured one.

    Raises:
        SchemaMismatch: it is not; the message names the remedy.
        AuditUnavailable: it cannot be reached, or was opened for reading and there is no such file.
    """
    where = engine.url.render_as_string(hide_password=True)
    revision, log_is_complete = None, False
    if is_read_only(engine):
        _require_file(engine)
    if not _is_missing_file(engine):
        # What only reads waits for no writer.
        with audit_errors(engine), engine.connect().execution_options(**{SNAPSHOT: True}) as connection:
            revision = _revision(connection)
            _refuse_unknown(connection, revision, where)
            log_is_complete = revision == head() and is_complete(connection)
    if revision is None:
        raise SchemaMismatch(f"audit database {where} has no schema yet: {remedy}")
    if revision != head():
        gap = f"is at revision {revision}, and this version needs {head()}"
        raise SchemaMismatch(f"audit database {where} {gap}: {remedy}")
    if not log_is_complete:
        raise SchemaMismatch(f"the log of audit database {where} is not complete yet: {remedy} to finish")


def _is_missing_file(engine: Engine) -> bool:
    if engine.dialect.name != "sqlite":
        return False
    path = Path(engine.url.database or "")
    return path.parent.is_dir() and not path.exists()


def _require_file(engine: Engine) -> None:
    """A reader expects an existing database, so a missing file means a mistyped path, or another host's."""
    if _is_missing_file(engine):
        where = engine.url.render_as_string(hide_password=True)
        raise AuditUnavailable(
            f"audit database {where}: no such file: set audit.url to the daemon's database, or create one with "
            "`mlflow-reconciler db upgrade`"
        )
