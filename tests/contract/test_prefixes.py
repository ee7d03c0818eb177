"""A daemon dies after each write of an act on a real server, and a person does each thing before the next pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from reconciler.failpoints import watching
from tests.contract.conftest import Daemon, ToAnAlias, World


class Killed(BaseException):
    pass


def killed_at(name: str, cycle: Callable[[], object]) -> None:
    def reached(place: str) -> None:
        if place == name:
            raise Killed

    with watching(reached), contextlib.suppress(Killed):
        cycle()


def died_and_a_person_was_faster(
    world: World, daemon: Daemon, model: str, accuracy: float, died: str, people: str
) -> None:
    world.version(model, accuracy)
    world.ask(model, "first")
    killed_at(died, daemon.cycle)
    PEOPLE[people](world, model)
    daemon.cycle()
    daemon.cycle()


PEOPLE: dict[str, Callable[[World, str], None]] = {
    "nothing": lambda world, model: None,
    "withdraw": lambda world, model: world.withdraw(model),
    "ask again": lambda world, model: world.ask(model, "again"),
    "resolve": lambda world, model: world.approve_by_hand(model),
    "delete": lambda world, model: world.delete(model),
}
ONCE, TWICE = [("approve", "applied")], [("approve", "applied")] * 2
LATE, GONE = [("approve", "superseded"), ("approve", "applied")], [("approve", "superseded")]


@pytest.mark.parametrize("world", ["tags", "alias"], indirect=True)
@pytest.mark.parametrize(
    ("died", "people", "recorded", "stage"),
    [
        ("about to act", "nothing", ONCE, "Production"),
        ("about to act", "withdraw", GONE, "None"),
        ("about to act", "ask again", LATE, "Production"),
        ("about to act", "resolve", GONE, "Production"),
        ("about to act", "delete", GONE, ""),
        ("told", "nothing", ONCE, "Production"),
        ("told", "withdraw", GONE, "None"),
        ("told", "ask again", LATE, "Production"),
        ("told", "resolve", ONCE, "Production"),
        ("told", "delete", GONE, ""),
        ("moved", "nothing", ONCE, "Production"),
        ("moved", "withdraw", ONCE, "Production"),
        ("moved", "ask again", TWICE, "Production"),
        ("moved", "resolve", ONCE, "Production"),
        ("moved", "delete", GONE, ""),
        ("acted", "nothing", ONCE, "Production"),
        ("acted", "ask again", TWICE, "Production"),
        ("acted", "delete", GONE, ""),
    ],
)
def test_died_after_a_write_and_a_person_was_faster(
    world: World, daemon: Daemon, model: str, died: str, people: str, recorded: list[tuple[str, str]], stage: str
) -> None:
    died_and_a_person_was_faster(world, daemon, model, 0.95, died, people)
    assert daemon.decisions() == recorded
    if stage:
        assert world.stage(model) == holding(world, stage)


REJECTED, NOT_REJECTED = ("reject", "applied"), ("reject", "superseded")


@pytest.mark.parametrize("world", ["tags", "alias"], indirect=True)
@pytest.mark.parametrize(
    ("died", "people", "recorded", "stage"),
    [
        ("about to act", "nothing", [REJECTED], "None"),
        ("about to act", "withdraw", [NOT_REJECTED], "None"),
        ("about to act", "ask again", [NOT_REJECTED, REJECTED], "None"),
        ("about to act", "resolve", [NOT_REJECTED], "Production"),
        ("about to act", "delete", [NOT_REJECTED], ""),
        ("told", "nothing", [REJECTED], "None"),
        ("told", "withdraw", [REJECTED], "None"),
        ("told", "ask again", [REJECTED, REJECTED], "None"),
        ("told", "resolve", [REJECTED], "Production"),
        ("told", "delete", [NOT_REJECTED], ""),
        ("acted", "nothing", [REJECTED], "None"),
        ("acted", "ask again", [REJECTED, REJECTED], "None"),
        ("acted", "delete", [NOT_REJECTED], ""),
    ],
)
def test_died_after_a_write_of_a_rejection_and_a_person_was_faster(
    world: World, daemon: Daemon, model: str, died: str, people: str, recorded: list[tuple[str, str]], stage: str
) -> None:
    died_and_a_person_was_faster(world, daemon, model, 0.5, died, people)
    assert daemon.decisions() == recorded
    if stage:
        assert world.stage(model) == holding(world, stage)


def holding(world: World, stage: str) -> str:
    return "champion" if isinstance(world, ToAnAlias) and stage == "Production" else stage


@pytest.mark.parametrize("world", ["app"], indirect=True)
def test_the_app_keeps_showing_a_decision_that_another_was_written_over(
    world: World, daemon: Daemon, model: str
) -> None:
    world.version(model, 0.95)
    world.ask(model, "first")
    killed_at("acted", daemon.cycle)
    world.ask(model, "second")
    world.approve_by_hand(model)
    daemon.cycle()
    assert daemon.decisions() == ONCE
