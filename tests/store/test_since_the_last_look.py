"""What no look has seen yet: the report of completeness does not sound complete without it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from reconciler.audit.database import Access, one_state, opened
from reconciler.audit.reporting import Answer, Asked, Reading
from reconciler.audit.reports import reports
from reconciler.ports import Unavailable
from tests.store.test_observations import Looking


@pytest.fixture
def looking(engine: Engine) -> Looking:
    looking = Looking(engine)
    # Reports are read by the real clock.
    looking.clock.passes(-timedelta(hours=2))
    return looking


def completeness(looking: Looking, **asked: Any) -> Answer:
    """As of the daemon's now, read as any auditor reads it."""
    url = looking.engine.url.render_as_string(hide_password=False)
    with opened(url, Access.READ) as engine, one_state(engine) as connection:
        return reports()["completeness"].answer(Reading(connection, Asked(**{"until": looking.clock.now()} | asked)))


def test_decisions_that_moved_a_version_since_the_last_look_are_counted_and_told(looking: Looking) -> None:
    looking.cycle()
    for model in ("fraud", "churn"):
        looking.registry.file(model, "1")
    looking.registry.file("pricing", "1", accuracy="0.5")
    looking.cycle()
    assert len(looking.registry.holders) == 2
    answer = completeness(looking)
    assert (answer.counts["tenures"], answer.counts["moved_since_the_last_look"]) == (0, 2)
    assert "2 decisions since the last look are not in it" in answer.opinion
    assert [one for one in answer.qualifications if "2 decisions moved versions since the last look" in one]
    assert "1 decision since the last look is not in it" in completeness(looking, model="churn").opinion
    looking.cycle()
    answer = completeness(looking)
    assert (answer.counts["tenures"], answer.counts["moved_since_the_last_look"]) == (2, 0)
    assert "look" not in answer.opinion
    assert not [one for one in answer.qualifications if "look" in one]


def test_a_period_that_ended_before_a_decision_says_nothing_of_it(looking: Looking) -> None:
    looking.cycle()
    before = looking.clock.now()
    looking.registry.file("fraud", "1")
    looking.cycle()
    assert completeness(looking, until=before).counts["moved_since_the_last_look"] == 0


def test_where_nothing_could_ever_be_looked_at_the_opinion_says_so(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(wanted: object) -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr(looking.registry, "look", fails)
    looking.registry.file("fraud", "1")
    looking.cycles(2)
    answer = completeness(looking)
    assert looking.registry.holders
    assert "not everything that holds a target was looked at yet" in answer.opinion
    assert answer.qualifications


def test_looks_that_fail_for_longer_than_a_gap_that_is_named_qualify_the_opinion(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking.cycle()

    def fails(wanted: object) -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr(looking.registry, "look", fails)
    looking.cycles(8)
    assert [one for one in completeness(looking).qualifications if "was last looked at on" in one]
