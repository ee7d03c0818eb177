"""What people did with requests, read from the audit database with SQL, on real servers and the Databricks double."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from reconciler.domain.decision import Mode
from tests.contract.conftest import Daemon, Faulty, World
from tests.contract.test_prefixes import PEOPLE, killed_at

UNDECIDED = 0.5
on_each = pytest.mark.parametrize("world", ["tags", "alias", "databricks"], indirect=True)
on_the_app = pytest.mark.parametrize("world", ["app"], indirect=True)


def rows(daemon: Daemon, query: str, **values: object) -> list[tuple[Any, ...]]:
    """Read by a connection that is not the product's."""
    auditor = create_engine(daemon.engine.url)
    with auditor.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(query), values)]
    auditor.dispose()
    return found


def resolutions(daemon: Daemon, model: str) -> list[tuple[str, str]]:
    """What was done, and the assurance of who did it."""
    query = "SELECT resolution, decider_assurance FROM resolutions WHERE model = :model ORDER BY id"
    return [(what, assurance) for what, assurance in rows(daemon, query, model=model)]


@pytest.fixture
def observing(daemon: Daemon) -> Daemon:
    """It decides and leaves every request to people."""
    run = daemon._cycle.run
    daemon.cycle = lambda: run(daemon.policy, Mode.OBSERVE)  # type: ignore[method-assign]
    return daemon


# --- registries that keep no history -----------------------------------------------------------------------------


def gone(world: World, observing: Daemon, model: str, how: str) -> None:
    """A request that a cycle has listed is gone, in one of the ways that people have."""
    world.version(model, UNDECIDED)
    world.ask(model)
    observing.cycle()
    PEOPLE[how](world, model)
    for _ in range(3):
        observing.cycle()


@on_each
def test_a_request_that_is_gone_while_its_version_holds_the_target_was_approved_by_somebody(
    world: World, observing: Daemon, model: str
) -> None:
    gone(world, observing, model, "resolve")
    assert resolutions(observing, model) == [("approved", "unknown")]


@on_each
def test_a_request_for_what_was_there_already_approves_nothing_when_it_is_withdrawn(
    world: World, observing: Daemon, model: str
) -> None:
    """Otherwise whoever moves a version, files a request and withdraws it would have the move on record as approved."""
    world.version(model, UNDECIDED)
    observing.cycle()
    world.ask(model)
    world.approve_by_hand(model)
    for _ in range(3):
        observing.full_look()
    world.ask(model)
    observing.cycle()
    world.withdraw(model)
    for _ in range(2):
        observing.cycle()
    assert resolutions(observing, model) == [("gone", "unknown")]


@on_each
def test_of_one_that_is_gone_otherwise_nothing_tells_whether_it_was_withdrawn(
    world: World, observing: Daemon, model: str
) -> None:
    gone(world, observing, model, "withdraw")
    assert resolutions(observing, model) == [("gone", "unknown")]


@on_each
def test_of_a_version_that_was_deleted_too(world: World, observing: Daemon, model: str) -> None:
    gone(world, observing, model, "delete")
    assert resolutions(observing, model) == [("gone", "unknown")]
    said = rows(observing, "SELECT comment FROM resolutions WHERE model = :model", model=model)
    assert said == [("its version or model was deleted",)]


@on_each
def test_what_the_daemon_resolves_is_no_resolution_of_others(world: World, daemon: Daemon, model: str) -> None:
    world.version(model, 0.95)
    world.ask(model)
    for _ in range(3):
        daemon.cycle()
    assert daemon.decisions() == [("approve", "applied")]
    assert resolutions(daemon, model) == []


@pytest.mark.parametrize("world", ["tags", "alias"], indirect=True)
@pytest.mark.parametrize(("died", "what"), [("about to act", "approved"), ("told", None), ("moved", None)])
def test_who_was_faster_than_a_decision_is_on_record(
    world: World, daemon: Daemon, model: str, died: str, what: str | None
) -> None:
    """After our id was told, nothing tells a move by hand from ours."""
    world.version(model, 0.95)
    world.ask(model)
    killed_at(died, daemon.cycle)
    world.approve_by_hand(model)
    for _ in range(2):
        daemon.cycle()
    assert resolutions(daemon, model) == ([] if what is None else [(what, "unknown")])


@on_each
def test_a_decision_that_is_still_carried_out_is_nobody_elses_doing(world: World, daemon: Daemon, model: str) -> None:
    """It was applied and the daemon died before it could say so; the request is not listed any more."""
    world.version(model, 0.95)
    world.ask(model)
    killed_at("acted", daemon.cycle)
    for _ in range(2):
        daemon.cycle()
    assert resolutions(daemon, model) == []


@pytest.mark.parametrize("world", ["tags"], indirect=True)
def test_a_version_that_cannot_be_read_leaves_the_request_gone(world: World, observing: Daemon, model: str) -> None:
    world.version(model, UNDECIDED)
    world.ask(model)
    observing.cycle()
    world.approve_by_hand(model)
    world.transport.fail_before = "model-versions/get"
    observing.cycle()
    assert resolutions(observing, model) == [("gone", "unknown")]


# --- a registry that keeps history -------------------------------------------------------------------------------


@on_the_app
def test_each_entry_of_the_apps_history_is_a_row_with_who_and_when(world: Any, observing: Daemon, model: str) -> None:
    for name, act in ((f"{model}-a", "approve"), (f"{model}-r", "reject"), (f"{model}-w", "withdraw")):
        world.version(name, UNDECIDED)
        world.ask(name)
        if act == "withdraw":
            world.withdraw(name)
            continue
        where = {"name": name, "version": "1", "stage": "Production", "comment": f"{act} it"}
        world.server.call("POST", f"transition-requests/{act}", json=where)
    observing.cycle()
    observing.cycle()
    query = (
        "SELECT resolution, comment, source FROM resolutions "
        "WHERE model LIKE :models ORDER BY source_number"
    )  # fmt: skip
    found = rows(observing, query, models=f"{model}-%")
    assert [what for what, _, _ in found] == ["approved", "rejected", "withdrawn"]
    assert [comment for _, comment, _ in found][:2] == ["approve it", "reject it"]
    assert {source for _, _, source in found} == {"history"}
    moments = rows(observing, "SELECT max(resolved_at) FROM resolutions")
    assert abs(datetime.fromisoformat(moments[0][0]) - datetime.now(UTC)) < timedelta(minutes=5)


@on_the_app
def test_a_request_that_was_never_listed_is_on_record_too(world: Any, observing: Daemon, model: str) -> None:
    """Filed and approved between two cycles."""
    observing.cycle()
    world.version(model, UNDECIDED)
    world.ask(model)
    world.approve_by_hand(model)
    observing.cycle()
    assert [what for what, _ in resolutions(observing, model)] == ["approved"]


@on_the_app
def test_our_own_acts_are_decisions_and_an_id_in_somebodys_comment_makes_no_act_ours(
    world: Any, daemon: Daemon, model: str
) -> None:
    world.version(model, 0.95)
    world.ask(model)
    daemon.cycle()
    id = daemon.rows()[0]["decision_id"]
    other = f"{model}-other"
    world.version(other, UNDECIDED)
    world.ask(other)
    where = {"name": other, "version": "1", "stage": "Production", "comment": f"as mlflow-reconciler {id} says"}
    world.server.call("POST", "transition-requests/approve", json=where)
    daemon.cycle()
    assert resolutions(daemon, model) == []
    assert [what for what, _ in resolutions(daemon, other)] == ["approved"]


@on_the_app
def test_the_history_is_read_in_the_list_call_and_once(world: Any, observing: Daemon, model: str) -> None:
    world.version(model, UNDECIDED)
    world.ask(model)
    world.approve_by_hand(model)
    observing.cycle()
    before, known = len(world.transport.sent), rows(observing, "SELECT count(*) FROM resolutions")
    observing.cycle()
    assert [path.rpartition("/")[2] for path in world.transport.sent[before:]] == ["list"]
    assert rows(observing, "SELECT count(*) FROM resolutions") == known


@on_the_app
def test_a_lost_cursor_repeats_nothing(world: Any, observing: Daemon, model: str) -> None:
    world.version(model, UNDECIDED)
    world.ask(model)
    world.approve_by_hand(model)
    observing.cycle()
    for number in ("NULL", "0"):
        with observing.engine.begin() as connection:
            connection.execute(text("DELETE FROM history_cursors"))
            if number == "0":
                place = "SELECT DISTINCT registry, workspace, 0 FROM resolutions"
                connection.execute(text(f"INSERT INTO history_cursors (registry, workspace, number) {place}"))
        observing.cycle()
    assert [what for what, _ in resolutions(observing, model)] == ["approved"]


@on_the_app
def test_numbers_that_went_back_are_read_from_the_beginning(world: Any, observing: Daemon, model: str) -> None:
    """MLflow's database was restored from a backup."""
    world.version(model, UNDECIDED)
    world.ask(model)
    observing.cycle()
    with observing.engine.begin() as connection:
        connection.execute(text("UPDATE history_cursors SET number = 1000000"))
    world.approve_by_hand(model)
    for _ in range(2):
        observing.cycle()
    assert [what for what, _ in resolutions(observing, model)] == ["approved"]


@on_the_app
def test_an_entry_of_a_kind_that_is_not_known_is_kept_and_stops_nothing(
    world: Any, daemon: Daemon, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Faulty._send

    def of_a_newer_release(self: Faulty, *asked: Any, **arguments: Any) -> Any:
        answer = send(self, *asked, **arguments)
        for row in answer.get("history", []) if isinstance(answer, dict) else []:
            row["what"] = "postponed" if row["what"] == "withdrawn" else row["what"]
        return answer

    monkeypatch.setattr(Faulty, "_send", of_a_newer_release)
    world.version(model, 0.95)
    world.ask(model)
    world.withdraw(model)
    world.ask(model)
    daemon.cycle()
    assert daemon.decisions() == [("approve", "applied")]
    assert resolutions(daemon, model) == [("other", "asserted")]


@on_the_app
def test_an_app_without_a_history_is_inferred_from(
    world: Any, observing: Daemon, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Faulty._send

    def of_the_first_release(self: Faulty, *asked: Any, **arguments: Any) -> Any:
        answer = send(self, *asked, **arguments)
        if isinstance(answer, dict):
            answer.pop("history", None)
            answer.pop("history_to", None)
        return answer

    monkeypatch.setattr(Faulty, "_send", of_the_first_release)
    world.version(model, UNDECIDED)
    world.ask(model)
    observing.cycle()
    world.approve_by_hand(model)
    observing.cycle()
    assert resolutions(observing, model) == [("approved", "unknown")]


@pytest.mark.parametrize("world", ["app", "tags"], indirect=True)
def test_register_all_tells_what_would_have_been_beside_what_was(world: Any, observing: Daemon, model: str) -> None:
    world.version(model, UNDECIDED)
    world.ask(model)
    observing.cycle()
    world.approve_by_hand(model)
    observing.cycle()
    found = rows(
        observing, "SELECT decider, what, effect FROM register_all WHERE model = :model ORDER BY at", model=model
    )
    assert found == [("daemon", "would be rejected", "nothing"), ("person", "approved", "moved")]


@pytest.mark.parametrize("world", ["app", "tags"], indirect=True)
def test_register_all_has_people_beside_the_daemon(world: Any, daemon: Daemon, model: str) -> None:
    by_us, by_hand = f"{model}-us", f"{model}-hand"
    for name in (by_us, by_hand):
        world.version(name, 0.95)
    world.ask(by_us)
    daemon.cycle()
    world.ask(by_hand)
    killed_at("listed", daemon.cycle)
    killed_at("about to act", daemon.cycle)
    world.approve_by_hand(by_hand)
    daemon.cycle()
    query = "SELECT model, decider, what, effect FROM register_all WHERE model LIKE :models ORDER BY at, decision_id"
    found = rows(daemon, query, models=f"{model}-%")
    assert (by_us, "daemon", "approved", "moved") in found
    assert (by_hand, "daemon", "approved", "nothing") in found
    assert (by_hand, "person", "approved", "moved") in found
    assert len(found) == 3
