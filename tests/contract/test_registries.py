"""What every registry must hold to, whatever protocol it speaks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.ports import Listed, NotFound
from reconciler.registry.trials import Answer
from tests.builders import comparing_policy
from tests.contract.conftest import Daemon, OnDatabricks, World

PRODUCTION = Target.parse("Production")
SCOPE = Scope.of_all_models([PRODUCTION])


def listed(world: World, model: str) -> list[Listed]:
    return [one for one in world.registry.open_requests(SCOPE).requests if one.request.model == model]


def test_an_open_request_is_listed_once_with_its_comment(world: World, model: str) -> None:
    world.version(model, 0.95)
    assert listed(world, model) == []
    world.ask(model, "better than the last")
    [one] = listed(world, model)
    assert (one.request.version, one.request.target, one.request.comment) == ("1", PRODUCTION, "better than the last")
    assert listed(world, model) == [one]


def test_a_good_version_is_approved_and_a_bad_one_rejected(world: World, daemon: Daemon, model: str) -> None:
    for suffix, accuracy in (("good", 0.95), ("bad", 0.5)):
        world.version(model + suffix, accuracy)
        world.ask(model + suffix)
    daemon.cycle()
    assert sorted(daemon.decisions()) == [("approve", "applied"), ("reject", "applied")]
    assert (world.stage(model + "good"), world.stage(model + "bad")) == ("Production", "None")
    assert [one for suffix in ("good", "bad") for one in listed(world, model + suffix)] == []
    acts = len(world.transport.acts)
    daemon.cycle()
    assert len(world.transport.acts) == acts


def test_a_request_filed_again_is_a_new_one(world: World, daemon: Daemon, model: str) -> None:
    world.version(model, 0.5)
    world.ask(model, "first")
    daemon.cycle()
    world.ask(model, "second")
    daemon.cycle()
    assert daemon.decisions() == [("reject", "applied")] * 2


def test_a_request_withdrawn_before_the_act_is_superseded(world: World, daemon: Daemon, model: str) -> None:
    world.version(model, 0.95)
    world.ask(model)
    _then(world, lambda: world.withdraw(model))
    daemon.cycle()
    assert daemon.decisions() == [("approve", "superseded")]
    assert (world.stage(model), world.transport.acts) == ("None", [])


def test_what_a_person_did_first_is_never_called_applied(world: World, daemon: Daemon, model: str) -> None:
    world.version(model, 0.95)
    world.ask(model)
    _then(world, lambda: world.approve_by_hand(model))
    daemon.cycle()
    assert daemon.decisions() == [("approve", "superseded" if world.tells_who else "unattributed")]
    assert world.transport.acts == []


def test_a_version_deleted_before_the_act_is_superseded(world: World, daemon: Daemon, model: str) -> None:
    world.version(model, 0.95)
    world.ask(model)
    _then(world, lambda: world.delete(model))
    daemon.cycle()
    assert daemon.decisions() == [("approve", "superseded")]


def test_an_act_whose_reply_is_lost_is_told_from_what_the_registry_shows(
    world: World, daemon: Daemon, model: str
) -> None:
    world.version(model, 0.95)
    world.ask(model)
    world.transport.fail_after = world.act
    daemon.cycle()
    assert world.stage(model) == "Production"
    assert daemon.decisions() == [("approve", "applied" if world.tells_who else "unattributed")]
    assert len([act for act in world.transport.acts if act.endswith(world.act)]) == 1


def test_an_act_that_was_never_heard_is_done_by_the_next_cycle(world: World, daemon: Daemon, model: str) -> None:
    world.version(model, 0.95)
    world.ask(model)
    world.transport.fail_before = world.act
    first = daemon.cycle()
    assert (first.in_error, daemon.decisions()) == (1, [("approve", None)])
    daemon.cycle()
    assert daemon.decisions() == [("approve", "applied")]


def test_a_list_that_cannot_be_read_decides_nothing(world: World, daemon: Daemon, model: str) -> None:
    world.version(model, 0.95)
    world.ask(model)
    world.transport.fail_before = "/search" if world.registry.protocol == "tags" else "/list"
    if isinstance(world, OnDatabricks):
        world.transport.fail_before = "registered-models/search"
    summary = daemon.cycle()
    assert summary.unavailable is not None
    assert daemon.decisions() == []


def test_a_request_is_filed_found_and_withdrawn(world: World, model: str) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    world.version(model, 0.95)
    assert not world.registry.find(model, "1", PRODUCTION, now).open
    filed = world.registry.create(model, "1", PRODUCTION, "ada", "because", now)
    found = world.registry.find(model, "1", PRODUCTION, now)
    assert (found.open, found.listed.request.key) == (True, filed.key)
    world.registry.withdraw(model, "1", PRODUCTION, now)
    with pytest.raises(NotFound):
        world.registry.withdraw(model, "1", PRODUCTION, now)
    with pytest.raises(NotFound):
        world.registry.create(model, "9", PRODUCTION, "ada", "", now)


def _then(world: World, happens: Callable[[], None]) -> None:
    """Somebody steps in after the evidence was read, before the request is read again."""
    reading = world.registry.evidence

    def read_and_step_in(wanted: object, now: object) -> object:
        found = reading(wanted, now)  # type: ignore[arg-type]
        happens()
        return found

    world.registry.evidence = read_and_step_in  # type: ignore[method-assign, assignment]


def test_a_request_that_goes_while_it_is_looked_up_is_shown_with_what_it_came_to(world: World, model: str) -> None:
    world.version(model, 0.95)
    world.ask(model)
    world.transport.meanwhile = lambda: world.approve_by_hand(model)
    found = world.registry.find(model, "1", PRODUCTION, datetime.now(UTC))
    assert world.transport.meanwhile is None
    assert world.stage(model) == "Production"
    assert found.open or found.holds


def test_check_makes_every_kind_of_call_with_every_filter_that_a_cycle_makes(
    world: World, daemon: Daemon, model: str
) -> None:
    for suffix, accuracy in (("good", 0.95), ("bad", 0.5)):
        world.version(model + suffix, accuracy)
        world.ask(model + suffix)
    daemon.cycle()
    tries_what_a_cycle_reads(world, daemon)


def tries_what_a_cycle_reads(world: World, daemon: Daemon) -> None:
    of_a_cycle = set(world.transport.read)
    world.transport.sent.clear()
    world.transport.read.clear()
    policy = daemon.policy.policy
    tried = [trial.run() for trial in world.registry.trials(policy.scope(), policy.all_needs())]
    assert of_a_cycle <= world.transport.read
    assert {one.answer for one in tried} >= {Answer.WORKS}
    assert world.transport.acts == []


def test_check_makes_every_kind_of_call_that_a_comparison_makes(world: World, tmp_path: Path, model: str) -> None:
    comparing = Daemon(world.registry, tmp_path, comparing_policy())
    world.version(model, 0.95)
    world.ask(model)
    comparing.cycle()
    # What is already there asks for itself again: others may be in the stage.
    world.ask(model)
    comparing.cycle()
    tries_what_a_cycle_reads(world, comparing)
    comparing.engine.dispose()
