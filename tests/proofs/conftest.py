from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from reconciler.audit import schema
from reconciler.audit.database import make_engine


@pytest.fixture
def engine(audit_url: str) -> Iterator[Engine]:
    """A database of today's schema, on SQLite and on PostgreSQL."""
    schema.upgrade(audit_url)
    engine = make_engine(audit_url)
    yield engine
    engine.dispose()
