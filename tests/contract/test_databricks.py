"""What the worst reading of Databricks' documents adds: no ids, many requesters, lists that lag, errors after acts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.domain.decision import COMMENT_BYTES, Decision, Mode
from reconciler.domain.evidence.evidence import Unreadable
from reconciler.domain.target import Target
from reconciler.domain.verdict import VerdictKind
from reconciler.judging import judge_batch
from reconciler.policy.file import parse_policy
from reconciler.ports import Listed
from reconciler.registry.budget import Budget
from reconciler.registry.databricks import DatabricksRegistry, SweepTiming
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.transport import Transport
from tests.builders import a_request, comparing_policy
from tests.contract.conftest import Daemon, OnDatabricks
from tests.databricks_double import LOGGED_MODEL, Throttle, workspace
from tests.databricks_simulation import SCOPE, Clock, Simulation, Size

PRODUCTION = Target.parse("Production")


@pytest.fixture
def world() -> Iterator[OnDatabricks]:
    with workspace() as double:
        yield OnDatabricks(double)


def test_of_several_who_ask_for_one_target_one_act_resolves_all(
    world: OnDatabricks, daemon: Daemon, model: str
) -> None:
    world.version(model, 0.95)
    for user in ("ada", "bob", "cy"):
        world.workspace.ask(model, user=user)
    daemon.cycle()
    daemon.cycle()
    assert len(world.workspace.acts) == 1
    assert sorted(outcome or "" for _, outcome in daemon.decisions()) == ["applied", "unattributed", "unattributed"]
    assert {row["requester"] for row in daemon.rows()} == {"ada", "bob", "cy"}
    assert {row["requester_assurance"] for row in daemon.rows()} == {"authenticated"}


def test_a_list_that_lags_makes_no_second_decision_and_no_second_act(
    world: OnDatabricks, daemon: Daemon, model: str
) -> None:
    world.version(model, 0.95)
    world.ask(model)
    world.workspace.lag()
    for _ in range(3):
        daemon.cycle()
    assert daemon.decisions() == [("approve", "applied")]
    assert len(world.workspace.acts) == 1


def test_five_hundred_after_the_act_is_no_rejection_and_no_second_act(
    world: OnDatabricks, daemon: Daemon, model: str
) -> None:
    world.version(model, 0.5)
    world.ask(model)
    world.workspace.after = lambda method, path: (
        (500, {"error_code": "INTERNAL_ERROR", "message": "oops"}) if path.endswith("/reject") else None
    )
    for _ in range(3):
        daemon.cycle()
    assert daemon.decisions() == [("reject", "unattributed")]
    assert len(world.workspace.acts) == 1


def test_the_comment_names_the_decision_and_archiving_is_a_boolean(
    world: OnDatabricks, daemon: Daemon, model: str
) -> None:
    world.version(model, 0.95)
    world.ask(model)
    daemon.cycle()
    [(kind, told)] = world.workspace.acts
    [row] = daemon.rows()
    assert (kind, told["archive_existing_versions"]) == ("APPROVED_REQUEST", True)
    assert f"(decision {row['decision_id']}," in told["comment"]


def test_a_comment_as_long_as_databricks_takes_ends_at_a_word(world: OnDatabricks, daemon: Daemon) -> None:
    world.version("m", 0.5)
    world.ask("m")
    daemon.cycle()
    [(_, told)] = world.workspace.acts
    long = "reason " * 20_000
    decision = replace(_decision(world), reason=long)
    assert len(decision.sentence(COMMENT_BYTES)) <= 65_535
    assert "reason […]" in decision.sentence(COMMENT_BYTES)
    assert told["comment"].startswith("Rejected ")


def _decision(world: OnDatabricks) -> Decision:
    now = datetime.now(UTC)
    request = world.registry.find("m", "1", PRODUCTION, now).listed.request
    return Decision("0" * 36, now, request, VerdictKind.REJECT, "", Mode.ENFORCE, "0" * 64, "r", False)


def test_models_that_the_account_may_not_govern_are_told(world: OnDatabricks, model: str) -> None:
    world.version(model, 0.95)
    world.workspace.level = "CAN_READ"
    assert list(world.registry.levels(lambda name: True)) == [(model, "CAN_READ")]


class SharedClock(Clock):
    """Of several threads that sleep at the same time."""

    def sleep(self, seconds: float) -> None:
        wakes = self.now + seconds
        self.now = max(self.now, wakes)


class Places(deque[float]):
    """Every place that a budget gave away, also after the budget has forgotten it."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[float] = []

    def append(self, at: float) -> None:
        super().append(at)
        self.given.append(at)


def test_threads_share_one_budget_that_no_second_exceeds(world: OnDatabricks) -> None:
    for _ in range(100):
        world.version("m", 0.95)
    clock = SharedClock()
    budget = Budget(40, clock, clock.sleep)
    budget._sent = places = Places()
    transports = [Transport(Endpoint(world.workspace.uri), pace=budget) for _ in range(8)]
    registry = DatabricksRegistry(
        "x", transports, transports[0], budget,
        SweepTiming(timedelta(minutes=15), sweep_for=timedelta(seconds=10), clock=clock),
    )  # fmt: skip
    registry.open_requests(SCOPE)
    assert len(world.workspace.calls) == len(places.given) == 102
    assert max(sum(start <= at < start + 1 for at in places.given) for start in places.given) <= 40
    assert len({path for _, path, _ in world.workspace.calls}) == 3


# --- the sweep, in simulated time --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def settled() -> Simulation:
    """2,000 versions of 50 models, 10 calls a second, after an hour."""
    simulation = Simulation(Size(50, 2000), 10, timedelta(minutes=15))
    for _ in range(60):
        simulation.cycle()
    return simulation


def test_a_request_on_a_fresh_version_is_seen_within_two_cycles(settled: Simulation) -> None:
    version = settled.held.version("m7")
    settled.held.ask("m7", version)
    assert settled.cycles_until("m7") <= 2


def test_a_request_on_any_old_version_is_seen_within_the_promise(settled: Simulation) -> None:
    for number in (1, 13, 40):
        model = f"m{number}"
        asked = settled.held.ask(model, str(number))
        assert settled.cycles_until(model) <= 15
        settled.held.withdraw(asked)
    assert settled.remark is None


def test_an_open_request_is_looked_at_every_cycle(settled: Simulation) -> None:
    asked = settled.held.ask("m3", "2")
    settled.cycles_until("m3")
    assert all("m3" in settled.cycle() for _ in range(5))
    settled.held.withdraw(asked)
    assert "m3" not in settled.cycle()


def test_no_second_has_more_calls_than_the_budget(settled: Simulation) -> None:
    assert settled.most_in_a_second() <= 10


def test_a_budget_that_is_too_small_is_told_and_by_how_much() -> None:
    simulation = Simulation(Size(50, 2000), 1, timedelta(minutes=15))
    for _ in range(60):
        simulation.cycle()
    remark = simulation.remark
    assert remark is not None
    assert "the sweep of 2000 versions takes 4" in remark
    assert "more than registry.full_sweep" in remark
    assert simulation.most_in_a_second() <= 1


def test_a_deleted_model_and_version_are_forgotten(settled: Simulation) -> None:
    del settled.held.models["m49"]
    del settled.held.models["m48"]["40"]
    for _ in range(16):
        settled.cycle()
    assert len(settled.registry._sweep) == sum(len(versions) for versions in settled.held.models.values())


def test_too_many_requests_halve_the_pace_for_a_while() -> None:
    clock = Clock()
    budget = Budget(8, clock, clock.sleep)
    budget.slow_down()
    started = clock()
    for _ in range(20):
        budget.wait(60)
    assert clock() - started >= 4
    clock.sleep(31)
    assert budget.rate == 8


def test_calls_under_way_when_the_server_refuses_halve_the_pace_once() -> None:
    clock = Clock()
    budget = Budget(40, clock, clock.sleep)
    for _ in range(8):
        budget.slow_down()
    assert budget.rate == 20


def test_while_the_server_asks_to_wait_no_thread_calls_and_none_waits_longer_than_its_call_may() -> None:
    clock = Clock()
    budget = Budget(40, clock, clock.sleep)
    budget.slow_down(4)
    began = clock()
    assert not budget.wait(3)
    assert clock() == began
    assert budget.wait(10)
    assert clock() == began + 4
    budget.slow_down(1e9)
    assert not budget.wait(59)
    assert budget.wait(61)


@pytest.mark.parametrize("pause", [2.0, 8.0, 30.0])
def test_a_server_that_refuses_is_left_alone_for_as_long_as_it_asks(pause: float) -> None:
    simulation = Simulation(Size(50, 5000), 40, timedelta(minutes=15))
    throttle = simulation.held.throttle = Throttle(25, pause, simulation.clock)
    began = simulation.clock()
    for _ in range(3):
        simulation.cycle()
    assert throttle.refused
    assert not throttle.too_early
    # The full pace is tried again half a minute after each refusal.
    assert len(throttle.refused) <= (simulation.clock() - began) / 30 + 1
    assert len(simulation.transport.sent) == len(simulation.held.calls) + len(throttle.refused)
    simulation.held.throttle = None
    asked = simulation.held.ask("m7", "50")
    assert simulation.cycles_until("m7") <= 15
    simulation.held.withdraw(asked)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", ("approve", "ok")),
        (f"models:/{LOGGED_MODEL}", ("abstain", "undetermined")),
        ("dbfs:/elsewhere/model", ("abstain", "undetermined")),
    ],
    ids=["under the run", "a logged model", "files elsewhere"],
)
@pytest.mark.parametrize("together", [1, 3])
def test_what_the_workspace_does_not_show_of_a_run_refutes_no_link(
    world: OnDatabricks, source: str, expected: tuple[str, str], together: int
) -> None:
    models = [f"m{at}" for at in range(together)]
    for model in models:
        world.version(model, 0.95)
    world.workspace.models["m0"]["1"].source = source
    rule = "  - name: r\n    targets: [Production]\n    require: [{run: {linked: true}}]\n"
    policy, now = parse_policy(f"version: 1\nrules:\n{rule}", "p").policy, datetime.now(UTC)
    listed = [Listed(a_request(model, now), None) for model in models]
    verdict = next(judge_batch(world.registry, policy, listed, now)).verdict
    assert (str(verdict.kind), str(verdict.checks[0].code)) == expected


def test_a_signature_cannot_be_told_since_no_route_leads_to_a_file(world: OnDatabricks) -> None:
    world.version("m0", 0.95)
    rule = "  - name: r\n    targets: [Production]\n    require: [{signature: {}}]\n"
    policy, now = parse_policy(f"version: 1\nrules:\n{rule}", "p").policy, datetime.now(UTC)
    verdict = next(judge_batch(world.registry, policy, [Listed(a_request("m0", now), None)], now)).verdict
    assert (str(verdict.kind), str(verdict.reason_code)) == ("abstain", "undetermined")
    assert "Databricks documents no route" in verdict.checks[0].observed


def test_what_holds_a_stage_is_compared_with_where_a_decision_or_the_first_look_vouches_for_it(
    world: OnDatabricks, tmp_path: Path, model: str
) -> None:
    daemon = Daemon(world.registry, tmp_path, comparing_policy())
    world.workspace.version(model, "0.90")
    world.workspace.models[model]["1"].stage = "Production"
    daemon.cycle()
    for accuracy in ("0.80", "0.95", "0.92"):
        number = str(len(world.workspace.models[model]) + 1)
        world.workspace.version(model, accuracy)
        world.workspace.ask(model, version=number)
        daemon.cycle()
    assert [(row["version"], row["verdict"]) for row in reversed(daemon.rows())] == [
        ("2", "reject"),
        ("3", "approve"),
        ("4", "reject"),
    ]
    daemon.engine.dispose()


def test_a_holder_that_a_person_may_have_approved_unseen_is_no_baseline(
    world: OnDatabricks, tmp_path: Path, model: str
) -> None:
    daemon = Daemon(world.registry, tmp_path, comparing_policy())
    world.workspace.version(model, "0.10")
    daemon.cycle()
    world.workspace.models[model]["1"].stage = "Production"
    for _ in range(3):
        daemon.full_look()
    world.workspace.version(model, "0.95")
    world.workspace.ask(model, version="2")
    daemon.cycle()
    assert daemon.rows() == []
    alias = {(model, Target.parse("@champion"))}
    assert [type(held) for held in world.registry.held_now(alias).values()] == [Unreadable]
    daemon.engine.dispose()
