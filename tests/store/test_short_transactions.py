"""Who writes keeps nobody waiting for long: however much there is to write, a transaction writes little of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, func, select

from reconciler.audit.database import SNAPSHOT
from reconciler.audit.requests.resolution_tables import ResolutionRow
from reconciler.audit.statements import WRITTEN_TOGETHER
from reconciler.audit.store import SqlAuditLog
from reconciler.audit.tables import OpenRequestRow
from reconciler.domain.request import NOBODY, Assurance, Requester
from reconciler.ports import History, Resolution, Resolved, Waiting
from tests.builders import REGISTRY, a_request

MANY = 10 * WRITTEN_TOGETHER
NOW = datetime(2026, 1, 2, tzinfo=UTC)
ASKED = [a_request(f"m{number}", NOW) for number in range(MANY)]
WAITS = [Waiting(request, "waiting", "metric is missing") for request in ASKED]
TYPED = [replace(a_request(f"t{number}", NOW), requester=NOBODY, id="") for number in range(MANY)]
MIA = Requester("mia", Assurance.AUTHENTICATED)
ENTRIES = [
    Resolved(number, Resolution.APPROVED, f"m{number}", "1", "Production", MIA, "", NOW, f"id-m{number}", None)
    for number in range(1, MANY + 1)
]


@pytest.fixture
def log(engine: Engine) -> SqlAuditLog:
    return SqlAuditLog(engine, "test:1", REGISTRY)


def test_a_thousand_requests_are_written_down_in_parts(engine: Engine, log: SqlAuditLog) -> None:
    acts: list[Callable[[], object]] = [
        lambda: log.first_seen(TYPED),
        lambda: log.reconcile_open(ASKED, WAITS),
        lambda: log.reconcile_open([], []),
    ]
    for act in acts:
        in_parts(engine, act)
    assert rows_of(engine, OpenRequestRow) == 0


def test_a_thousand_entries_of_a_history_are_kept_in_parts(engine: Engine, log: SqlAuditLog) -> None:
    in_parts(engine, lambda: log.add_history(History(ENTRIES, MANY)))
    assert (rows_of(engine, ResolutionRow), log.history_read_to()) == (MANY, MANY)


def test_what_a_crash_left_unwritten_is_written_next_time(engine: Engine, log: SqlAuditLog) -> None:
    with stopping_after(engine, 3), pytest.raises(KeyboardInterrupt):
        log.reconcile_open(ASKED, WAITS)
    assert rows_of(engine, OpenRequestRow) == 3 * WRITTEN_TOGETHER
    log.reconcile_open(ASKED, WAITS)
    assert rows_of(engine, OpenRequestRow) == MANY
    with stopping_after(engine, 3), pytest.raises(KeyboardInterrupt):
        log.add_history(History(ENTRIES, MANY))
    assert (rows_of(engine, ResolutionRow), log.history_read_to()) == (3 * WRITTEN_TOGETHER, 3 * WRITTEN_TOGETHER)
    log.add_history(History(ENTRIES, MANY))
    assert (rows_of(engine, ResolutionRow), log.history_read_to()) == (MANY, MANY)


def test_who_finds_nothing_to_write_keeps_nobody_waiting(engine: Engine, log: SqlAuditLog) -> None:
    first = log.first_seen(TYPED)
    typed = [request.seen_first(first[request.key].id, first[request.key].at) for request in TYPED]
    log.reconcile_open([*ASKED, *typed], WAITS)
    with transactions(engine) as written:
        log.first_seen(TYPED)
        log.reconcile_open([*ASKED, *typed], WAITS)
        log.reconcile_open([*ASKED, *typed], [], as_before=[request.key for request in ASKED])
    assert written == []


def in_parts(engine: Engine, act: Callable[[], object]) -> None:
    with transactions(engine) as written:
        act()
    assert len(written) >= MANY // WRITTEN_TOGETHER
    assert 0 < max(written) <= 8 * WRITTEN_TOGETHER


def rows_of(engine: Engine, row: Any) -> int | None:
    with engine.connect() as connection:
        return connection.scalar(select(func.count()).select_from(row.__table__))


@contextmanager
def transactions(engine: Engine) -> Iterator[list[int]]:
    """The rows of each transaction that may write, as the driver counts them."""
    written: list[int] = []
    rows: dict[int, int] = {}

    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().get(SNAPSHOT):
            rows[id(connection)] = 0

    def wrote(connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.startswith(("SELECT", "BEGIN")):
            rows[id(connection)] += max(cursor.rowcount, 0)

    def commit(connection: Connection) -> None:
        if id(connection) in rows:
            written.append(rows.pop(id(connection)))

    event.listen(engine, "begin", begin)
    event.listen(engine, "after_cursor_execute", wrote)
    event.listen(engine, "commit", commit)
    yield written
    event.remove(engine, "begin", begin)
    event.remove(engine, "after_cursor_execute", wrote)
    event.remove(engine, "commit", commit)


@contextmanager
def stopping_after(engine: Engine, many: int) -> Iterator[None]:
    """The process ends as the transaction begins that would write next."""
    left = [many]

    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().get(SNAPSHOT):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

    event.listen(engine, "begin", begin)
    try:
        yield
    finally:
        event.remove(engine, "begin", begin)
