"""Who had asked for what a person approved: whoever filed that request, and not one that ended before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.audit.database import make_engine
from reconciler.domain.request import Assurance, Request, Requester
from reconciler.ports import Resolution
from tests.reports.conftest import answered, new_database, rows_of
from tests.reports.past import MINUTE, Past, Place

BOB = Requester("bob", Assurance.ASSERTED)
PLACE: Place = ("churn", "@champion")


@pytest.fixture
def past(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    engine = make_engine(new_database(request, tmp_path_factory, "sqlite"))
    yield Past(engine, seed=7, kept=True, steps=0)
    engine.dispose()


def asked(past: Past, accuracy: str = "", asker: Requester | None = None) -> Request:
    """A request that is filed now; by ada, unless another is named. Without an accuracy it waits."""
    past.clock.passes(MINUTE)
    request = past.registry.file(PLACE[0], "7", PLACE[1], accuracy=accuracy)
    # The times of `filed` lie hours before; these requests follow one another.
    request = replace(request, requested_at=past.clock.now(), requester=asker or request.requester)
    past.registry.requests[request.model, request.version, request.target] = request
    past.clock.passes(timedelta(seconds=1))
    return request


def ended(past: Past, request: Request, how: Resolution, by: str) -> None:
    past.clock.passes(MINUTE)
    past.registry.withdraw(request)
    past.told(PLACE, request.version, by, how, request.id)
    past.clock.passes(timedelta(seconds=1))


def found(past: Past) -> tuple[list[str], int]:
    """Who approved what they had asked for, and of how many approvals nothing tells who had asked."""
    past.clock.passes(MINUTE)
    past.cycle()
    with answered(past, "duties") as answer:
        own = [row.person for row in rows_of(answer, "duties") if row.what == "approved_own_request"]
        told = any("the requester is not known" in doubt for doubt in answer.qualifications)
        assert answer.counts["approved_own_request"] == len(own)
        assert told == bool(answer.counts["asker_not_told"])
        return own, answer.counts["asker_not_told"]


def test_who_had_withdrawn_a_request_may_approve_another_one(past: Past) -> None:
    mine = asked(past)
    past.cycle()
    ended(past, mine, Resolution.WITHDRAWN, "ada")
    # No cycle sees it between: nothing on record tells that it was bob who asked.
    ended(past, asked(past, asker=BOB), Resolution.APPROVED, "Ada")
    assert found(past) == ([], 1)


@pytest.mark.parametrize("seen", [True, False])
def test_who_withdraws_a_request_and_asks_again_has_asked(past: Past, seen: bool) -> None:
    other = asked(past, asker=BOB)
    past.cycle()
    ended(past, other, Resolution.WITHDRAWN, "bob")
    if seen:
        past.cycle()
    mine = asked(past)
    past.cycle()
    ended(past, mine, Resolution.APPROVED, "Ada")
    assert found(past) == (["Ada"], 0)


def test_what_was_decided_about_an_earlier_request_does_not_tell_who_asked_for_this_one(past: Past) -> None:
    mine = asked(past)
    past.cycle()
    # It is measured, and not well enough: the daemon rejects it.
    past.registry.accuracy[PLACE[0], "7"] = "0.1"
    past.cycle()
    assert not past.registry.requests
    ended(past, asked(past, asker=BOB), Resolution.APPROVED, "Ada")
    assert mine.requester.name == "ada"
    assert found(past) == ([], 1)


def test_a_request_that_the_record_loses_sight_of_right_before_its_approval_has_its_asker(past: Past) -> None:
    """The registry's clock is ahead: the daemon has it that the request was gone before it was approved."""
    mine = asked(past)
    past.cycle()
    past.registry.withdraw(mine)
    past.cycle()
    past.clock.passes(MINUTE)
    past.told(PLACE, mine.version, "Ada", Resolution.APPROVED, mine.id)
    assert found(past) == (["Ada"], 0)
