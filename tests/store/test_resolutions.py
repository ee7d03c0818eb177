"""Whose act an entry of a history was, and what became of a request: as an auditor reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine

from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.domain.request import Assurance, Request, Requester
from reconciler.policy.file import parse_policy
from reconciler.ports import History, Resolution, Resolved, Unavailable
from tests.fake_registry import raising
from tests.store.test_abstentions import POLICY, Bench


class Told:
    """A bench whose registry keeps a history, with one request that the daemon approved, or would approve."""

    def __init__(self, engine: Engine, mode: Mode = Mode.ENFORCE) -> None:
        self.bench = Bench(engine)
        self.bench.registry.keeps_history = True
        self.request = self.bench.registry.file("fraud", "1")
        self.bench.cycle(mode)
        self.decision = str(self.bench.rows("SELECT decision_id FROM decisions")[0][0])

    def entry(self, number: int, **other: Any) -> Resolved:
        """The daemon's own act, but for what is other."""
        values = {"what": Resolution.APPROVED, "model": "fraud", "request_id": self.request.id} | other
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
        who, said = Requester("mia", Assurance.AUTHENTICATED), f"as decision {self.decision}"
        place = values["model"], "1", "Production"
        return Resolved(number, values["what"], *place, who, said, at, values["request_id"], self.decision)

    def kept(self, *entries: Resolved) -> list[int]:
        """The numbers of those that are people's acts."""
        log = SqlAuditLog(self.bench.engine, "test:1", self.bench.registry.uri)
        log.add_history(History(entries, entries[-1].number))
        return [number for (number,) in self.bench.rows("SELECT source_number FROM resolutions ORDER BY id")]


def test_who_names_the_daemons_decision_elsewhere_does_not_make_its_act_a_persons(engine: Engine) -> None:
    told = Told(engine)
    assert told.kept(told.entry(1), told.entry(2, model="other", what=Resolution.REJECTED)) == [2]


def test_who_names_a_decision_before_it_is_carried_out_is_not_hidden_behind_it(engine: Engine) -> None:
    told = Told(engine)
    assert told.kept(told.entry(1, model="other", what=Resolution.REJECTED), told.entry(2)) == [1]


def test_an_approval_that_names_what_the_mode_kept_from_being_done_is_a_persons(engine: Engine) -> None:
    told = Told(engine, Mode.OBSERVE)
    assert told.kept(told.entry(1)) == [1]


def test_an_approval_of_a_later_request_with_the_comment_of_the_first_is_a_persons(engine: Engine) -> None:
    told = Told(engine)
    assert told.kept(told.entry(1), told.entry(5, request_id="another")) == [5]


def test_a_request_whose_target_the_policy_names_no_more_was_not_resolved_by_anybody(engine: Engine) -> None:
    bench = Bench(engine)
    bench.registry.file("fraud", "1", "Staging", accuracy="")
    loaded = parse_policy(POLICY.replace("[Production]", "[Production, Staging]"), "policy.yaml")
    bench.daemon.run(PolicyInForce(loaded.policy, loaded.digest, loaded.text), Mode.ENFORCE)
    bench.cycle()
    assert bench.rows("SELECT * FROM resolutions") == []
    assert bench.waited() == [("missing", "gone", 1)]


def test_a_request_that_another_daemon_saw_first_after_our_list_is_not_gone(engine: Engine) -> None:
    bench = Bench(engine)
    other, registry = bench.another("test:2"), bench.registry
    registry.file("fraud", "9", accuracy="")

    def meanwhile(wanted: object) -> None:
        registry.on_evidence = lambda wanted: None
        registry.file("fraud", "1", accuracy="")
        bench.cycle(by=other)

    registry.on_evidence = meanwhile
    bench.cycles(2)
    assert bench.rows("SELECT * FROM resolutions") == []
    assert bench.waited() == [("missing", None, None), ("missing", None, None)]


def test_what_a_decision_of_ours_did_late_was_done_by_nobody_else(engine: Engine) -> None:
    bench = Bench(engine)
    registry = bench.registry
    request = registry.file("fraud", "1")
    registry.act = lambda decision: raising(Unavailable("timeout"))()  # type: ignore[method-assign]
    bench.cycles(8)
    [(decision, outcome)] = bench.rows("SELECT decision_id, outcome FROM decision_register")
    assert outcome == "failed"
    registry.holders["fraud", request.target] = "1"
    registry.shown["fraud", "1", request.target] = (decision,)
    registry.withdraw(request)
    bench.cycles(2)
    assert bench.rows("SELECT effect FROM decision_register") == [("moved",)]
    assert bench.rows("SELECT * FROM resolutions") == []


def stale_list(bench: Bench, request: Request) -> None:
    """Another daemon's cycle ends late, and puts back what its old list showed as open."""
    SqlAuditLog(bench.engine, "test:2", bench.registry.uri).reconcile_open([request], [])


def test_what_we_did_after_another_daemons_list_was_done_by_nobody_else(engine: Engine) -> None:
    bench = Bench(engine)
    request = bench.registry.file("fraud", "1")
    bench.cycle()
    stale_list(bench, request)
    bench.cycle(by=bench.another("test:2"))
    assert bench.rows("SELECT what, decider FROM register_all") == [("approved", "daemon")]
    assert bench.rows("SELECT * FROM open_requests") == []


def test_a_withdrawal_that_a_stale_list_hides_for_a_while_is_said_once(engine: Engine) -> None:
    bench = Bench(engine)
    request = bench.registry.file("fraud", "1", accuracy="")
    bench.cycle()
    bench.registry.withdraw(request)
    bench.cycle()
    stale_list(bench, request)
    bench.cycle(by=bench.another("test:2"))
    assert bench.rows("SELECT resolution FROM resolutions") == [("gone",)]
