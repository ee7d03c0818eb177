"""Moving an audit database from one server to another, and copying a SQLite file while it is in use."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, func, insert, make_url, select

from reconciler.audit import schema
from reconciler.audit.append_only import APPEND_ONLY
from reconciler.audit.database import Access, audit_errors, one_state, shown_url
from reconciler.audit.log.filling import Progress, unseen
from reconciler.audit.log.tables import LogStateRow
from reconciler.audit.tables import Base
from reconciler.domain.times import iso
from reconciler.ports import AuditUnavailable, SchemaMismatch

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Copied:
    """One table: how many rows, and a SHA-256 over all of them in order, the same on both sides."""

    table: str
    rows: int
    digest: str


def copy(source: str, target: str, progress: Progress = unseen) -> list[Copied]:
    """Copies history and working state in one transaction, and compares counts and digests before it is committed.

    Raises:
        SchemaMismatch: a side is at another revision, or the target is not empty.
        AuditUnavailable: a side cannot be reached or written, or the copy differs.
    """
    with (
        schema.opened_at_head(source, Access.READ, _upgrade_of(source)) as reading,
        schema.opened_at_head(target, Access.WRITE, _upgrade_of(target)) as writing,
        audit_errors(reading),
        one_state(reading) as old,
        audit_errors(writing),
        writing.begin() as new,
    ):
        _require_empty(new, target)
        # The state of an empty log, which that of the source replaces.
        new.execute(delete(LogStateRow))
        tables = Base.metadata.sorted_tables
        seen = _Seen(progress, sum(old.scalar(select(func.count()).select_from(table)) or 0 for table in tables))
        return [_copy_table(table, old, new, seen) for table in tables]


class _Seen:
    """Shows how many rows were copied or compared; each is both."""

    def __init__(self, progress: Progress, rows: int) -> None:
        self._progress, self._done, self._of = progress, 0, 2 * rows

    def more(self, rows: int) -> None:
        self._done += rows
        self._progress(self._done, self._of)


def _upgrade_of(url: str) -> str:
    """By itself `db upgrade` would upgrade the configured database."""
    return f"run `RECONCILER_AUDIT__URL={shown_url(url)} mlflow-reconciler db upgrade`"


def _require_empty(target: Connection, url: str) -> None:
    for name in APPEND_ONLY:
        if target.scalar(select(func.count()).select_from(Base.metadata.tables[name])):
            raise SchemaMismatch(f"{shown_url(url)} is not empty (table {name}): copy into a new database")


def _copy_table(table: Table, old: Connection, new: Connection, seen: _Seen) -> Copied:
    ordered = select(table).order_by(*table.primary_key.columns)
    digest, count = hashlib.sha256(), 0
    for rows in old.execute(ordered).mappings().partitions(_BATCH):
        new.execute(insert(table), [dict(row) for row in rows])
        count += len(rows)
        for row in rows:
            digest.update(_canonical(row))
        seen.more(len(rows))
    _advance_sequence(table, new)
    copied, copied_count = hashlib.sha256(), 0
    for rows in new.execute(ordered).mappings().partitions(_BATCH):
        for row in rows:
            copied.update(_canonical(row))
        copied_count += len(rows)
        seen.more(len(rows))
    if (copied_count, copied.digest()) != (count, digest.digest()):
        raise AuditUnavailable(f"the copy of table {table.name} differs from its source: nothing was copied")
    return Copied(table.name, count, digest.hexdigest())


def _canonical(row: Any) -> bytes:
    values = {key: _text_of(value) for key, value in row.items()}
    return json.dumps(values, sort_keys=True, ensure_ascii=True).encode() + b"\n"


def _text_of(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else value


def _advance_sequence(table: Table, connection: Connection) -> None:
    """PostgreSQL assigns ids by itself, and must continue after those that were copied."""
    if connection.dialect.name != "postgresql" or "id" not in table.columns:
        return
    last = connection.scalar(select(func.max(table.c.id))) or 0
    sequence = func.pg_get_serial_sequence(table.name, "id")
    connection.execute(select(func.setval(sequence, last + 1, False)))


def backup(url: str, path: Path, progress: Progress = unseen) -> None:
    """Makes a consistent copy of a SQLite audit database while the daemon runs.

    Raises:
        SchemaMismatch: the database is not SQLite, or `path` already exists.
        AuditUnavailable: either cannot be read or written.
    """
    location = make_url(url)
    if location.get_backend_name() != "sqlite":
        raise SchemaMismatch(f"{shown_url(url)} is not SQLite: use pg_dump, or `db copy --to sqlite:///PATH`")
    if path.exists():
        raise SchemaMismatch(f"{path} already exists: name a new file")
    with schema.opened_at_head(url, Access.READ) as engine:
        _back_up(engine, path, progress)


def _back_up(engine: Engine, path: Path, progress: Progress) -> None:
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}-{secrets.token_hex(3)}")
    try:
        partial.touch(mode=0o600, exist_ok=False)
        with closing(engine.raw_connection()) as old, closing(sqlite3.connect(partial)) as new:
            driver: Any = old.driver_connection
            driver.backup(new, pages=1000, progress=lambda _, left, pages: progress(pages - left, pages))
            [(verdict,)] = new.execute("PRAGMA integrity_check")
        if verdict != "ok":
            raise AuditUnavailable(f"the backup {path} is damaged ({verdict}): check the disk")
        partial.replace(path)
    except (sqlite3.Error, OSError) as error:
        why = getattr(error, "strerror", None) or error
        raise AuditUnavailable(f"backup {path}: {why}: may this user write there, and is there room?") from None
    finally:
        partial.unlink(missing_ok=True)
