"""Rows that are read column by column are those that are read one by one, whatever stands in their cells."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, text

from reconciler.audit.database import any_bytes, one_state
from reconciler.audit.log.canonical import Damaged
from reconciler.audit.reporting import Asked, Reading
from reconciler.audit.streaming import Typed, typed
from reconciler.audit.tables import PauseEventRow
from reconciler.cli.shown.columns import for_machines
from reconciler.domain.times import iso
from tests.store.test_log import without_triggers

MANY = 1_700
BEGIN = datetime.fromisoformat("2026-01-01T00:00:00+00:00")


@dataclass(frozen=True, slots=True)
class Pause:
    """In another order than the query's columns."""

    person: str
    at: datetime
    action: str
    reason: str


@pytest.fixture
def pauses(engine: Engine) -> Engine:
    with engine.begin() as connection:
        rows = [
            {"at": BEGIN.replace(minute=number % 60), "action": "pause", "reason": f"é {number}", "person": "ada"}
            for number in range(MANY)
        ]
        connection.execute(insert(PauseEventRow), rows)
    return engine


def asked(engine: Engine) -> Iterator[Typed[Pause]]:
    with one_state(engine) as connection, any_bytes(connection):
        row = PauseEventRow
        query = select(row.reason, row.at, row.person, row.action).order_by(row.id)
        yield typed(Pause, Reading(connection, Asked()).rows(query))


def by_column(engine: Engine) -> list[tuple[Any, ...]]:
    [parts] = [list(one.by_column()) for one in asked(engine)]
    return list(chain.from_iterable(zip(*part, strict=True) for part in parts))


def one_by_one(engine: Engine) -> list[tuple[Any, ...]]:
    [rows] = [list(one) for one in asked(engine)]
    return [(row.person, iso(row.at), row.action, row.reason) for row in rows]


def test_times_are_texts_and_all_else_is_the_same(pauses: Engine) -> None:
    found = by_column(pauses)
    assert len(found) == MANY
    assert found == one_by_one(pauses)


def change(engine: Engine, statement: str) -> None:
    without_triggers(engine, "pause_events")
    with closing(sqlite3.connect(str(engine.url.database))) as owner, owner:
        owner.execute(statement)


@pytest.mark.parametrize("audit_url", ["sqlite"], indirect=True)
def test_a_text_that_is_none_ends_nothing_and_no_row_is_read_twice(pauses: Engine) -> None:
    """The rows before it in its part were read already when it is met."""
    change(pauses, "UPDATE pause_events SET reason = CAST(X'61FF62' AS TEXT) WHERE id = 700")
    found = by_column(pauses)
    assert found == one_by_one(pauses)
    assert [row[3] for row in found if isinstance(row[3], bytes)] == [b"a\xffb"]
    assert for_machines(b"a\xffb") == "a�b"


@pytest.mark.parametrize("audit_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "cell", ["'2026-01-01 00:00:00.000Z'", "'2026-02-30T00:00:00.000Z'", "''", "12", "X'00'", "CAST(X'FF' AS TEXT)"]
)
def test_a_time_that_is_none_is_damage_in_both_ways(pauses: Engine, cell: str) -> None:
    change(pauses, f"UPDATE pause_events SET at = {cell} WHERE id = 900")
    for way in (by_column, one_by_one):
        with pytest.raises(Damaged, match="time"):
            way(pauses)


def test_a_database_that_fails_is_told_as_such(pauses: Engine) -> None:
    with one_state(pauses) as connection:
        query = select(PauseEventRow.__table__).where(text("no_such_column = 1"))
        with pytest.raises(Exception, match="no_such_column"):
            list(typed(Pause, Reading(connection, Asked()).rows(query)).by_column())
