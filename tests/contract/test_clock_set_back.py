"""A registry's clock that was ahead and is set back, on real servers of two releases: what moves since is seen anyway.

Made by dating a change in MLflow's own database a day ahead. Triggers there tell what was held.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from reconciler.audit.holding.bypasses import holding
from reconciler.audit.store import SqlAuditLog
from reconciler.cli.shown.status_holding import show_holding
from reconciler.cycle import Cycle, Times
from reconciler.domain.holding.looks import Kind, Wanted
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.looking import Looking
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Transport
from tests.contract.test_tenures_at_random import History, Place, place

__all__ = ["place"]
DAY_MS = 24 * 3600 * 1000


class Ahead(History):
    """A registry whose newest change is dated a day ahead, and a daemon that looks at everything once an hour."""

    def __init__(self, place: Place, directory: Path) -> None:
        super().__init__(place, directory)
        self.transport = Transport(Endpoint(place.uri))
        registry = TagsRegistry(place.uri, "", self.transport, self.transport, timedelta(seconds=2))
        log = SqlAuditLog(self.engine, "test:1", place.uri)
        self.cycles = Cycle(registry, log, times=Times(full_look=timedelta(hours=1)))
        [self.who] = [one for one in self.people if one.target == "Production"]
        self.who.begin()
        self.date_ahead()
        self.cycle()
        self.cycle()

    def date_ahead(self) -> None:
        self.who._stage("2", "Staging")
        with closing(sqlite3.connect(self.place.database, timeout=30)) as connection:
            later = f"last_updated_time = last_updated_time + {DAY_MS}"
            where = f"name = '{self.who.name}' AND version = 2"
            connection.execute(f"UPDATE model_versions SET {later} WHERE {where}")
            connection.commit()

    def tenures(self) -> list[tuple[Any, ...]]:
        query = (
            "SELECT version, began_by, last_seen_without, first_seen_with FROM tenures "
            "WHERE model = :model ORDER BY tenure_id"
        )
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query), {"model": self.who.name})]


@pytest.fixture
def ahead(place: Place, tmp_path: Path) -> Iterator[Ahead]:
    ahead = Ahead(place, tmp_path)
    yield ahead
    ahead.engine.dispose()
    # Other tests share the server.
    with closing(sqlite3.connect(place.database, timeout=30)) as connection:
        connection.execute(f"UPDATE model_versions SET last_updated_time = last_updated_time - {DAY_MS} "
                           f"WHERE last_updated_time > {time.time() * 1000 + DAY_MS / 2}")  # fmt: skip
        connection.commit()


def test_a_move_by_hand_is_seen_in_the_next_look_and_its_bounds_are_true(ahead: Ahead) -> None:
    before = datetime.now(UTC).isoformat()
    ahead.who.move()
    after = datetime.now(UTC).isoformat()
    ahead.cycle()
    [(version, _, without, first)] = ahead.tenures()
    ahead.cycle()
    assert [row[:2] for row in ahead.tenures()] == [(version, "bypass")]
    assert without[:23] <= before[:23] <= after[:23] <= first[:23]
    moved = ahead.place.rows(f"SELECT version, held FROM witness WHERE name = '{ahead.who.name}' AND held = 1")
    assert [(str(moved_to), held) for moved_to, held in moved] == [(version, 1)]


def test_what_a_decision_moves_is_held_by_that_decision(ahead: Ahead) -> None:
    ahead.who.ask("1")
    for _ in range(3):
        ahead.cycle()
    assert [row[:2] for row in ahead.tenures()] == [("1", "decision")]


def test_status_says_that_changes_are_dated_ahead(ahead: Ahead, capsys: pytest.CaptureFixture[str]) -> None:
    with ahead.engine.connect() as connection:
        show_holding(holding(connection), None)
    said = r"the registry dates its newest change (1d|23h 59m) in the future: its clock was set back, or is ahead"
    assert re.search(said, capsys.readouterr().out)


def test_where_there_is_no_time_for_all_changes_only_a_whole_round_counts(ahead: Ahead) -> None:
    looking = Looking(ahead.transport, timedelta(0))
    scope = ahead.policy.policy.scope()
    now = round(time.time() * 1000)
    wanted = Wanted(scope, now + DAY_MS, timedelta(days=2), everything=False)
    first, look = looking.look(wanted), looking.look(wanted)
    # One page has all there is, the versions of this test among it, and another what is disguised as a prompt.
    assert ahead.who.name in {seen.model for seen in first.versions}
    assert Kind.STAGES not in first.as_of
    assert {kind.kind for kind in look.rounds} >= {Kind.STAGES}
    assert look.as_of[Kind.STAGES] > timedelta()
    assert looking.look(Wanted(scope, now, timedelta(seconds=1), everything=False)).as_of[Kind.STAGES] == timedelta()
