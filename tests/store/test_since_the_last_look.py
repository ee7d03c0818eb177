"""What no look has seen yet: the report of completeness does not sound complete without it."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select, text

from bench.costs import cost
from reconciler.audit.database import Access, make_engine, one_state, opened
from reconciler.audit.holding.last_looks import last_looks
from reconciler.audit.reporting import Answer, Asked, Reading
from reconciler.audit.reports import reports
from reconciler.audit.store import SqlAuditLog
from reconciler.audit.tables import DaemonRow, DecisionRow, OutcomeRow
from reconciler.cycle import Cycle, Times
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
    assert "2 decisions since the last look are not included" in answer.opinion
    assert [one for one in answer.qualifications if "2 decisions moved versions since the last look" in one]
    assert "1 decision since the last look is not included" in completeness(looking, model="churn").opinion
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
    assert "not every target has been looked at yet" in answer.opinion
    assert answer.qualifications


def test_looks_that_fail_for_longer_than_a_gap_that_is_named_qualify_the_opinion(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking.cycle()

    def fails(wanted: object) -> None:
        raise Unavailable("no answer")

    monkeypatch.setattr(looking.registry, "look", fails)
    looking.cycles(8)
    assert [one for one in completeness(looking).qualifications if "were last looked at on" in one]


def test_a_registry_where_nobody_looks_any_more_costs_the_same_however_much_came_since(looking: Looking) -> None:
    """Its daemon ended; another registry's goes on. And what it moved after its last look is still told."""
    log = SqlAuditLog(looking.engine, "test:1", looking.registry.uri)
    looking.daemon = Cycle(looking.registry, log, times=Times(full_look=timedelta(0)), everything_is_due=True)
    looking.cycle()
    looking.registry.file("fraud", "1")
    looking.cycle()
    log.sign_off()
    engine, costs = make_engine(looking.engine.url.render_as_string(hide_password=False), Access.READ), []
    for many in (300, 6_000):
        elsewhere(looking.engine, many)

        def asked() -> None:
            with one_state(engine) as connection:
                found = last_looks(Reading(connection, Asked()))
                assert (found.moved, len(found.as_of)) == (1, 1)

        asked()
        costs.append(cost(engine, asked))
    engine.dispose()
    assert costs[1] < 2 * costs[0]


def elsewhere(engine: Engine, many: int) -> None:
    """So many decisions at another registry, days later, each of which moved a version."""
    with engine.begin() as connection:
        [decision] = connection.execute(select(DecisionRow.__table__).limit(1)).mappings()
        [daemon] = connection.execute(select(DaemonRow.__table__).limit(1)).mappings()
        last = connection.scalar(select(func.max(DecisionRow.id))) or 0
        at, place = decision["decided_at"] + timedelta(days=3), {"registry": "http://elsewhere"}
        ids = [str(uuid.uuid4()) for _ in range(many)]
        own = [{"id": last + number, "decision_id": id, "request_key": id} for number, id in enumerate(ids, 1)]
        connection.execute(insert(DecisionRow), [{**decision, **place, "decided_at": at, **one} for one in own])
        ended = {"outcome": "applied", "detail": "", "at": at}
        connection.execute(insert(OutcomeRow), [{"decision_id": id, **ended} for id in ids])
        if not connection.scalar(select(func.count()).where(DaemonRow.registry == place["registry"])):
            connection.execute(insert(DaemonRow), {**daemon, **place, "name": "other:1", "last_cycle_at": at})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
