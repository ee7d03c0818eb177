"""Holders come with the app's list: the groups that changed, as far as the caller may read, on real servers."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.domain.holding.groups import GROUPS, group_of
from reconciler.domain.holding.looks import Kind, Wanted
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.registry.app import AppRegistry
from tests.contract.conftest import Daemon, Faulty, World
from tests.contract.test_tenures import tenures

SCOPE = Scope.of_all_models([Target.parse("Production"), Target.parse("@champion")])
on_the_app = pytest.mark.parametrize("world", ["app"], indirect=True)


def asked(transport: Faulty) -> list[str]:
    return [path.rpartition("/")[2] for path in transport.__dict__.get("sent", [])]


@on_the_app
def test_an_idle_cycle_asks_once_for_requests_history_and_holders(world: World, daemon: Daemon, model: str) -> None:
    world.version(model, 0.95)
    world.ask(model)
    for _ in range(4):
        daemon.cycle()
    before = len(asked(world.transport))
    daemon.cycle()
    assert asked(world.transport)[before:] == ["list"]


@on_the_app
def test_what_did_not_change_is_not_told_again(world: World, daemon: Daemon, model: str) -> None:
    world.version(model, 0.95)
    world.ask(model)
    daemon.cycle()
    registry = AppRegistry(world.registry.uri, "", world.transport, world.transport)
    registry.open_requests(SCOPE, with_holders=True)
    first = registry.look(Wanted(SCOPE, everything=False))
    assert (model, "1", "Production") in {(seen.model, seen.version, seen.stage) for seen in first.versions}
    assert set(first.as_of) == set(Kind)
    registry.open_requests(SCOPE, with_holders=True)
    second = registry.look(Wanted(SCOPE, everything=False))
    assert (list(second.versions), list(second.models), list(second.rounds)) == ([], [], [])
    assert set(second.as_of) == set(Kind)
    other = f"{model}-other"
    world.version(other, 0.95)
    world.ask(other)
    daemon.cycle()
    registry.open_requests(SCOPE, with_holders=True)
    third = registry.look(Wanted(SCOPE, everything=False))
    assert {group_of(seen.model) for seen in third.versions} == {group_of(other)}


@on_the_app
def test_an_app_that_tells_no_holders_is_looked_at_like_any_server(
    world: World, daemon: Daemon, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Faulty._send

    def of_an_earlier_release(self: Faulty, *arguments: Any, **more: Any) -> Any:
        answer = send(self, *arguments, **more)
        if isinstance(answer, dict):
            answer.pop("holders", None)
        return answer

    monkeypatch.setattr(Faulty, "_send", of_an_earlier_release)
    world.version(model, 0.95)
    world.ask(model)
    for _ in range(3):
        daemon.cycle()
    assert tenures(daemon, model) == [("1", "decision", None)]


@on_the_app
@pytest.mark.parametrize("told", [{"groups": "no"}, {"groups": [{"group": 0}], "more": False}, [], 7])
def test_holders_that_cannot_be_read_end_the_look_and_nothing_is_concluded(
    world: World, daemon: Daemon, model: str, monkeypatch: pytest.MonkeyPatch, told: Any
) -> None:
    world.version(model, 0.95)
    world.ask(model)
    for _ in range(3):
        daemon.cycle()
    send = Faulty._send

    def spoilt(self: Faulty, *arguments: Any, **more: Any) -> Any:
        answer = send(self, *arguments, **more)
        return {**answer, "holders": told} if isinstance(answer, dict) and "holders" in answer else answer

    with monkeypatch.context() as changed:
        changed.setattr(Faulty, "_send", spoilt)
        daemon.cycle()
    daemon.cycle()
    assert tenures(daemon, model) == [("1", "decision", None)]


def test_every_group_is_of_some_models() -> None:
    assert {group_of(f"model-{number}") for number in range(2000)} == set(range(GROUPS))
