"""The cycle over a registry with people in it and the real audit log on SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, CycleSummary, Event, PolicyInForce, retry_after
from reconciler.domain.decision import Mode
from reconciler.domain.weight import Weight
from reconciler.policy.file import parse_policy
from reconciler.ports import Invalid, NotFound, Refused, Unavailable
from tests.fake_registry import FakeRegistry, raising, retyped

POLICY = """\
version: 1
rules:
  - name: production-accuracy
    models: ["fraud*", "churn*"]
    targets: [Production, Staging]
    require:
      - metric: validation_accuracy
        min: 0.90
"""


class Bench:
    """One registry, one audit database, and cycles over them."""

    def __init__(self, url: str) -> None:
        self.registry = FakeRegistry()
        self.engine = make_engine(url)
        self.audit = SqlAuditLog(self.engine, "test:1", self.registry.uri)
        loaded = parse_policy(POLICY, "policy.yaml")
        self.policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
        self.weighed: list[tuple[str, Weight]] = []

    def cycle(self, mode: Mode = Mode.ENFORCE, stop: Callable[[], bool] = lambda: False) -> CycleSummary:
        cycle = Cycle(self.registry, self.audit, stop=stop, on_event=self._hear, everything_is_due=True)
        return cycle.run(self.policy, mode)

    def _hear(self, event: Event) -> None:
        self.weighed.append((event.text, event.weight))

    @property
    def told(self) -> list[str]:
        return [text for text, _ in self.weighed]

    def shown_open(self) -> list[str]:
        with self.engine.begin() as connection:
            return list(connection.scalars(text("SELECT model FROM open_requests ORDER BY model")))

    def decisions(self) -> list[tuple[str, str, str | None]]:
        rows = AuditReader(self.engine).decisions(DecisionFilter(), None)
        return sorted((row["model"], row["verdict"], row["outcome"]) for row in rows)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    bench = Bench(url)
    yield bench
    bench.engine.dispose()


def test_a_good_version_is_approved_and_a_bad_one_rejected(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.95")
    bench.registry.file("churn", "2", accuracy="0.85")
    summary = bench.cycle()
    assert bench.decisions() == [("churn", "reject", "applied"), ("fraud", "approve", "applied")]
    assert list(bench.registry.holders.values()) == ["1"]
    assert bench.registry.requests == {}
    assert summary.ok


def test_observe_records_and_touches_nothing(bench: Bench) -> None:
    bench.registry.file("fraud", "1")
    bench.cycle(Mode.OBSERVE)
    assert bench.registry.writes == []
    assert bench.decisions() == [("fraud", "approve", "observed")]


def test_a_request_watched_in_observe_is_acted_on_when_the_mode_becomes_enforce(bench: Bench) -> None:
    bench.registry.file("fraud", "1")
    bench.cycle(Mode.OBSERVE)
    bench.cycle(Mode.OBSERVE)
    bench.cycle(Mode.ENFORCE)
    assert bench.decisions() == [("fraud", "approve", "applied"), ("fraud", "approve", "observed")]


def test_approve_only_leaves_a_failing_request_to_a_person(bench: Bench) -> None:
    bench.registry.file("churn", "1", accuracy="0.5")
    bench.cycle(Mode.APPROVE_ONLY)
    assert bench.registry.writes == []
    assert len(bench.registry.requests) == 1


def test_a_model_that_no_rule_covers_is_left_alone_visibly(bench: Bench) -> None:
    bench.registry.file("toy", "1")
    summary = bench.cycle()
    assert bench.decisions() == []
    assert summary.abstentions == {"no_policy": 1}
    assert summary.ok
    assert "no_policy" in bench.told[0]


def test_what_could_not_be_read_is_not_decided_and_does_not_stop_the_others(bench: Bench) -> None:
    bench.registry.file("churn", "1")
    bench.registry.file("fraud", "1")
    bench.registry.unreadable.add("churn")
    summary = bench.cycle()
    assert bench.decisions() == [("fraud", "approve", "applied")]
    assert summary.in_error == 1
    bench.registry.unreadable.clear()
    bench.cycle()
    assert ("churn", "approve", "applied") in bench.decisions()


def test_a_list_that_was_not_read_decides_nothing(bench: Bench) -> None:
    bench.registry.file("fraud", "1")
    bench.registry.before[1] = raising(Unavailable("GET model-versions/search: no answer"))
    summary = bench.cycle()
    assert summary.unavailable == "GET model-versions/search: no answer"
    assert summary.sentence == "nothing decided: GET model-versions/search: no answer"
    assert bench.decisions() == []


def test_a_decision_that_alone_cannot_be_read_again_is_told_and_from_the_third_time_on_as_stuck(bench: Bench) -> None:
    told = _told_of_a_decision_that_cannot_be_read(bench, list_fails=False)
    text = "fraud version 1 to Production: not acted on, because it could not be read again: GET get: 500"
    assert told == [(text, Weight.FAILED), (text, Weight.FAILED), (text, Weight.STUCK)]


def test_where_the_cycle_says_that_nothing_can_be_reached_each_decision_does_not(bench: Bench) -> None:
    told = _told_of_a_decision_that_cannot_be_read(bench, list_fails=True)
    assert [weight for _, weight in told] == [Weight.EXPECTED] * 3


def _told_of_a_decision_that_cannot_be_read(bench: Bench, *, list_fails: bool) -> list[tuple[str, Weight]]:
    """In three cycles after that in which the act was refused."""
    bench.registry.file("fraud", "1")
    bench.registry.before = {k: raising(Refused("POST transition-stage: 403")) for k in _writes_of(bench)}
    bench.cycle()
    bench.weighed.clear()
    for _ in range(3):
        first = bench.registry.operations + 1
        failing = range(first, first + 1 + list_fails)
        bench.registry.before = {k: raising(Unavailable("GET get: 500")) for k in failing}
        assert (bench.cycle().unavailable is not None) == list_fails
    return bench.weighed


def test_a_target_whose_list_was_not_read_keeps_no_other_waiting_and_loses_no_request(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.5")
    bench.cycle(Mode.APPROVE_ONLY)
    assert bench.shown_open() == ["fraud"]
    bench.registry.file("churn", "1", "Staging")
    bench.registry.unlisted["Production"] = "GET model-versions/search: 403"
    for times in (1, 2, 3):
        summary = bench.cycle(Mode.APPROVE_ONLY)
        assert (summary.ok, summary.unavailable, summary.open) == (False, None, 1 if times == 1 else 0)
        assert "requests to Production could not be listed: GET model-versions/search: 403" in summary.sentence
        assert [item.kind for item in summary.stuck] == (["list"] if times == 3 else [])
    assert bench.shown_open() == ["fraud"]
    assert ("churn", "approve", "applied") in bench.decisions()
    bench.registry.unlisted.clear()
    assert (bench.cycle().stuck, bench.shown_open()) == ([], [])


def test_where_no_targets_list_was_read_nothing_is_decided_and_it_is_stuck_in_the_end(bench: Bench) -> None:
    bench.registry.unlisted |= {"Production": "403", "Staging": "403"}
    for _ in range(3):
        summary = bench.cycle()
        assert summary.unavailable == "403"
    assert summary.sentence == "nothing decided: 403; 2 stuck"


def test_a_request_withdrawn_before_the_act_is_superseded(bench: Bench) -> None:
    request = bench.registry.file("fraud", "1")
    bench.registry.before[3] = lambda: bench.registry.withdraw(request)
    bench.cycle()
    assert bench.decisions() == [("fraud", "approve", "superseded")]
    assert bench.registry.writes == []


def test_a_request_filed_again_before_the_act_is_a_new_request(bench: Bench) -> None:
    request = bench.registry.file("fraud", "1")
    place = request.model, request.version, request.target

    def file_again() -> None:
        bench.registry.requests[place] = retyped(request, "again")

    bench.registry.before[3] = file_again
    bench.cycle()
    bench.cycle()
    assert bench.decisions() == [("fraud", "approve", "applied"), ("fraud", "approve", "superseded")]


def test_a_version_deleted_before_the_act_is_superseded_and_the_others_are_decided(bench: Bench) -> None:
    bench.registry.file("churn", "1")
    bench.registry.file("fraud", "1")
    bench.registry.before[3] = lambda: bench.registry.delete_version("churn", "1")
    bench.cycle()
    assert bench.decisions() == [("churn", "approve", "superseded"), ("fraud", "approve", "applied")]


def test_a_lost_reply_is_settled_by_reading_and_the_act_is_not_called_applied_before(bench: Bench) -> None:
    bench.registry.file("fraud", "1")
    bench.registry.after[6] = raising(Unavailable("DELETE delete-tag: connection reset"))
    # The reading after it fails too: nothing is known, and nothing is assumed.
    bench.registry.before[7] = raising(Unavailable("GET search: connection reset"))
    first = bench.cycle()
    assert bench.decisions() == [("fraud", "approve", None)]
    assert first.in_error == 1
    bench.cycle()
    assert bench.decisions() == [("fraud", "approve", "applied")]
    assert len([what for what, _ in bench.registry.writes if what == "move"]) == 1


@pytest.mark.parametrize("lost", ["before", "after"])
def test_whichever_operation_fails_the_next_cycles_end_in_the_same_state(bench: Bench, lost: str) -> None:
    """k = 1, 2, 3 … until a cycle meets no fault any more."""
    for k in range(1, 50):
        model = f"fraud{k}"
        bench.registry.file(model, "1")
        bench.registry.operations = 0
        faults = bench.registry.before if lost == "before" else bench.registry.after
        faults.clear()
        faults[k] = raising(Unavailable(f"operation {k} failed"))
        bench.cycle()
        met = bench.registry.operations >= k
        faults.clear()
        bench.cycle()
        assert (model, "approve", "applied") in bench.decisions(), f"k = {k}"
        assert bench.registry.requests == {}
        if not met:
            assert k > 6
            return
    pytest.fail("there was no cycle without a fault")


@pytest.mark.parametrize(("writes", "outcome"), [(1, "superseded"), (2, "applied")])
def test_a_request_withdrawn_after_it_was_told_is_not_moved_and_after_it_was_moved_is_applied(
    bench: Bench, writes: int, outcome: str
) -> None:
    request = bench.registry.file("fraud", "1")
    bench.registry.after[3 + writes] = raising(Unavailable("POST: timed out"))
    bench.cycle()
    bench.registry.withdraw(request)
    bench.cycle()
    assert bench.decisions() == [("fraud", "approve", outcome)]
    assert bench.registry.writes == [("tell", "fraud/1"), ("move", "fraud/1")][:writes]


def test_what_was_moved_and_taken_away_again_is_not_said_never_to_have_moved(bench: Bench) -> None:
    request = bench.registry.file("fraud", "1")
    bench.registry.after[5] = raising(Unavailable("POST: timed out"))
    bench.cycle()
    assert ("move", "fraud/1") in bench.registry.writes
    bench.registry.withdraw(request)
    bench.registry.holders[request.model, request.target] = "2"
    bench.cycle()
    [row] = AuditReader(bench.engine).decisions(DecisionFilter(), None)
    told = "the registry shows this decision, and the request is gone, but the version does not hold the target"
    assert (row["outcome"], row["outcome_detail"]) == ("superseded", told)


def test_a_refused_act_is_given_up_after_eight_attempts(bench: Bench) -> None:
    bench.registry.file("fraud", "1")
    error = Refused("POST transition-stage: 403")
    for _ in range(8):
        bench.registry.before = {k: raising(error) for k in _writes_of(bench)}
        bench.cycle()
    assert bench.decisions() == [("fraud", "approve", "failed")]
    assert bench.shown_open() == ["fraud"]
    bench.registry.before.clear()
    bench.cycle()
    assert bench.registry.writes == []


def _writes_of(bench: Bench) -> range:
    """Operations of the next cycle that may be writes: after list, evidence and reading, or reading and evidence."""
    first = 4 if not bench.decisions() else 3
    return range(bench.registry.operations + first, bench.registry.operations + first + 1)


def test_what_a_cycle_resolved_is_open_no_more_when_it_ends(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.95")
    bench.registry.file("churn", "1", accuracy="0.85")
    bench.registry.file("toy", "1")
    bench.cycle()
    assert bench.shown_open() == ["toy"]


def test_what_was_only_observed_stays_open(bench: Bench) -> None:
    bench.registry.file("fraud", "1")
    bench.cycle(Mode.OBSERVE)
    assert bench.shown_open() == ["fraud"]


def test_stop_ends_between_requests_and_leaves_a_decision_that_the_next_start_carries_out(bench: Bench) -> None:
    for version in "123":
        bench.registry.file("fraud", version)
    summary = bench.cycle(stop=lambda: bool([one for one in bench.registry.writes if one[0] == "close"]))
    assert summary.stopped
    assert len(bench.registry.requests) == 2
    bench.cycle()
    assert bench.decisions() == [("fraud", "approve", "applied")] * 3


def test_a_pending_decision_is_left_alone_while_the_mode_is_observe(bench: Bench) -> None:
    bench.registry.file("fraud", "1")
    bench.registry.before[4] = raising(Invalid("POST transition-stage: 400"))
    bench.cycle(Mode.ENFORCE)
    bench.registry.before.clear()
    bench.cycle(Mode.OBSERVE)
    assert bench.registry.writes == []
    bench.cycle(Mode.ENFORCE)
    assert ("fraud", "approve", "applied") in bench.decisions()


def test_a_version_that_is_gone_when_it_is_acted_on_ends_as_superseded(bench: Bench) -> None:
    bench.registry.file("fraud", "1")

    def gone() -> None:
        bench.registry.delete_version("fraud", "1")
        raise NotFound("no such version")

    bench.registry.before[4] = gone
    bench.cycle()
    bench.cycle()
    assert bench.decisions() == [("fraud", "approve", "superseded")]


def test_retries_wait_longer_and_longer_up_to_an_hour() -> None:
    waits = [retry_after(attempts) for attempts in range(10)]
    assert waits[:3] == [timedelta(seconds=30), timedelta(minutes=1), timedelta(minutes=2)]
    assert waits[-1] == timedelta(hours=1)
