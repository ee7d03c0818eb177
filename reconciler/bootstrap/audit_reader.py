"""The configured audit database, opened for reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.audit import schema
from reconciler.audit.database import Access
from reconciler.audit.reader import AuditReader
from reconciler.settings.model import Settings


@contextmanager
def audit_reader(settings: Settings) -> Iterator[AuditReader]:
    with schema.opened_at_head(settings.audit.url.get_secret_value(), Access.READ) as engine:
        yield AuditReader(engine)
