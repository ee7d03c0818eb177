"""What is on record of how a version came to hold a target: only what was approved is a baseline."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from reconciler.audit.holding.accepting import acknowledge
from reconciler.audit.store import SqlAuditLog
from reconciler.domain.holding.baselines import Holding
from reconciler.domain.place import Place
from tests.store.test_observations import PRODUCTION, Looking
from tests.store.test_observations_adversary import rename


@pytest.fixture
def looking(engine: Engine) -> Looking:
    looking = Looking(engine)
    looking.cycle()
    return looking


def known(looking: Looking, model: str = "fraud", *, created: int = 1) -> tuple[str, bool | None] | None:
    """Of version 1, as another replica reads it; None: nothing."""
    record = SqlAuditLog(looking.engine, "test:9", looking.registry.uri).observations
    place = Place(model, "1", PRODUCTION)
    arrival = record.arrivals([Holding(place, created)]).get(place)
    return None if arrival is None else (arrival.began_by, arrival.approved)


def test_a_version_that_was_moved_by_hand_is_unexplained_then_a_bypass_and_approved_once_a_decision_says_so(
    looking: Looking,
) -> None:
    assert known(looking) is None
    looking.move("1")
    looking.cycle()
    assert known(looking) == ("", None)
    looking.cycle()
    assert known(looking) == ("bypass", False)
    # Somebody who accepts it by name does not approve it.
    [(tenure,)] = looking.rows("SELECT tenure_id FROM tenures")
    acknowledge(looking.engine, tenure, "emergency", "mia")
    assert known(looking) == ("bypass", False)
    looking.registry.file("fraud", "1")
    looking.cycle()
    assert known(looking) == ("bypass", True)


def test_a_decision_counts_before_any_look_has_seen_what_it_did_and_only_for_its_own_model(looking: Looking) -> None:
    looking.registry.file("fraud", "1")
    looking.cycle()
    assert looking.rows("SELECT count(*) FROM tenures") == [(0,)]
    assert known(looking) == ("decision", True)
    # A model of the same name that was made afterwards.
    assert known(looking, created=2**42) is None
    assert known(looking, "other") is None
    looking.cycles(2)
    assert known(looking) == ("decision", True)
    # A return to it is one to what was approved.
    del looking.registry.holders["fraud", PRODUCTION]
    looking.cycles(2)
    looking.move("1")
    looking.cycles(2)
    assert known(looking) == ("rollback", True)


@pytest.mark.parametrize("approved", [True, False])
def test_a_new_name_of_the_model_makes_nothing_approved_and_takes_nothing_away(
    looking: Looking, approved: bool
) -> None:
    if approved:
        looking.registry.file("fraud", "1")
    else:
        looking.move("1")
    looking.cycles(3)
    for old, new in (("fraud", "other"), ("other", "third")):
        rename(looking, old, new)
        looking.cycles(2)
    assert known(looking, "third") == ("rename", approved)


def test_where_a_person_may_have_approved_it_unseen_nobody_knows(looking: Looking) -> None:
    looking.registry.hides_people = True
    looking.move("1")
    looking.cycles(3)
    assert known(looking) == ("undetermined", None)


def test_what_was_there_at_the_first_look_counts_and_a_model_made_again_does_not(engine: Engine) -> None:
    looking = Looking(engine)
    looking.move("1")
    looking.cycles(2)
    assert known(looking) == ("baseline", True)
    assert known(looking, created=2) is None
