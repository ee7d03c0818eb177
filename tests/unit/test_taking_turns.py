"""Which of many requests that wait are judged in a pass: over a registry with people in it and a real audit log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, CycleSummary, PolicyInForce, waiting
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from tests.fake_registry import FakeRegistry

BUDGET, WAITING = 5, 12
POLICY = """\
version: 1
rules:
  - name: accuracy
    targets: [Production]
    require: [{metric: validation_accuracy, min: 0.9, on_missing: abstain}]
"""


class Bench:
    """Twelve requests that wait for a metric, where a pass judges five of them, and a daemon."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.registry = FakeRegistry()
        self.registry.on_evidence = lambda wanted: self.read.extend(listed.request.version for listed, _ in wanted)
        self.read: list[str] = []
        self.policy("")
        self.cycles = self.daemon("test:1")
        for number in range(WAITING):
            self.registry.file("fraud", str(number), accuracy="")

    def daemon(self, holder: str, *, everything_is_due: bool = False) -> Cycle:
        log = SqlAuditLog(self.engine, holder, self.registry.uri)
        return Cycle(self.registry, log, everything_is_due=everything_is_due)

    def policy(self, comment: str) -> None:
        loaded = parse_policy(POLICY + comment, "policy.yaml")
        self.in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)

    def cycle(self, mode: Mode = Mode.ENFORCE, by: Cycle | None = None) -> CycleSummary:
        self.read.clear()
        return (by or self.cycles).run(self.in_force, mode)

    def waits_for(self) -> Counter[str]:
        with self.engine.connect() as connection:
            details = connection.scalars(text("SELECT waiting_detail FROM open_requests"))
            return Counter(details)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(waiting, "WAITING_READ_TOGETHER", BUDGET)
    schema.upgrade(url := f"sqlite:///{tmp_path}/audit.db")
    bench = Bench(make_engine(url))
    assert bench.cycle().abstentions == {"missing": WAITING}
    assert len(bench.read) == WAITING
    yield bench
    bench.engine.dispose()


def test_those_beyond_the_budget_take_turns_and_are_shown_and_counted_as_before(bench: Bench) -> None:
    shown = bench.waits_for()
    read: list[str] = []
    for _ in range(3):
        assert bench.cycle().abstentions == {"missing": WAITING}
        assert len(bench.read) == BUDGET
        assert bench.waits_for() == shown
        read += bench.read
    assert set(read) == {str(number) for number in range(WAITING)}


def test_up_to_the_budget_each_pass_judges_all(bench: Bench) -> None:
    for place in list(bench.registry.requests)[BUDGET:]:
        bench.registry.withdraw(bench.registry.requests[place])
    for _ in range(3):
        assert bench.cycle().abstentions == {"missing": BUDGET}
        assert len(bench.read) == BUDGET


def test_a_metric_that_is_logged_is_found_within_a_turn(bench: Bench) -> None:
    for number in range(WAITING):
        bench.registry.accuracy["fraud", str(number)] = "0.95"
    approved = [bench.cycle().verdicts["approved"] for _ in range(3)]
    assert sum(approved) == WAITING
    assert not bench.registry.requests


def test_a_new_request_is_judged_at_once(bench: Bench) -> None:
    bench.registry.file("fraud", "new", accuracy="0.95")
    assert bench.cycle().verdicts == {"approved": 1}
    assert len(bench.read) == BUDGET


def test_what_the_list_shows_of_a_version_triggers_at_once(bench: Bench) -> None:
    for number in range(WAITING - BUDGET, WAITING):
        bench.registry.stages["fraud", str(number)] = "Staging"
    bench.cycle()
    assert sorted(bench.read) == sorted(str(number) for number in range(WAITING - BUDGET, WAITING))


def test_another_policy_or_mode_judges_all_at_once(bench: Bench) -> None:
    bench.policy("# another text\n")
    bench.cycle()
    assert len(bench.read) == WAITING
    bench.cycle(Mode.OBSERVE)
    assert len(bench.read) == WAITING


def test_once_judges_all(bench: Bench) -> None:
    once = bench.daemon("test:2", everything_is_due=True)
    for _ in range(2):
        bench.cycle(by=once)
        assert len(bench.read) == WAITING


def test_what_cannot_be_read_is_set_aside_and_tried_again_by_its_own_clock(bench: Bench) -> None:
    bench.registry.unreadable.add("fraud")
    assert bench.cycle().in_error == BUDGET
    assert bench.cycle().in_error == BUDGET
    bench.registry.unreadable.clear()
    with bench.engine.begin() as connection:
        connection.execute(text("UPDATE open_requests SET next_attempt_at = NULL"))
    bench.cycle()
    assert bench.cycle().abstentions == {"missing": WAITING}


def test_two_daemons_do_not_write_over_what_the_other_found(bench: Bench, tmp_path: Path) -> None:
    other = bench.daemon("test:2")
    bench.cycle(by=other)
    with bench.engine.begin() as connection:
        connection.execute(text("UPDATE open_requests SET waiting_detail = 'found by the other'"))
    bench.cycle()
    assert bench.waits_for()["found by the other"] == WAITING - BUDGET


def test_the_memory_of_a_daemon_is_no_longer_than_the_list(bench: Bench) -> None:
    assert len(bench.cycles._abstained) == WAITING
    for request in list(bench.registry.requests.values()):
        bench.registry.withdraw(request)
    bench.cycle()
    assert len(bench.cycles._abstained) == 0


def test_a_request_that_comes_back_after_it_was_withdrawn_is_judged_at_once(bench: Bench) -> None:
    place, request = next(reversed(bench.registry.requests.items()))
    bench.registry.withdraw(request)
    bench.cycle()
    bench.registry.requests[place] = request
    bench.cycle()
    assert request.version in bench.read


def test_the_oldest_look_is_the_first_to_be_taken_again(bench: Bench) -> None:
    looks: dict[str, int] = {}
    for now in range(4 * WAITING):
        bench.cycle()
        assert all(now - looks.get(version, now) <= 3 for version in bench.read)
        looks |= dict.fromkeys(bench.read, now)
    assert len(looks) == WAITING
