"""Times at the ends of the calendar, which any request may give, whatever PostgreSQL is set to."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, create_engine, text

from reconciler.audit.log.verifying import verify
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle
from reconciler.domain.decision import Mode
from tests.builders import REGISTRY
from tests.fake_registry import FakeRegistry
from tests.store.test_hiding import on_postgresql
from tests.store.test_log import IN_FORCE, decide, without_triggers

FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@on_postgresql
@pytest.mark.parametrize(
    "setting",
    ["timezone = 'Europe/Berlin'", "timezone = 'America/New_York'", "datestyle = 'German, DMY'"],
)
def test_a_request_of_any_time_stops_no_daemon(engine: Engine, setting: str) -> None:
    stranger = create_engine(engine.url)
    with stranger.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {engine.url.database} SET {setting}"))
    stranger.dispose()
    engine.dispose()
    registry = FakeRegistry()
    for number, at in enumerate((FIRST, LAST), 1):
        request = replace(registry.file("fraud", str(number)), requested_at=at)
        registry.requests[request.model, request.version, request.target] = request
    Cycle(registry, SqlAuditLog(engine, "test:1", REGISTRY)).run(IN_FORCE, Mode.ENFORCE)
    with engine.connect() as connection:
        query = "SELECT requested_at AT TIME ZONE 'UTC' = '{0}' FROM decisions WHERE version = '{1}'"
        assert connection.scalar(text(query.format("0001-01-01 00:00:00", 1))) is True
        assert connection.scalar(text(query.format("9999-12-31 23:59:59", 2))) is True
    assert not verify(engine).differences


@on_postgresql
@pytest.mark.parametrize("at", ["infinity", "-infinity", "20000-01-01", "0044-03-15 BC"])
def test_a_time_that_is_none_to_python_is_named(engine: Engine, at: str) -> None:
    decide(engine, 1)
    without_triggers(engine, "outcomes")
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE outcomes SET at = '{at}'"))
    [told] = verify(engine).differences
    assert told.startswith("outcomes 1 (entry 4 of the log): the row was changed")
