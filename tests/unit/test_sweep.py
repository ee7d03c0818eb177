"""The sweep of versions: in which order they are read, and that planning costs what it plans, not what there is."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from reconciler.domain.place import ModelVersion
from reconciler.registry.sweep import Sweep
from reconciler.registry.turns import Turns
from tests.databricks_simulation import Clock, Simulation, Size
from tests.steps import steps

FULL, MINUTE, DAY = 900.0, 60.0, 24 * 3600.0


def swept(clock: Clock, models: int, versions: int) -> Sweep:
    """A sweep that has read every version once."""
    sweep = Sweep(FULL, clock)
    sweep.learn((f"m{model}", str(version)) for model in range(models) for version in range(1, versions + 1))
    sweep.learned_all()
    look(sweep, sweep.plan(models * versions))
    return sweep


def look(
    sweep: Sweep, versions: list[ModelVersion], requested: frozenset[ModelVersion] = frozenset()
) -> list[ModelVersion]:
    for one in versions:
        sweep.looked(one, requested=one in requested)
    return versions


@pytest.mark.parametrize(("models", "versions"), [(2_000, 50), (100, 1_000)])
def test_a_plan_costs_the_same_whether_there_are_a_thousand_versions_or_a_hundred_thousand(
    models: int, versions: int
) -> None:
    def a_cycle(sweep: Sweep, clock: Clock) -> None:
        sweep.learn([("m3", str(sweep.newest("m3") + 1))])
        look(sweep, sweep.plan(100), frozenset([("m1", "1")]))
        clock.sleep(MINUTE)

    def cost(models: int, versions: int) -> int:
        clock = Clock()
        sweep = swept(clock, models, versions)
        clock.sleep(FULL)
        a_cycle(sweep, clock)
        clock.sleep(FULL)
        return steps(lambda: a_cycle(sweep, clock))

    assert cost(models, versions) == pytest.approx(cost(20, 50), rel=0.02)


def test_a_cycle_looks_at_what_it_receives_and_what_it_asks_for_and_at_nothing_else() -> None:
    def cost(size: Size) -> float:
        """Steps of a cycle for each row received and each call made."""
        simulation = Simulation(size, 10, timedelta(minutes=15))
        for _ in range(3):
            simulation.cycle()
        before = simulation.held.rows
        total = steps(simulation.cycle)
        return total / (simulation.held.rows - before + simulation.transport.calls)

    assert cost(Size(20, 20_000)) <= cost(Size(20, 1_000)) * 1.1


def test_the_longest_unread_come_first_and_none_comes_twice_before_all_came() -> None:
    clock = Clock()
    sweep = swept(clock, 10, 30)
    seen: list[ModelVersion] = []
    while len(seen) < 300:
        clock.sleep(MINUTE)
        seen += look(sweep, sweep.plan(40))
    assert len(set(seen[:300])) == 300


def test_open_ones_come_first_then_the_latest_that_were_fresh_or_asked_for_within_a_day() -> None:
    clock = Clock()
    sweep = swept(clock, 10, 30)
    clock.sleep(MINUTE)
    sweep.learn([("m0", "31")])
    clock.sleep(MINUTE)
    look(sweep, [("m1", "1"), ("m2", "2")], frozenset([("m1", "1"), ("m2", "2")]))
    look(sweep, [("m2", "2")])
    assert sweep.plan(10)[:3] == [("m1", "1"), ("m2", "2"), ("m0", "31")]
    look(sweep, [("m0", "31")])
    clock.sleep(DAY)
    assert sweep.plan(10)[:1] == [("m1", "1")]
    assert ("m0", "31") not in sweep.plan(10)
    sweep.forget(("m1", "1"))
    assert ("m1", "1") not in sweep.plan(301)


def test_more_open_ones_than_calls_are_all_read() -> None:
    clock = Clock()
    sweep = swept(clock, 10, 30)
    asked = [(f"m{model}", "1") for model in range(10)]
    look(sweep, asked, frozenset(asked))
    assert sorted(sweep.plan(4)) == sorted(asked)


def test_the_newest_version_is_known_after_the_newest_was_deleted() -> None:
    sweep = Sweep(FULL, Clock())
    sweep.learn([("m", "9"), ("m", "10"), ("other", "70")])
    assert sweep.newest("m") == 10
    sweep.keep_only("m", {"9"})
    assert sweep.newest("m") == 9
    sweep.learn([("m", "11")])
    assert sweep.newest("m") == 11
    sweep.forget_models_but({"other"})
    assert (sweep.newest("m"), len(sweep)) == (0, 1)


def test_turns_are_spread_and_everyone_has_one_in_time() -> None:
    clock = Clock()
    turns = Turns(FULL, clock)
    turns.only([str(name) for name in range(1_000)])
    had: dict[str, float] = {}
    busiest = longest = 0.0
    for round in range(60):
        due = turns.due()
        busiest = max(busiest, len(due)) if round else 0
        for name in due:
            longest = max(longest, clock() - had.get(name, clock()))
            had[name] = clock()
            turns.took(name)
        clock.sleep(MINUTE)
    assert len(had) == 1_000
    assert longest <= FULL
    assert busiest <= 1_000 * MINUTE / FULL * 1.1 + 1


def test_few_names_do_not_take_more_turns_than_they_need() -> None:
    clock = Clock()
    turns = Turns(FULL, clock)
    turns.only(["a", "b"])
    taken: Counter[str] = Counter()
    for _ in range(60):
        for name in turns.due():
            taken[name] += 1
            turns.took(name)
        clock.sleep(MINUTE)
    # The first at once, then one in each of the four times that passed, plus a tenth.
    assert max(taken.values()) <= 5


def test_who_is_gone_takes_no_turn_and_who_is_new_comes_first() -> None:
    clock = Clock()
    turns = Turns(FULL, clock)
    turns.only(["a", "b"])
    assert turns.due() == ["a", "b"]
    turns.took("a")
    assert not turns.everyone_had_one
    turns.only(["a", "c"])
    assert turns.due() == ["c"]
    turns.took("c")
    assert turns.everyone_had_one
    clock.sleep(FULL)
    assert turns.due() == ["a", "c"]
