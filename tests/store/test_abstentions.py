"""When and why requests waited: read from the views as an auditor reads them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from bench.costs import statements
from reconciler.audit.requests import open_requests
from reconciler.audit.statements import WRITTEN_TOGETHER
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from tests.fake_registry import FakeRegistry
from tests.store.database_clock import DatabaseClock

POLICY = """\
version: 1
rules:
  - name: accuracy
    models: [fraud]
    targets: [Production]
    require: [{metric: validation_accuracy, min: 0.9, on_missing: abstain}]
"""
MINUTE = timedelta(minutes=1)


class Bench:
    """A registry with people in it, a daemon, and a database whose clock the test sets."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = DatabaseClock(engine)
        self.registry = FakeRegistry()
        loaded = parse_policy(POLICY, "policy.yaml")
        self.in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
        self.daemon = self.another("test:1")

    def another(self, name: str) -> Cycle:
        return Cycle(self.registry, SqlAuditLog(self.engine, name, self.registry.uri), everything_is_due=True)

    def cycle(self, mode: Mode = Mode.ENFORCE, by: Cycle | None = None) -> None:
        self.clock.passes(MINUTE)
        assert (by or self.daemon).run(self.in_force, mode).unavailable is None

    def cycles(self, many: int) -> None:
        for _ in range(many):
            self.cycle()

    def rows(self, query: str) -> Sequence[Any]:
        """Read by a connection that is not the product's."""
        auditor = create_engine(self.engine.url)
        with auditor.connect() as connection:
            found = connection.execute(text(query)).all()
        auditor.dispose()
        return found

    def waited(self) -> list[tuple[str, str | None, int | None]]:
        """For what, what ended it, and after how many minutes, the first first."""
        query = "SELECT code, ended_by, seconds FROM waiting_periods ORDER BY began_at, request_key"
        return [
            (row.code, row.ended_by, None if row.seconds is None else round(row.seconds / 60))
            for row in self.rows(query)
        ]

    def count(self) -> int:
        return int(self.rows("SELECT count(*) FROM abstentions")[0][0])


@pytest.fixture
def bench(engine: Engine) -> Bench:
    return Bench(engine)


def test_a_request_waits_from_its_first_cycle_until_it_is_decided(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="")
    bench.cycles(5)
    assert bench.waited() == [("missing", None, None)]
    bench.registry.accuracy["fraud", "1"] = "0.95"
    bench.cycle()
    assert bench.waited() == [("missing", "decided", 5)]
    bench.cycles(2)
    assert bench.count() == 2


def test_waiting_is_kept_when_the_request_is_withdrawn(bench: Bench) -> None:
    request = bench.registry.file("fraud", "1", accuracy="")
    bench.cycles(3)
    bench.registry.withdraw(request)
    bench.cycle()
    assert bench.waited() == [("missing", "gone", 3)]
    row = bench.rows("SELECT model, version, target, requester, detail FROM waiting_periods")[0]
    assert tuple(row)[:4] == ("fraud", "1", "Production", "ada")
    assert "validation_accuracy" in row.detail


def test_a_request_that_comes_back_waits_anew(bench: Bench) -> None:
    request = bench.registry.file("fraud", "1", accuracy="")
    place = request.model, request.version, request.target
    bench.cycle()
    bench.registry.withdraw(request)
    bench.cycle()
    bench.registry.requests[place] = request
    bench.cycle()
    assert bench.waited() == [("missing", "gone", 1), ("missing", None, None)]


def test_another_reason_ends_the_first_and_begins_its_own(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="")
    bench.cycles(2)
    bench.registry.unreadable.add("fraud")
    bench.cycles(3)
    bench.registry.unreadable.clear()
    bench.cycles(1)
    assert bench.waited() == [("missing", "waits", 2), ("unreadable", "waits", 3), ("missing", None, None)]


def test_what_no_rule_covers_waits_too(bench: Bench) -> None:
    bench.registry.file("churn", "1")
    bench.cycles(2)
    assert bench.waited() == [("no_policy", None, None)]


def test_what_is_decided_in_its_first_cycle_never_waited(bench: Bench) -> None:
    bench.registry.file("fraud", "1")
    bench.cycles(2)
    assert bench.count() == 0


def test_in_observe_a_decided_request_waits_no_longer_although_it_stays_open(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="")
    bench.cycle(Mode.OBSERVE)
    bench.registry.accuracy["fraud", "1"] = "0.5"
    bench.cycle(Mode.OBSERVE)
    bench.registry.unreadable.add("fraud")
    bench.cycle(Mode.OBSERVE)
    assert bench.waited() == [("missing", "decided", 1)]


def test_a_list_that_could_not_be_read_ends_nothing(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="")
    bench.cycle()
    bench.registry.unlisted["Production"] = "403"
    bench.clock.passes(MINUTE)
    bench.daemon.run(bench.in_force, Mode.ENFORCE)
    assert bench.waited() == [("missing", None, None)]


def test_working_state_that_was_lost_repeats_nothing(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="")
    bench.cycles(2)
    with bench.engine.begin() as connection:
        connection.execute(text("DELETE FROM open_requests"))
    bench.cycles(2)
    assert bench.count() == 1


def test_two_daemons_say_it_once(bench: Bench) -> None:
    other = bench.another("test:2")
    bench.registry.file("fraud", "1", accuracy="")
    bench.cycle()
    bench.cycle(by=other)
    assert bench.count() == 1


def test_what_two_daemons_find_at_once_is_said_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one has read the picture before the first has written it."""
    if bench.engine.dialect.name == "sqlite":
        pytest.skip("a SQLite file has one writer at a time")
    other, before = bench.another("test:2"), open_requests.chunks
    bench.registry.file("fraud", "1", accuracy="")

    def first_the_other(places: Collection[str], *size: int) -> Any:
        if size:
            monkeypatch.undo()
            assert other.run(bench.in_force, Mode.ENFORCE).unavailable is None
        return before(places, *size)

    monkeypatch.setattr(open_requests, "chunks", first_the_other)
    bench.cycle()
    assert bench.count() == 1


def test_how_long_it_took_is_told_apart_for_typed_and_dated_requests(bench: Bench) -> None:
    bench.registry.file("fraud", "1")
    bench.cycle()
    rows = bench.rows("SELECT requested_at_is, seconds FROM decision_times")
    assert [row.requested_at_is for row in rows] == ["stated"]
    assert rows[0].seconds > 0


def test_hundreds_that_wait_are_written_by_a_statement_for_each_hundred(bench: Bench) -> None:
    def waits(many: int) -> int:
        for number in range(many):
            bench.registry.file("churn", f"{bench.registry.filed}-{number}")
        written = statements(bench.engine, bench.cycle)
        return sum(sent.startswith("INSERT INTO abstentions") for sent, _ in written)

    assert waits(2) == 1
    assert waits(400) == 400 // WRITTEN_TOGETHER


@pytest.mark.parametrize("decided", [True, False], ids=["decided", "gone"])
def test_waiting_ends_though_a_daemon_stopped_between_its_list_and_its_judgement(bench: Bench, decided: bool) -> None:
    request = bench.registry.file("fraud", "1", accuracy="")
    bench.cycle()
    listed = bench.registry.operations
    log = SqlAuditLog(bench.engine, "test:1", bench.registry.uri)
    bench.cycle(by=Cycle(bench.registry, log, stop=lambda: bench.registry.operations > listed))
    if decided:
        bench.registry.accuracy["fraud", "1"] = "0.95"
    else:
        bench.registry.withdraw(request)
    bench.cycle(by=bench.another("test:2"))
    assert bench.waited() == [("missing", "decided" if decided else "gone", 2)]
