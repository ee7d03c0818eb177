"""What is judged again, and what then becomes of a decision: over a registry with people in it and a real audit log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, CycleSummary, PolicyInForce, Times
from reconciler.cycle.judging_again import FIRST_WAIT, LONGEST_WAIT, READ_AGAIN_TOGETHER, Backoff
from reconciler.domain.decision import Mode, OutcomeKind
from reconciler.domain.judgements import LastDecision
from reconciler.domain.verdict import VerdictKind
from reconciler.failpoints import watching
from reconciler.policy.file import parse_policy
from reconciler.ports import Refused, RegistryError, Unavailable
from tests.builders import accuracy_policy
from tests.fake_registry import FakeRegistry, raising


class Bench:
    """A registry, an audit database, and one daemon whose clock for backoff is set by hand."""

    def __init__(self, url: str) -> None:
        self.registry = FakeRegistry()
        self.engine = make_engine(url)
        self.audit = SqlAuditLog(self.engine, "test:1", self.registry.uri)
        self.time = [1000.0]
        self.start()
        self.policy(0.9)

    def start(self, evidence_age: timedelta = timedelta(minutes=5)) -> None:
        """A process that remembers nothing."""
        self._cycle = Cycle(self.registry, self.audit, times=Times(evidence_age=evidence_age))
        self._cycle._backoff = Backoff(lambda: self.time[-1])

    def policy(self, least: float, comment: str = "") -> None:
        loaded = parse_policy(accuracy_policy(least) + comment, "policy.yaml")
        self.in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)

    def cycle(self, mode: Mode = Mode.ENFORCE, later: timedelta = timedelta()) -> CycleSummary:
        self.time.append(self.time[-1] + later.total_seconds())
        return self._cycle.run(self.in_force, mode)

    def acts_are_due(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(text("UPDATE pending_acts SET next_attempt_at = '2000-01-01T00:00:00.000Z'"))

    def no_answer_can_come_any_more(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                text("UPDATE pending_acts SET answer_by = '2000-01-01T00:00:00.000Z' WHERE answer_by IS NOT NULL")
            )
            connection.execute(text("UPDATE watched_acts SET next_look_at = '2000-01-01T00:00:00.000Z'"))

    def rows(self) -> list[dict[str, Any]]:
        reader = AuditReader(self.engine)
        listed = sorted(reader.decisions(DecisionFilter()), key=lambda row: row["judgement"])
        return [reader.decision(row["decision_id"]) for row in listed]

    def said(self) -> list[tuple[str, str | None]]:
        return [(row["verdict"], row["outcome"]) for row in self.rows()]

    def reads_of_evidence(self, mode: Mode, later: timedelta) -> int:
        before = self.registry.operations
        self.cycle(mode, later)
        # One operation is the list.
        return self.registry.operations - before - 1


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    bench = Bench(url)
    yield bench
    bench.engine.dispose()


# --- a stuck request ---------------------------------------------------------------------------------------------


def test_in_observe_a_mended_metric_is_judged_again_and_what_is_unchanged_leaves_no_row(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.5")
    bench.cycle(Mode.OBSERVE)
    bench.registry.accuracy["fraud", "1"] = "0.95"
    bench.cycle(Mode.OBSERVE, LONGEST_WAIT)
    assert bench.said() == [("reject", "observed"), ("approve", "observed")]
    for _ in range(3):
        bench.cycle(Mode.OBSERVE, LONGEST_WAIT)
    rows = bench.rows()
    assert [(row["judgement"], row["replaces"]) for row in rows] == [(1, None), (2, None)]
    assert bench.registry.writes == []


def test_approve_only_approves_a_rejected_request_once_it_is_mended(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.5")
    bench.cycle(Mode.APPROVE_ONLY)
    bench.registry.accuracy["fraud", "1"] = "0.95"
    bench.cycle(Mode.APPROVE_ONLY, LONGEST_WAIT)
    assert bench.said() == [("reject", "observed"), ("approve", "applied")]
    assert list(bench.registry.holders.values()) == ["1"]


def test_another_text_or_number_leaves_no_row(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.5")
    bench.cycle(Mode.OBSERVE)
    for accuracy in ("0.6", "0.7"):
        bench.registry.accuracy["fraud", "1"] = accuracy
        bench.cycle(Mode.OBSERVE, LONGEST_WAIT)
    assert bench.said() == [("reject", "observed")]


def test_a_changed_policy_is_judged_by_at_once(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.5")
    bench.cycle(Mode.OBSERVE)
    bench.policy(0.4)
    bench.cycle(Mode.OBSERVE)
    assert bench.said() == [("reject", "observed"), ("approve", "observed")]


def test_a_stricter_mode_acts_at_once(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.5")
    bench.cycle(Mode.OBSERVE)
    bench.cycle(Mode.ENFORCE)
    assert bench.said() == [("reject", "observed"), ("reject", "applied")]


def test_what_the_list_shows_triggers_at_once_and_other_evidence_by_backoff(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.5")
    bench.cycle(Mode.OBSERVE)
    minute = timedelta(minutes=1)
    # At first after 1, 2, 4 and 8 minutes, then each 15.
    reads = [bench.reads_of_evidence(Mode.OBSERVE, minute) for _ in range(46)]
    assert [at for at, read in enumerate(reads) if read] == [0, 2, 6, 14, 29, 44]
    bench.registry.stages["fraud", "1"] = "Staging"
    assert bench.reads_of_evidence(Mode.OBSERVE, timedelta()) == 1
    assert bench.reads_of_evidence(Mode.OBSERVE, timedelta()) == 0


def test_a_pass_reads_the_evidence_of_only_so_many_stuck_requests_again(bench: Bench) -> None:
    for number in range(READ_AGAIN_TOGETHER + 10):
        bench.registry.file("fraud", str(number), accuracy="0.5")
    bench.cycle(Mode.OBSERVE)
    read: list[int] = []
    bench.registry.on_evidence = lambda wanted: read.append(len(wanted))
    bench.cycle(Mode.OBSERVE, FIRST_WAIT)
    for _ in range(2):
        bench.cycle(Mode.OBSERVE)
    assert read == [READ_AGAIN_TOGETHER, 10]


def test_what_cannot_be_read_again_waits_visibly_and_leaves_no_row(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.5")
    bench.cycle(Mode.OBSERVE)
    bench.registry.unreadable.add("fraud")
    assert bench.cycle(Mode.OBSERVE, LONGEST_WAIT).in_error == 1
    [row] = AuditReader(bench.engine).open_requests()
    assert row["waiting_code"] == "unreadable"
    assert bench.said() == [("reject", "observed")]


NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


def last(outcome: OutcomeKind, ago: timedelta, *, acts: bool = False) -> LastDecision:
    return LastDecision("id", 1, VerdictKind.APPROVE, acts, "digest", NOW - ago, None, outcome, NOW - ago)


@pytest.mark.parametrize(
    ("before", "verdict", "mode", "differs", "expected"),
    [
        (last(OutcomeKind.OBSERVED, HOUR), VerdictKind.APPROVE, Mode.OBSERVE, False, False),
        (last(OutcomeKind.OBSERVED, HOUR), VerdictKind.APPROVE, Mode.OBSERVE, True, True),
        (last(OutcomeKind.OBSERVED, HOUR / 2), VerdictKind.APPROVE, Mode.OBSERVE, True, False),
        (last(OutcomeKind.OBSERVED, HOUR / 2), VerdictKind.REJECT, Mode.OBSERVE, True, True),
        (last(OutcomeKind.OBSERVED, HOUR / 2), VerdictKind.APPROVE, Mode.APPROVE_ONLY, False, True),
        (last(OutcomeKind.FAILED, HOUR / 2, acts=True), VerdictKind.APPROVE, Mode.ENFORCE, False, False),
        (last(OutcomeKind.FAILED, HOUR / 2, acts=True), VerdictKind.REJECT, Mode.ENFORCE, True, True),
        (last(OutcomeKind.FAILED, HOUR, acts=True), VerdictKind.APPROVE, Mode.ENFORCE, False, True),
        (last(OutcomeKind.FAILED, HOUR, acts=True), VerdictKind.APPROVE, Mode.OBSERVE, False, False),
        (last(OutcomeKind.LAPSED, HOUR / 2, acts=True), VerdictKind.APPROVE, Mode.OBSERVE, False, True),
    ],
)
def test_a_row_is_written_where_the_judgement_differs_or_acts_and_otherwise_once_an_hour(
    before: LastDecision, verdict: VerdictKind, mode: Mode, differs: bool, expected: bool
) -> None:
    assert before.must_be_followed(verdict, mode, differs=differs, now=NOW) is expected


# --- old evidence ------------------------------------------------------------------------------------------------


REFUSAL, NO_ANSWER = Refused("POST set-tag: 403"), Unavailable("POST set-tag: no answer")


def refused_once(bench: Bench, error: RegistryError = REFUSAL) -> None:
    """The first cycle decides, and its act gets this answer."""
    bench.registry.before[4] = raising(error)
    bench.cycle()
    assert bench.said() == [("approve", None)]
    bench.acts_are_due()


def test_a_retry_that_is_judged_otherwise_lapses_and_its_successor_is_carried_out(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.95")
    refused_once(bench)
    bench.registry.accuracy["fraud", "1"] = "0.1"
    bench.cycle()
    first, second = bench.rows()
    assert (first["verdict"], first["outcome"], first["effect"]) == ("approve", "lapsed", "nothing")
    assert (second["verdict"], second["outcome"], second["replaces"]) == ("reject", "applied", first["decision_id"])
    assert (first["replaced_by"], first["confirmations"]) == (second["decision_id"], [])
    assert bench.registry.holders == {}


def test_a_retry_that_is_judged_the_same_is_confirmed_on_record(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.95")
    refused_once(bench)
    bench.registry.accuracy["fraud", "1"] = "0.97"
    bench.cycle()
    [row] = bench.rows()
    assert row["outcome"] == "applied"
    [confirmation] = row["confirmations"]
    assert (confirmation["verdict"], confirmation["policy_digest"]) == ("approve", bench.in_force.digest)
    assert confirmation["evidence"]["run"]["metrics"]["validation_accuracy"]["text"] == "0.97"


def test_a_decision_that_is_carried_out_at_once_needs_no_confirmation(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.95")
    bench.cycle()
    [row] = bench.rows()
    assert (row["outcome"], row["confirmations"]) == ("applied", [])


class Killed(BaseException):
    pass


def killed_after_deciding(bench: Bench) -> None:
    def die(name: str) -> None:
        if name == "recorded":
            raise Killed

    with watching(die), pytest.raises(Killed):
        bench.cycle()
    assert bench.said() == [("approve", None)]


@pytest.mark.parametrize(("age", "confirmed"), [(timedelta(minutes=5), 0), (timedelta(microseconds=1), 1)])
def test_an_act_that_comes_late_is_judged_again_first(bench: Bench, age: timedelta, confirmed: int) -> None:
    bench.registry.file("fraud", "1", accuracy="0.95")
    killed_after_deciding(bench)
    bench.start(evidence_age=age)
    bench.cycle()
    [row] = bench.rows()
    assert (row["outcome"], len(row["confirmations"])) == ("applied", confirmed)


def test_another_policy_ends_an_old_decision_whatever_it_says(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.95")
    refused_once(bench)
    bench.policy(0.9, "# reviewed\n")
    bench.cycle()
    assert bench.said() == [("approve", "lapsed"), ("approve", "applied")]
    assert [row["policy_digest"] for row in bench.rows()][1] == bench.in_force.digest


def test_a_new_decision_of_a_policy_that_is_not_in_force_any_more_is_not_carried_out(bench: Bench) -> None:
    """A daemon died, or was paused, right after deciding; the policy is made stricter before it goes on."""
    bench.registry.file("fraud", "1", accuracy="0.95")
    killed_after_deciding(bench)
    bench.policy(0.99)
    bench.start()
    bench.cycle()
    assert bench.said() == [("approve", "lapsed"), ("reject", "applied")]


def test_what_cannot_be_judged_again_waits_and_does_not_lapse(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.95")
    refused_once(bench)
    bench.registry.unreadable.add("fraud")
    assert bench.cycle().in_error == 1
    assert bench.said() == [("approve", None)]
    bench.registry.unreadable.clear()
    bench.acts_are_due()
    bench.cycle()
    [row] = bench.rows()
    assert (row["outcome"], len(row["confirmations"])) == ("applied", 1)


def test_a_decision_that_no_rule_covers_any_more_lapses_without_a_successor(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.95")
    refused_once(bench)
    loaded = parse_policy(accuracy_policy(0.9, keys="models: [other]"), "policy.yaml")
    bench.in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
    bench.cycle()
    assert bench.said() == [("approve", "lapsed")]
    bench.policy(0.9)
    bench.cycle()
    first, second = bench.rows()
    assert (second["outcome"], second["replaces"]) == ("applied", first["decision_id"])


def test_eight_refusals_block_a_request_no_longer_than_its_evidence(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.95")
    for first in (4, *[3] * 7):
        bench.registry.before = {bench.registry.operations + first: raising(Refused("403"))}
        bench.cycle()
        bench.acts_are_due()
    assert bench.said() == [("approve", "failed")]
    bench.registry.before = {}
    bench.registry.accuracy["fraud", "1"] = "0.1"
    bench.cycle(later=LONGEST_WAIT)
    first_row, second = bench.rows()
    assert (second["verdict"], second["outcome"], second["replaces"]) == ("reject", "applied", first_row["decision_id"])


# --- an act without a definite answer ----------------------------------------------------------------------------


def test_a_decision_whose_act_may_still_take_effect_does_not_lapse_before_it_cannot_any_more(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.95")
    refused_once(bench, NO_ANSWER)
    bench.registry.accuracy["fraud", "1"] = "0.1"
    bench.cycle()
    assert bench.said() == [("approve", None)]
    assert bench.registry.writes == []
    bench.no_answer_can_come_any_more()
    bench.acts_are_due()
    bench.cycle()
    assert bench.said() == [("approve", "lapsed"), ("reject", "applied")]


def test_what_was_moved_already_is_ended_and_does_not_lapse(bench: Bench) -> None:
    bench.registry.file("fraud", "1", accuracy="0.95")
    # The request's end is the third write.
    bench.registry.before[6] = raising(Refused("DELETE delete-tag: 403"))
    bench.cycle()
    bench.acts_are_due()
    bench.registry.accuracy["fraud", "1"] = "0.1"
    bench.cycle()
    assert bench.said() == [("approve", "applied")]
    assert bench.registry.requests == {}


def lapsed_in_doubt(bench: Bench) -> dict[str, Any]:
    """An approval whose act got no answer lapses, and its successor is left to the next cycle."""
    bench.registry.file("fraud", "1", accuracy="0.95")
    refused_once(bench, NO_ANSWER)
    bench.registry.accuracy["fraud", "1"] = "0.1"
    bench.no_answer_can_come_any_more()

    def die(name: str) -> None:
        if name == "lapsed":
            raise Killed

    with watching(die), pytest.raises(Killed):
        bench.cycle()
    first, second = bench.rows()
    assert (first["outcome"], second["outcome"]) == ("lapsed", None)
    return first


def lands_late(bench: Bench, first: dict[str, Any]) -> None:
    """Every write of the act, by the server that was slow."""
    [place] = bench.registry.requests
    bench.registry.shown[place] = (first["decision_id"],)
    bench.registry.ever_shown.add(first["decision_id"])
    bench.registry.holders["fraud", place[2]] = "1"
    del bench.registry.requests[place]


def test_an_act_that_lands_after_its_decision_lapsed_is_on_record_and_its_successor_lapses(bench: Bench) -> None:
    lands_late(bench, lapsed_in_doubt(bench))
    bench.start()
    bench.cycle()
    first, second = bench.rows()
    assert (first["outcome"], first["effect"], len(first["late_effects"])) == ("lapsed", "moved", 1)
    assert (second["outcome"], second["effect"]) == ("lapsed", "nothing")
    assert list(bench.registry.holders.values()) == ["1"]
    bench.cycle()
    assert len(bench.rows()[0]["late_effects"]) == 1


def test_an_act_that_lands_after_its_successor_was_carried_out_is_on_record_too(bench: Bench) -> None:
    first = lapsed_in_doubt(bench)
    bench.start()
    bench.cycle()
    assert bench.said() == [("approve", "lapsed"), ("reject", "applied")]
    place = ("fraud", "1", next(iter(bench.registry.shown))[2])
    bench.registry.shown[place] = (*bench.registry.shown[place], first["decision_id"])
    bench.registry.holders["fraud", place[2]] = "1"
    bench.no_answer_can_come_any_more()
    bench.cycle()
    assert [row["effect"] for row in bench.rows()] == ["moved", "refused"]


def test_what_a_later_approval_moved_is_no_late_effect(bench: Bench) -> None:
    first = lapsed_in_doubt(bench)
    bench.start()
    bench.cycle()
    place = ("fraud", "1", next(iter(bench.registry.shown))[2])
    bench.registry.shown[place] = (*bench.registry.shown[place], first["decision_id"])
    bench.registry.accuracy["fraud", "1"] = "0.95"
    bench.registry.file("fraud", "1")
    bench.cycle()
    assert list(bench.registry.holders.values()) == ["1"]
    bench.no_answer_can_come_any_more()
    bench.cycle()
    assert sorted((row["outcome"], row["effect"]) for row in bench.rows()) == [
        ("applied", "moved"),
        ("applied", "refused"),
        ("lapsed", "nothing"),
    ]
