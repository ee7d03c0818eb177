"""The configured audit database, opened for reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from reconciler.audit import schema
from reconciler.audit.database import Access, any_bytes, audit_errors, one_state
from reconciler.audit.reader import AuditReader
from reconciler.settings.model import Settings


@contextmanager
def audit_reader(settings: Settings) -> Iterator[AuditReader]:
    with schema.opened_at_head(settings.audit.url.get_secret_value(), Access.READ) as engine:
        yield AuditReader(engine)


@contextmanager
def audit_snapshot(settings: Settings) -> Iterator[Connection]:
    """One state of it, however many statements read it."""
    opened = schema.opened_at_head(settings.audit.url.get_secret_value(), Access.READ)
    with opened as engine, audit_errors(engine), one_state(engine) as connection, any_bytes(connection):
        yield connection
