"""Ways to hide a bypass, and ways to be taken for one without being one."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from reconciler.audit.holding.accepting import acknowledge
from reconciler.cycle import PolicyInForce
from reconciler.domain.holding.looks import Kind, Look, Wanted
from reconciler.domain.target import Target
from reconciler.failpoints import watching
from reconciler.policy.file import parse_policy
from reconciler.ports import Unavailable
from tests.store.test_abstentions import POLICY
from tests.store.test_observations import Looking


@pytest.fixture
def looking(engine: Engine) -> Looking:
    looking = Looking(engine)
    loaded = parse_policy(POLICY, "policy.yaml")
    # A request without its metric waits.
    looking.in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
    return looking


# --- what comes afterwards explains nothing ------------------------------------------------------------------------


def standing(looking: Looking) -> list[tuple[str, str]]:
    return [tuple(row) for row in looking.rows("SELECT version, standing FROM bypasses ORDER BY tenure_id")]


def test_a_request_that_is_filed_and_approved_after_a_bypass_was_seen_does_not_make_it_a_decision(
    looking: Looking,
) -> None:
    looking.version("1")
    looking.cycle()
    looking.move("1")
    looking.cycle()
    looking.registry.file("fraud", "1")
    looking.cycles(3)
    assert looking.tenures() == [("1", "Production", "bypass", None)]
    assert standing(looking) == [("1", "approved")]
    assert len(looking.of_bypass()) == 1


@pytest.mark.parametrize("withdrawn", [False, True])
def test_a_request_that_is_filed_while_looks_fail_explains_no_bypass_that_was_seen_before(
    looking: Looking, monkeypatch: pytest.MonkeyPatch, withdrawn: bool
) -> None:
    looking.version("1", accuracy="")
    looking.cycle()
    looking.move("1")
    looking.cycle()

    def fails(wanted: object) -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr(looking.registry, "look", fails)
    request = looking.registry.file("fraud", "1", accuracy="")
    looking.cycle()
    if withdrawn:
        looking.registry.withdraw(request)
        looking.cycle()
    monkeypatch.undo()
    looking.cycles(3)
    assert looking.tenures() == [("1", "Production", "bypass", None)]
    assert standing(looking) == [("1", "open")]


def test_who_moves_a_version_while_its_request_is_open_is_a_person_though_a_daemon_approves_it_then(
    looking: Looking,
) -> None:
    looking.cycle()
    looking.registry.file("fraud", "1", accuracy="")
    looking.cycle()
    looking.move("1")
    looking.version("1")
    looking.cycles(3)
    assert looking.tenures() == [("1", "Production", "person", None)]
    assert looking.of_bypass() == []


# --- a new name --------------------------------------------------------------------------------------------------


def rename(looking: Looking, old: str, new: str) -> None:
    registry = looking.registry
    registry.accuracy = {
        (new if model == old else model, one): read for (model, one), read in registry.accuracy.items()
    }
    registry.holders = {(new if model == old else model, one): held for (model, one), held in registry.holders.items()}


def test_a_bypass_goes_on_under_the_models_new_name_and_is_told_once(looking: Looking) -> None:
    looking.govern("Production")
    looking.cycle()
    looking.move("1")
    looking.cycles(2)
    for old, new in (("fraud", "other"), ("other", "fraud")):
        rename(looking, old, new)
        assert [looking.run().bypasses for _ in range(2)] == [1, 1]
    assert [row[2] for row in looking.tenures()] == ["bypass", "rename", "rename"]
    assert standing(looking) == [("1", "gone"), ("1", "gone"), ("1", "open")]
    assert len(looking.of_bypass()) == 1
    acknowledge(looking.engine, 5, "agreed by phone", "ada")
    assert looking.run().bypasses == 0


def test_a_bypass_that_was_renamed_before_it_was_known_for_one_is_open_under_its_new_name(looking: Looking) -> None:
    looking.govern("Production")
    looking.cycle()
    looking.move("1")
    looking.cycle()
    rename(looking, "fraud", "other")
    looking.cycles(2)
    assert looking.run().bypasses == 1
    assert standing(looking) == [("1", "gone"), ("1", "open")]


def test_what_somebody_accepted_is_no_bypass_under_the_models_new_name(looking: Looking) -> None:
    looking.govern("Production")
    looking.cycle()
    looking.move("1")
    looking.cycles(2)
    acknowledge(looking.engine, 1, "agreed by phone", "ada")
    rename(looking, "fraud", "other")
    looking.cycles(2)
    assert looking.run().bypasses == 0
    assert standing(looking) == [("1", "gone")]


def test_a_version_whose_model_is_renamed_before_a_look_sees_it_there_is_held_by_its_decision(
    looking: Looking,
) -> None:
    looking.govern("Production")
    looking.registry.created["fraud", "1"] = looking.registry.created["other", "1"] = 77
    looking.cycle()
    request = looking.registry.file("fraud", "1")
    looking.cycle()
    shown = looking.registry.shown.pop((request.model, "1", request.target))
    rename(looking, "fraud", "other")
    looking.registry.shown["other", "1", request.target] = shown
    looking.cycles(2)
    assert looking.tenures() == [("1", "Production", "decision", None)]
    assert looking.rows("SELECT model, began_detail FROM tenures") == [("other", "the model was named fraud then")]


def test_a_version_that_was_made_after_the_decision_about_another_of_its_name_is_not_held_by_it(
    looking: Looking,
) -> None:
    looking.govern("Production")
    looking.registry.created["fraud", "1"] = 77
    looking.cycle()
    looking.registry.file("fraud", "1")
    looking.cycle()
    looking.registry.created["fraud", "1"] = 78
    looking.cycles(3)
    assert [row[2] for row in looking.tenures()] == ["bypass"]


def test_a_registry_that_cannot_be_asked_about_a_new_name_leaves_it_for_the_next_look(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking.govern("Production")
    looking.registry.created["fraud", "1"] = looking.registry.created["other", "1"] = 77
    looking.cycle()
    request = looking.registry.file("fraud", "1")
    looking.cycle()
    looking.registry.shown["other", "1", request.target] = looking.registry.shown["fraud", "1", request.target]
    rename(looking, "fraud", "other")

    def fails(places: object) -> None:
        raise Unavailable("no answer")

    with monkeypatch.context() as broken:
        broken.setattr(looking.registry, "look_at", fails)
        looking.cycles(3)
        assert looking.tenures() == [("1", "Production", None, None)]
    looking.cycle()
    assert looking.tenures() == [("1", "Production", "decision", None)]


# --- a policy that is taken back -----------------------------------------------------------------------------------


def test_a_policy_that_is_taken_back_before_everything_was_looked_at_makes_no_baseline_a_bypass(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking.move("1")
    looking.move("2", Target.parse("Staging"))
    looking.govern("Production, Staging")
    looking.cycles(2)
    whole = looking.registry.look

    def begun(wanted: Wanted) -> Look:
        """A round over everything takes several looks."""
        return replace(whole(wanted), rounds=(), as_of={Kind.STAGES: timedelta()}, everything=None)

    monkeypatch.setattr(looking.registry, "look", begun)
    looking.govern("Production")
    looking.cycles(2)
    looking.govern("Production, Staging")
    looking.cycles(3)
    monkeypatch.undo()
    looking.cycles(2)
    assert [row[1:] for row in looking.tenures()] == [("Production", "baseline", None), ("Staging", "baseline", None)]
    looking.govern("Production")
    looking.cycle()
    assert ("2", "Staging", "baseline", "ungoverned") in looking.tenures()


# --- a clock that is set back --------------------------------------------------------------------------------------


def test_bounds_are_in_order_where_the_databases_clock_was_set_back(looking: Looking) -> None:
    looking.version("1", accuracy="")
    looking.registry.file("fraud", "1", accuracy="")
    looking.cycles(2)
    looking.clock.passes(timedelta(hours=-5))
    looking.move("1")
    looking.cycles(3)
    looking.clock.passes(timedelta(hours=-5))
    looking.registry.holders.clear()
    looking.cycles(3)
    assert looking.tenures() == [("1", "Production", "person", "unrecorded")]
    order = "last_seen_without <= first_seen_with, last_seen_with <= first_seen_without"
    assert [tuple(map(bool, row)) for row in looking.rows(f"SELECT {order} FROM tenures")] == [(True, True)]


def test_a_bypass_that_was_asked_for_and_withdrawn_does_not_come_back_as_a_rollback(looking: Looking) -> None:
    looking.version("1", accuracy="")
    looking.cycle()
    looking.move("1")
    looking.cycles(2)
    request = looking.registry.file("fraud", "1", accuracy="")
    looking.cycle()
    looking.registry.withdraw(request)
    looking.cycle()
    assert looking.rows("SELECT resolution FROM resolutions") == [("gone",)]
    looking.registry.holders.clear()
    looking.cycles(2)
    looking.move("1")
    looking.cycles(2)
    assert [began for _, _, began, _ in looking.tenures()] == ["bypass", "bypass"]


def test_what_a_daemon_did_before_it_died_is_found_under_the_models_new_name(looking: Looking) -> None:
    class Killed(BaseException):
        pass

    def reached(name: str) -> None:
        if name == "acted":
            raise Killed

    looking.govern("Production")
    looking.registry.created["fraud", "1"] = looking.registry.created["other", "1"] = 77
    looking.cycle()
    request = looking.registry.file("fraud", "1")
    with watching(reached), contextlib.suppress(Killed):
        looking.cycle()
    looking.registry.shown["other", "1", request.target] = looking.registry.shown["fraud", "1", request.target]
    rename(looking, "fraud", "other")
    looking.daemon = looking.another("test:2")
    looking.clock.passes(timedelta(hours=1))
    looking.cycles(3)
    assert looking.tenures() == [("1", "Production", "decision", None)]
    assert looking.rows("SELECT outcome, effect FROM decision_register") == [("applied", "moved")]
    [(said,)] = looking.rows("SELECT detail FROM outcomes")
    assert said == "the registry shows this decision, on a model that is named other now"
