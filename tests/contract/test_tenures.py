"""What holds a target, read from the view `tenures` with SQL, on real servers and the Databricks double."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from reconciler.cycle import Times
from tests.contract.conftest import ACTS, POLICY, Daemon, OnMlflow, ToAnAlias, World
from tests.contract.test_prefixes import killed_at
from tests.contract.test_resolutions import observing, rows

__all__ = ["observing"]
on_mlflow = pytest.mark.parametrize("world", ["tags", "app", "alias"], indirect=True)
on_plain_servers = pytest.mark.parametrize("world", ["tags", "alias"], indirect=True)
on_all = pytest.mark.parametrize("world", ["tags", "app", "alias", "databricks"], indirect=True)


def tenures(daemon: Daemon, model: str) -> list[tuple[Any, ...]]:
    query = "SELECT version, began_by, ended_by FROM tenures WHERE model = :model ORDER BY tenure_id"
    return rows(daemon, query, model=model)


def move(world: World, model: str, version: str = "1") -> None:
    """Somebody moves a version without asking."""
    assert isinstance(world, OnMlflow)
    if isinstance(world, ToAnAlias):
        body = {"name": model, "alias": "champion", "version": version}
        world.server.call("POST", "registered-models/alias", json=body)
    else:
        stage(world, model, version, "Production")


def stage(world: OnMlflow, model: str, version: str, to: str, *, archive: bool = False) -> None:
    body = {"name": model, "version": version, "stage": to, "archive_existing_versions": archive}
    world.server.call("POST", "model-versions/transition-stage", json=body)


def take_away(world: World, model: str, version: str = "1") -> None:
    assert isinstance(world, OnMlflow)
    if isinstance(world, ToAnAlias):
        world.server.call("DELETE", "registered-models/alias", json={"name": model, "alias": "champion"})
    else:
        stage(world, model, version, "None")


@on_all
def test_a_version_that_a_decision_moved_is_held_by_that_decision(world: World, daemon: Daemon, model: str) -> None:
    daemon.cycle()
    world.version(model, 0.95)
    world.ask(model)
    daemon.cycle()
    daemon.cycle()
    [(began_by, decision, without, first)] = rows(
        daemon,
        "SELECT began_by, decision_id, last_seen_without, first_seen_with FROM tenures WHERE model = :model",
        model=model,
    )
    [(decided, at)] = rows(daemon, "SELECT decision_id, decided_at FROM decisions WHERE model = :model", model=model)
    assert (began_by, decision) == ("decision", decided)
    assert without < at < first


@on_plain_servers
def test_a_move_that_nobody_asked_for_is_a_bypass_from_the_second_look_on(
    world: World, daemon: Daemon, model: str
) -> None:
    daemon.cycle()
    world.version(model, 0.95)
    move(world, model)
    daemon.cycle()
    assert tenures(daemon, model) == [("1", None, None)]
    daemon.cycle()
    assert tenures(daemon, model) == [("1", "bypass", None)]


@on_all
def test_what_held_when_it_was_first_looked_at_is_a_baseline(world: World, daemon: Daemon, model: str) -> None:
    world.version(model, 0.95)
    world.ask(model)
    world.approve_by_hand(model)
    daemon.cycle()
    assert tenures(daemon, model) == [("1", "person" if world.registry.keeps_history else "baseline", None)]


@on_all
def test_a_person_who_approves_is_named_as_far_as_the_registry_tells(
    world: World, observing: Daemon, model: str
) -> None:
    observing.cycle()
    world.version(model, 0.5)
    world.ask(model)
    observing.cycle()
    world.approve_by_hand(model)
    observing.cycle()
    observing.cycle()
    observing.cycle()
    assert tenures(observing, model) == [("1", "person", None)]


@on_plain_servers
def test_a_version_that_was_moved_while_its_request_is_open_was_moved_by_a_person(
    world: World, observing: Daemon, model: str
) -> None:
    world.version(model, 0.5)
    world.ask(model)
    observing.cycle()
    move(world, model)
    for _ in range(3):
        observing.cycle()
    assert tenures(observing, model) == [("1", "person", None)]


@on_plain_servers
def test_a_request_that_was_filed_after_the_move_explains_nothing(world: World, observing: Daemon, model: str) -> None:
    observing.cycle()
    world.version(model, 0.5)
    move(world, model)
    observing.cycle()
    world.ask(model)
    for _ in range(3):
        observing.cycle()
    assert tenures(observing, model) == [("1", "bypass", None)]


@on_plain_servers
def test_a_return_to_what_was_approved_before_is_a_rollback(world: World, daemon: Daemon, model: str) -> None:
    daemon.cycle()
    world.version(model, 0.95)
    world.ask(model)
    daemon.cycle()
    daemon.cycle()
    take_away(world, model)
    daemon.cycle()
    daemon.cycle()
    move(world, model)
    daemon.cycle()
    daemon.cycle()
    assert tenures(daemon, model) == [("1", "decision", "unrecorded"), ("1", "rollback", None)]


@on_mlflow
def test_a_version_that_another_approval_archives_was_ended_by_that_decision(
    world: World, daemon: Daemon, model: str
) -> None:
    world.version(model, 0.95)
    world.ask(model)
    daemon.cycle()
    daemon.cycle()
    assert isinstance(world, OnMlflow)
    second_version(world, model)
    ask_for(world, model, "2")
    daemon.cycle()
    daemon.cycle()
    assert tenures(daemon, model) == [("1", "decision", "decision"), ("2", "decision", None)]


def second_version(world: OnMlflow, model: str) -> None:
    run = world.server._run(0.96)
    body = {"name": model, "source": f"runs:/{run}/model", "run_id": run}
    world.server.call("POST", "model-versions/create", json=body)


def ask_for(world: OnMlflow, model: str, version: str) -> None:
    if world.server.protocol != "tags":
        body = {"name": model, "version": version, "stage": "Production", "comment": "please"}
        world.server.call("POST", "transition-requests/create", json=body)
        return
    tag = "alias.champion" if isinstance(world, ToAnAlias) else "stage.Production"
    body = {"name": model, "version": version, "key": f"transition_request.{tag}", "value": "please"}
    world.server.call("POST", "model-versions/set-tag", json=body)


@on_plain_servers
def test_a_renamed_model_is_the_same_tenure_under_another_name(world: World, daemon: Daemon, model: str) -> None:
    assert isinstance(world, OnMlflow)
    daemon.cycle()
    world.version(model, 0.95)
    world.ask(model)
    daemon.cycle()
    daemon.cycle()
    new = f"{model}-renamed"
    world.server.call("POST", "registered-models/rename", json={"name": model, "new_name": new})
    daemon.cycle()
    daemon.cycle()
    assert tenures(daemon, model) == [("1", "decision", "rename")]
    assert tenures(daemon, new) == [("1", "rename", None)]


@on_plain_servers
def test_a_deleted_version_holds_no_more(world: World, daemon: Daemon, model: str) -> None:
    assert isinstance(world, OnMlflow)
    daemon.cycle()
    world.version(model, 0.95)
    world.ask(model)
    daemon.cycle()
    daemon.cycle()
    world.delete(model)
    daemon.full_look()
    daemon.cycle()
    assert tenures(daemon, model) == [("1", "decision", "deleted")]


@pytest.mark.parametrize("world", ["tags"], indirect=True)
def test_a_clock_of_the_database_that_is_set_back_delays_no_look_at_everything(
    world: World, daemon: Daemon, model: str
) -> None:
    assert isinstance(world, OnMlflow)
    world.version(model, 0.95)
    move(world, model)
    daemon.cycle()
    daemon.cycle()
    with daemon.engine.begin() as connection:
        for moment in ("stages_as_of", "aliases_as_of", "everything_as_of"):
            connection.execute(text(f"UPDATE looks SET {moment} = '2096-01-01T00:00:00.000Z'"))
    world.delete(model)
    daemon.cycle()
    daemon.cycle()
    assert tenures(daemon, model) == [("1", "baseline", "deleted")]


@on_all
def test_a_daemon_that_died_after_its_move_leaves_no_bypass(world: World, daemon: Daemon, model: str) -> None:
    daemon.cycle()
    world.version(model, 0.95)
    world.ask(model)
    killed_at("acted", daemon.cycle)
    for _ in range(3):
        daemon.cycle()
    # Databricks does not tell who approved, and a person may have.
    assert tenures(daemon, model) == [("1", "decision" if world.tells_who else "undetermined", None)]


@on_all
def test_an_idle_look_writes_no_history(world: World, daemon: Daemon, model: str) -> None:
    world.version(model, 0.95)
    world.ask(model)
    for _ in range(3):
        daemon.cycle()
    before = rows(daemon, "SELECT size FROM log_state")
    daemon.cycle()
    assert rows(daemon, "SELECT size FROM log_state") == before


@pytest.mark.parametrize("tag", ["stage.production", "Production", "alias.nobody", "stage.Prodution"])
@pytest.mark.parametrize("world", ["tags"], indirect=True)
def test_a_tag_that_looks_like_a_request_is_told_on_its_version_and_forgotten_when_it_is_gone(
    world: World, daemon: Daemon, model: str, tag: str
) -> None:
    assert isinstance(world, OnMlflow)
    world.version(model, 0.95)
    key = f"transition_request.{tag}"
    world.server.tag(model, "please", key)
    daemon.full_look()
    stray = "SELECT tag, pointed_out FROM stray_tags WHERE model = :model"
    assert rows(daemon, stray, model=model) == [(key, 1)]
    shown = world.server.shown(model)["tags"]
    assert "Production" in shown[f"transition_decision.{tag}"]
    assert "transition_request.stage.Production" in shown[f"transition_decision.{tag}"]
    assert shown[key] == "please"
    world.server.call("DELETE", "model-versions/delete-tag", json={"name": model, "version": "1", "key": key})
    daemon.full_look()
    assert rows(daemon, stray, model=model) == []


@pytest.mark.parametrize("world", ["tags"], indirect=True)
def test_a_mode_that_does_not_act_writes_nothing_beside_a_stray_tag(
    world: World, observing: Daemon, model: str
) -> None:
    assert isinstance(world, OnMlflow)
    world.version(model, 0.95)
    key = "transition_request.Production"
    world.server.tag(model, "please", key)
    observing.cycle()
    assert rows(observing, "SELECT tag FROM stray_tags WHERE model = :model", model=model) != []
    assert list(world.server.shown(model)["tags"]) == [key]
    # Other tests share the server, and their daemons would tell it.
    world.server.call("DELETE", "model-versions/delete-tag", json={"name": model, "version": "1", "key": key})


@on_plain_servers
def test_an_idle_look_asks_for_what_changed_and_for_one_round_of_aliases(
    world: World, daemon: Daemon, model: str
) -> None:
    world.version(model, 0.95)
    for _ in range(3):
        daemon.cycle()
    before = len(world.transport.sent)
    daemon.cycle()
    asked = [path.rpartition("mlflow/")[2] for path in world.transport.sent[before:]]
    assert isinstance(world, OnMlflow)
    aliases = ["registered-models/search"] if isinstance(world, ToAnAlias) else []
    changes = [] if isinstance(world, ToAnAlias) else ["model-versions/search"] * pages_of_changes(world)
    # One list of requests for the one target, and the look.
    assert sorted(asked) == sorted(["model-versions/search", *changes, *aliases])


def pages_of_changes(world: OnMlflow) -> int:
    """A page of 100, then of 1,000, to the first change that is older than ten minutes: tests share the server."""
    query: dict[str, Any] = {"max_results": 1000, "order_by": ["last_updated_timestamp DESC"]}
    times: list[int] = []
    while query.get("page_token", "the first"):
        answer = world.server.call("GET", "model-versions/search", params=query)
        times += [int(row["last_updated_timestamp"]) for row in answer["model_versions"]]
        query["page_token"] = answer.get("next_page_token", "")
    recent = sum(time >= times[0] - 600_000 for time in times)
    beyond_the_first = min(recent + 1, len(times)) - 100
    return 1 + max(0, math.ceil(beyond_the_first / 1000))


@on_all
def test_a_cycle_after_which_none_may_follow_sees_what_it_moved_and_what_that_archived(
    world: World, by_hand: Daemon, model: str
) -> None:
    world.version(model, 0.95)
    world.ask(model)
    by_hand.cycle()
    assert world.stage(model) != "None"
    assert tenures(by_hand, model) == [("1", "decision", None)]
    if not isinstance(world, OnMlflow):
        return
    second_version(world, model)
    ask_for(world, model, "2")
    by_hand.cycle()
    assert world.stage(model) in {"None", "Archived"}
    # The next look finds what that one has recorded.
    for _ in range(2):
        assert tenures(by_hand, model) == [("1", "decision", "decision"), ("2", "decision", None)]
        by_hand.full_look()


@on_plain_servers
def test_such_a_cycle_reads_what_it_moved_and_no_more_than_that(world: World, by_hand: Daemon, model: str) -> None:
    assert isinstance(world, OnMlflow)
    by_hand.cycle()
    by_hand.cycle()
    before = len(world.transport.sent)
    by_hand.cycle()
    assert not [path for path in world.transport.sent[before:] if path.endswith("/get")]
    world.version(model, 0.95)
    world.ask(model)
    before = len(world.transport.sent)
    by_hand.cycle()
    after_the_act = world.transport.sent[before:]
    last = max(at for at, path in enumerate(after_the_act) if path.endswith(ACTS))
    read = "registered-models/get" if isinstance(world, ToAnAlias) else "model-versions/get"
    assert [path.rpartition("mlflow/")[2] for path in after_the_act[last + 1 :]].count(read) == 1


@pytest.mark.parametrize("world", ["tags"], indirect=True)
def test_where_another_replica_looks_such_a_cycle_looks_at_nothing(
    world: World, daemon: Daemon, tmp_path: Path, model: str
) -> None:
    daemon.cycle()
    world.version(model, 0.95)
    world.ask(model)
    once = Daemon(world.registry, tmp_path, times=BY_HAND, name="test:once")
    once.cycle()
    assert world.stage(model) == "Production"
    assert tenures(once, model) == []
    daemon.cycle()
    assert tenures(daemon, model) == [("1", "decision", None)]
    once.engine.dispose()


BY_HAND = Times(look_after_acts=True)


@pytest.fixture
def by_hand(world: World, tmp_path: Path) -> Iterator[Daemon]:
    by_hand = Daemon(world.registry, tmp_path, getattr(world, "policy", POLICY), BY_HAND)
    yield by_hand
    by_hand.engine.dispose()
