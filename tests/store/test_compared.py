"""What holds the target is a baseline: as it was approved, as it is right before the act, and as it is kept."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, CycleSummary, PolicyInForce, Times
from reconciler.domain.decision import Mode
from reconciler.domain.evidence.redacted import evidence_shown
from reconciler.domain.request import Request
from reconciler.domain.target import Target
from reconciler.judging import judge_again
from reconciler.policy.file import parse_policy
from reconciler.ports import Unavailable
from tests.fake_registry import FakeRegistry, raising

CHAMPION = Target.parse("@champion")
COMPARE = "compare: validation_accuracy, min_absolute_change: 0.01, greater_is_better: true"


class Bench:
    """Replicas of one daemon, and a registry in which a person moves versions."""

    def __init__(self, engine: Engine) -> None:
        self.registry = FakeRegistry()
        self.engine = engine
        self.daemon = self.replica("test:1")
        self.govern("if_no_holder: pass")

    def govern(self, keys: str) -> None:
        self.require(f"{COMPARE}, {keys}")

    def require(self, check: str) -> None:
        rule = f"  - name: r\n    targets: ['@champion', Production]\n    require: [{{{check}}}]\n"
        loaded = parse_policy(f"version: 1\nrules:\n{rule}", "policy.yaml")
        self.in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)

    def replica(self, name: str) -> Cycle:
        log = SqlAuditLog(self.engine, name, self.registry.uri)
        return Cycle(self.registry, log, times=Times(full_look=timedelta(0)))

    def run(self, by: Cycle | None = None, mode: Mode = Mode.ENFORCE) -> CycleSummary:
        return (by or self.daemon).run(self.in_force, mode)

    def ask(self, version: str, accuracy: str, target: str = "@champion") -> Request:
        return self.registry.file("fraud", version, target, accuracy=accuracy)

    def move(self, version: str, accuracy: str) -> None:
        """As whoever may set aliases does."""
        self.registry.accuracy["fraud", version] = accuracy
        self.registry.holders["fraud", CHAMPION] = version

    def champion(self) -> str | None:
        return self.registry.holders.get(("fraud", CHAMPION))

    def decided(self) -> list[dict[str, Any]]:
        """Whole, the oldest first."""
        reader = AuditReader(self.engine)
        rows = [reader.decision(row["decision_id"]) for row in reader.decisions(DecisionFilter())]
        return sorted(rows, key=lambda row: (row["decided_at"], row["version"], row["judgement"]))

    def said(self) -> list[tuple[str, str, str | None]]:
        return [(row["version"], row["verdict"], row["outcome"]) for row in self.decided()]


@pytest.fixture
def bench(engine: Engine) -> Bench:
    return Bench(engine)


def holder_in(decision: dict[str, Any]) -> tuple[str, str, str]:
    held = decision["evidence"]["holder"]
    return held["version"], held["run"]["metrics"]["validation_accuracy"]["text"], held["arrival"]["began_by"]


def test_each_is_compared_with_what_was_approved_before_it_and_that_is_kept(bench: Bench) -> None:
    for version, accuracy in (("1", "0.80"), ("2", "0.90"), ("3", "0.905")):
        bench.ask(version, accuracy)
        bench.run()
    assert bench.said() == [("1", "approve", "applied"), ("2", "approve", "applied"), ("3", "reject", "applied")]
    first, second, third = bench.decided()
    assert first["evidence"]["holder"]["code"] == "no_holder"
    assert (holder_in(second), holder_in(third)) == (("1", "0.80", "decision"), ("2", "0.90", "decision"))
    assert bench.champion() == "2"


def test_a_decision_is_judged_again_from_what_is_stored_to_the_same_verdict(bench: Bench) -> None:
    bench.move("1", "0.80")
    bench.run()
    bench.ask("2", "0.90")
    bench.run()
    [decision] = bench.decided()
    evidence = evidence_shown(decision["evidence"])
    request = Request.from_data(dict(decision["request"]))
    policy = parse_policy(
        decision["policy"]["text"] if isinstance(decision["policy"], dict) else decision["policy"], "p"
    )
    again = judge_again(decision["engine"], policy.policy, request, evidence)
    assert (str(again.kind), again.reason) == (decision["verdict"], decision["reason"])


def test_of_two_that_ask_at_once_the_second_must_be_better_than_the_first(bench: Bench) -> None:
    bench.move("1", "0.80")
    bench.run()
    bench.ask("2", "0.90")
    bench.ask("3", "0.85")
    bench.run()
    assert bench.said() == [("2", "approve", "applied"), ("3", "approve", "lapsed"), ("3", "reject", "applied")]
    assert bench.champion() == "2"
    assert holder_in(bench.decided()[-1]) == ("2", "0.90", "decision")


def test_so_it_must_in_a_stage_that_both_may_hold(bench: Bench) -> None:
    bench.ask("1", "0.80", "Production")
    bench.run()
    bench.ask("2", "0.90", "Production")
    bench.ask("3", "0.85", "Production")
    bench.run()
    assert bench.said()[1:] == [("2", "approve", "applied"), ("3", "approve", "lapsed"), ("3", "reject", "applied")]


def test_who_moves_the_target_to_and_fro_keeps_no_pass_at_one_request(bench: Bench) -> None:
    for version, accuracy in (("0", "0.50"), ("1", "0.95")):
        bench.ask(version, accuracy)
        bench.run()
    bench.ask("2", "0.90")
    held_now, reads = bench.registry.held_now, itertools.count()

    def moved_before_each_reading(asked: Any, *, all_of: bool = False) -> Any:
        bench.move(*(("1", "0.95") if next(reads) % 2 else ("0", "0.50")))
        return held_now(asked, all_of=all_of)

    bench.registry.held_now = moved_before_each_reading  # type: ignore[method-assign]
    bench.run()
    assert bench.said()[2:] == [("2", "approve", "lapsed"), ("2", "reject", "applied")]
    assert next(reads) == 2


def moving_before_the_act(bench: Bench, version: str, accuracy: str) -> None:
    """A person moves the alias after the request was judged and before anything is done about it."""
    operations = bench.registry.operations
    # The list, what holds the target, the evidence; then it is read again.
    bench.registry.before[operations + 4] = lambda: bench.move(version, accuracy)


def test_a_holder_that_was_moved_between_judging_and_acting_is_seen_before_the_act(bench: Bench) -> None:
    bench.move("1", "0.80")
    bench.run()
    bench.ask("2", "0.90")
    moving_before_the_act(bench, "9", "0.10")
    bench.run()
    # Nobody is known to have approved the other one: nothing is decided, and nothing is moved.
    assert (bench.said(), bench.champion()) == ([("2", "approve", "lapsed")], "9")
    for _ in range(3):
        bench.run()
    assert (bench.said(), bench.champion()) == ([("2", "approve", "lapsed")], "9")
    # Where the policy takes whatever is there, it is compared with that.
    bench.govern("if_no_holder: pass, bypassed_holder: allow")
    bench.run()
    assert bench.said()[1:] == [("2", "approve", "applied")]
    assert holder_in(bench.decided()[-1]) == ("9", "0.10", "bypass")


def test_a_better_holder_that_an_approval_brings_in_between_turns_the_approval_into_a_rejection(bench: Bench) -> None:
    bench.move("1", "0.80")
    bench.run()
    bench.ask("9", "0.95")
    bench.run()
    bench.move("1", "0.80")
    bench.run()
    bench.ask("2", "0.90")
    # Back to what was approved before.
    moving_before_the_act(bench, "9", "0.95")
    bench.run()
    assert bench.said()[1:] == [("2", "approve", "lapsed"), ("2", "reject", "applied")]
    assert bench.champion() == "9"


def test_a_rejection_that_was_not_acted_on_is_judged_again_at_once_when_the_holder_changed(bench: Bench) -> None:
    for version, accuracy in (("0", "0.50"), ("1", "0.95")):
        bench.ask(version, accuracy)
        bench.run()
    bench.ask("2", "0.90")
    for _ in range(3):
        bench.run(mode=Mode.APPROVE_ONLY)
    assert bench.said()[2:] == [("2", "reject", "observed")]
    # Back to what was approved before: the next look sees it, long before the request's turn comes by itself.
    bench.move("0", "0.50")
    bench.run(mode=Mode.APPROVE_ONLY)
    assert bench.said()[2:] == [("2", "reject", "observed"), ("2", "approve", "applied")]
    assert bench.champion() == "2"


def test_what_holds_the_target_and_could_not_be_read_decides_nothing(bench: Bench) -> None:
    bench.move("1", "0.80")
    bench.run()
    bench.ask("2", "0.90")
    bench.registry.before[bench.registry.operations + 2] = raising(Unavailable("gateway timeout"))
    assert bench.run().verdicts == {}
    assert bench.said() == []
    bench.run()
    assert bench.said() == [("2", "approve", "applied")]


def test_replicas_compare_with_the_same_holder_whoever_looks(bench: Bench) -> None:
    other = bench.replica("test:2")
    bench.move("1", "0.80")
    bench.run()
    bench.run(other)
    for version, accuracy, by in (("2", "0.90", other), ("3", "0.92", bench.daemon), ("4", "0.925", other)):
        bench.ask(version, accuracy)
        bench.run(by)
    assert bench.said() == [("2", "approve", "applied"), ("3", "approve", "applied"), ("4", "reject", "applied")]


def test_nothing_is_read_of_holders_where_no_rule_compares(bench: Bench) -> None:
    bench.require("metric: validation_accuracy, min: 0.5")
    bench.registry.held_now = None  # type: ignore[method-assign, assignment]
    bench.ask("2", "0.90")
    bench.run()
    assert "holder" not in bench.decided()[0]["evidence"]
