"""What the worst reading of Databricks' documents adds: no ids, many requesters, lists that lag, errors after acts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from reconciler.domain.decision import COMMENT_BYTES, Decision, Mode
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.domain.verdict import VerdictKind
from reconciler.registry.budget import Budget
from reconciler.registry.databricks import DatabricksRegistry, Looked, SweepTiming
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.sweep import Place
from reconciler.registry.transport import Transport
from tests.contract.conftest import Daemon, OnDatabricks
from tests.databricks_double import Workspace, workspace

PRODUCTION = Target.parse("Production")
SCOPE = Scope.of_all_models([PRODUCTION])


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


class Clock:
    """Seconds that pass only when somebody sleeps or a call takes its time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


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


class Simulated(Transport):
    """Answers at once from a workspace in memory, after the budget's wait; notes when each call went out."""

    def __init__(self, held: Workspace, budget: Budget, clock: Clock) -> None:
        super().__init__(Endpoint("http://simulated.test"))
        self._held, self._budget, self._clock = held, budget, clock
        self.sent: list[float] = []

    def get(self, path: str, params: Any = None) -> Any:
        assert self._budget.wait(60)
        self.sent.append(self._clock())
        return self._held.answer("GET", path, dict(params or {}))[1]


class Simulation:
    """A daemon that lists every minute. `remark` is that of the last list."""

    remark: str | None = None

    def __init__(self, models: int, versions: int, per_second: float, full: timedelta) -> None:
        self.clock, self.held = Clock(), Workspace()
        for number in range(models):
            self.held.models[f"m{number}"] = {}
            for _ in range(versions // models):
                self.held.version(f"m{number}")
        budget = Budget(per_second, self.clock, self.clock.sleep)
        self.transport = Simulated(self.held, budget, self.clock)
        self.registry = DatabricksRegistry(
            "x", [self.transport], self.transport, budget,
            SweepTiming(full, sweep_for=timedelta(seconds=48), clock=self.clock), look_all=self._look,
        )  # fmt: skip

    def _look(self, places: Sequence[Place]) -> Iterator[Looked]:
        for place in places:
            yield place, self.registry.look(self.transport, place)

    def cycle(self) -> set[str]:
        """The models of the requests that were seen; the next cycle is a minute after this one."""
        started = self.clock()
        listing = self.registry.open_requests(SCOPE)
        self.remark = listing.remark
        found = {listed.request.model for listed in listing.requests}
        self.clock.now = max(self.clock.now, started + 60)
        return found

    def cycles_until(self, model: str) -> int:
        return next(count for count in range(1, 100) if model in self.cycle())

    def most_in_a_second(self) -> int:
        sent = self.transport.sent
        return max(sum(start <= at < start + 1 for at in sent[index : index + 200]) for index, start in enumerate(sent))


@pytest.fixture(scope="module")
def settled() -> Simulation:
    """2,000 versions of 50 models, 10 calls a second, after an hour."""
    simulation = Simulation(50, 2000, 10, timedelta(minutes=15))
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
    simulation = Simulation(50, 2000, 1, timedelta(minutes=15))
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
