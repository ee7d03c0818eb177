"""Where a version comes from, and for how long it was there, on real servers and the Databricks double."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.registry.budget import Budget
from reconciler.registry.databricks import DatabricksRegistry, SweepTiming
from tests.contract.conftest import Daemon, OnDatabricks, OnMlflow, ToAnAlias, World
from tests.contract.test_resolutions import rows
from tests.contract.test_tenures import stage, tenures

on_all = pytest.mark.parametrize("world", ["tags", "app", "alias", "databricks"], indirect=True)
HELD_FOR = 1.0
POLICY = """\
version: 1
rules:
  - name: tried
    targets: [{target}]
    require: [{{stage: "{stage}"{keys}}}]
"""


def policy_of(world: World, keys: str = f", held_for: {HELD_FOR}s") -> str:
    target, comes_from = ("'@champion'", "@challenger") if isinstance(world, ToAnAlias) else ("Production", "Staging")
    return POLICY.format(target=target, stage=comes_from, keys=keys)


@pytest.fixture
def daemon(world: World, tmp_path: Path) -> Iterator[Daemon]:
    if isinstance(world, OnDatabricks):
        # All versions are seen once in a sweep, which is as far as a tenure is proven.
        timing = SweepTiming(timedelta(milliseconds=1), sweep_for=timedelta(seconds=5))
        world.registry = DatabricksRegistry(
            world.workspace.uri, [world.transport], world.transport, Budget(500), timing
        )
    daemon = Daemon(world.registry, tmp_path, policy_of(world))
    yield daemon
    daemon.engine.dispose()


def try_out(world: World, model: str) -> None:
    """Somebody moves version 1 to where it has to come from."""
    if isinstance(world, OnDatabricks):
        world.workspace.models[model]["1"].stage = "Staging"
    elif isinstance(world, ToAnAlias):
        body = {"name": model, "alias": "challenger", "version": "1"}
        world.server.call("POST", "registered-models/alias", json=body)
    else:
        assert isinstance(world, OnMlflow)
        stage(world, model, "1", "Staging")


def seen(daemon: Daemon, model: str) -> list[tuple[str, str]]:
    query = "SELECT seen, sign FROM observations WHERE model = :model ORDER BY id"
    return [tuple(row) for row in rows(daemon, query, model=model)]  # type: ignore[misc]


@on_all
def test_a_version_passes_once_it_was_there_for_long_enough(world: World, daemon: Daemon, model: str) -> None:
    daemon.cycle()
    world.version(model, 0.95)
    try_out(world, model)
    world.ask(model)
    daemon.cycle()
    assert seen(daemon, model)[-1:] == [("held", "watched")]
    assert daemon.decisions() == []
    time.sleep(HELD_FOR)
    # What a look sees, the next cycle rests on; on a slow server a look does not get to everything.
    for _ in range(10):
        daemon.cycle()
        if daemon.decisions():
            break
    assert daemon.decisions() == [("approve", "applied")]
    daemon.cycle()
    daemon.cycle()
    # Of what is governed there is the decision alone.
    assert tenures(daemon, model) == [("1", "decision", None)]
    assert rows(daemon, "SELECT count(*) FROM bypasses") == [(0,)]


@on_all
def test_a_version_that_comes_from_elsewhere_is_rejected(world: World, daemon: Daemon, model: str) -> None:
    world.version(model, 0.95)
    world.ask(model)
    daemon.cycle()
    assert daemon.decisions() == [("reject", "applied")]


@on_all
def test_where_it_is_needs_no_look(world: World, tmp_path: Path, model: str) -> None:
    daemon = Daemon(world.registry, tmp_path, policy_of(world, keys=""))
    world.version(model, 0.95)
    try_out(world, model)
    world.ask(model)
    daemon.cycle()
    assert daemon.decisions() == [("approve", "applied")]
    assert [sign for _, sign in seen(daemon, model)] in ([], [""])
    daemon.engine.dispose()


@pytest.mark.parametrize("world", ["tags", "app"], indirect=True)
def test_a_request_for_a_target_that_is_only_watched_is_left_alone(world: World, daemon: Daemon, model: str) -> None:
    assert isinstance(world, OnMlflow)
    world.version(model, 0.95)
    if world.server.protocol == "tags":
        world.server.tag(model, "please", "transition_request.stage.Staging")
    else:
        world.server.call(
            "POST", "transition-requests/create", json={"name": model, "version": "1", "stage": "Staging"}
        )
    daemon.cycle()
    assert rows(daemon, "SELECT count(*) FROM open_requests") == [(0,)]
    assert daemon.decisions() == []


@pytest.mark.parametrize("world", ["tags", "app"], indirect=True)
def test_what_is_watched_beside_costs_an_idle_cycle_no_call(world: World, tmp_path: Path) -> None:
    calls = []
    for number, keys in enumerate(("", f", held_for: {HELD_FOR}s")):
        (tmp_path / str(number)).mkdir()
        daemon = Daemon(world.registry, tmp_path / str(number), policy_of(world, keys))
        for _ in range(3):
            daemon.cycle()
        before = len(world.transport.__dict__["sent"])
        daemon.cycle()
        calls.append(world.transport.__dict__["sent"][before:])
        daemon.engine.dispose()
    assert calls[0] == calls[1]
