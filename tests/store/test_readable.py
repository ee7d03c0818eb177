"""Models that the account could not read for a while, on both databases, whoever looks and whenever it was started."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from reconciler.domain.times import iso
from tests.store.test_observations import PRODUCTION, Looking
from tests.store.test_observations_adversary import rename

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Rights(Looking):
    """A registry whose model `fraud` was made ten days ago, and another model that the account may read."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.govern("Production")
        self.ahead = timedelta()
        self.registry.clock = lambda: self.clock.now() + self.ahead
        self.version("1")
        self.made(-10 * DAY)
        self.registry.accuracy["other", "1"] = "0.95"

    def made(self, ago: timedelta) -> None:
        at = self.clock.now() + self.ahead + ago
        self.registry.created["fraud", "1"] = round(at.timestamp() * 1000)

    def deny(self) -> None:
        self.registry.hidden.add("fraud")

    def allow(self) -> None:
        self.registry.hidden.discard("fraud")

    def again(self) -> None:
        """The daemon is gone, and another one begins."""
        self.clock.passes(HOUR)
        self.daemon = self.another("test:2")

    def lost(self) -> None:
        self.change("DELETE FROM shown_models")
        self.again()

    def began(self) -> list[Any]:
        return [row[0] for row in self.rows("SELECT began_by FROM tenures ORDER BY tenure_id")]

    def seen(self) -> list[tuple[Any, ...]]:
        query = "SELECT last_seen_with, first_seen_without, ended_by FROM tenures ORDER BY tenure_id"
        return [tuple(row) for row in self.rows(query)]


@pytest.fixture
def rights(engine: Engine) -> Rights:
    return Rights(engine)


whoever_looks = pytest.mark.parametrize("then", [lambda rights: None, Rights.again], ids=["it", "another"])


@whoever_looks
@pytest.mark.parametrize("hides_people", [False, True])
@pytest.mark.parametrize("days", [-3, 0, 3])
def test_what_held_before_it_could_be_read_was_there_when_it_was_first_looked_at(
    rights: Rights, then: Callable[[Rights], None], hides_people: bool, days: int
) -> None:
    rights.ahead = timedelta(days=days)
    rights.registry.hides_people = hides_people
    rights.made(-10 * DAY)
    rights.deny()
    rights.move("1")
    rights.cycles(2)
    then(rights)
    rights.allow()
    rights.cycles(3)
    assert rights.began() == ["baseline"]
    assert rights.of_bypass() == []


@whoever_looks
def test_a_right_that_is_withdrawn_for_a_while_hides_no_move(rights: Rights, then: Callable[[Rights], None]) -> None:
    rights.cycles(2)
    rights.deny()
    rights.cycles(2)
    rights.move("1")
    rights.cycles(2)
    then(rights)
    rights.allow()
    rights.cycles(3)
    assert rights.began() == ["bypass"]


@whoever_looks
@pytest.mark.parametrize("hidden", [False, True])
def test_a_new_name_hides_no_move(rights: Rights, then: Callable[[Rights], None], hidden: bool) -> None:
    rights.cycles(2)
    if hidden:
        rights.registry.hidden |= {"fraud", "another"}
    rights.registry.created["another", "1"] = rights.registry.created["fraud", "1"]
    rename(rights, "fraud", "another")
    if hidden:
        rights.cycles(2)
    then(rights)
    rights.registry.hidden.clear()
    rights.registry.holders["another", PRODUCTION] = "1"
    rights.cycles(3)
    assert rights.began() == ["bypass"]


@whoever_looks
def test_what_was_made_and_hidden_since_the_last_look_is_a_bypass(
    rights: Rights, then: Callable[[Rights], None]
) -> None:
    del rights.registry.accuracy["fraud", "1"]
    rights.cycles(2)
    then(rights)
    rights.clock.passes(HOUR)
    rights.version("1")
    rights.made(timedelta())
    rights.move("1")
    rights.deny()
    rights.allow()
    rights.cycles(3)
    assert rights.began() == ["bypass"]


@whoever_looks
@pytest.mark.parametrize("days", [-3, 0, 3])
def test_what_changed_since_everything_was_looked_at_was_not_there_before(
    rights: Rights, then: Callable[[Rights], None], days: int
) -> None:
    """A model that nobody looked at may have got its name, or its stage, a moment ago."""
    rights.ahead = timedelta(days=days)
    rights.made(-10 * DAY)
    rights.deny()
    rights.move("1")
    rights.cycles(2)
    then(rights)
    rights.registry.changed["fraud"] = round((rights.clock.now() + rights.ahead).timestamp() * 1000)
    rights.allow()
    rights.cycles(3)
    assert rights.began() == ["bypass"]


@pytest.mark.parametrize("then", [Rights.again, Rights.lost], ids=["another", "lost"])
def test_what_is_moved_while_nobody_looks_is_no_baseline(rights: Rights, then: Callable[[Rights], None]) -> None:
    rights.cycles(2)
    then(rights)
    rights.move("1")
    rights.cycles(3)
    assert rights.began() == ["bypass"]


@whoever_looks
def test_a_tenure_that_cannot_be_read_any_more_stays_open_and_says_when_it_was_seen(
    rights: Rights, then: Callable[[Rights], None]
) -> None:
    """It may be gone: some servers say the same of both."""
    rights.move("1")
    rights.cycles(3)
    before = rights.seen()
    rights.deny()
    rights.cycles(2)
    then(rights)
    rights.cycles(2)
    [(last, without, ended_by)] = rights.seen()
    assert (without, ended_by) == (None, None)
    assert last >= before[0][0]
    assert str(last)[:16] <= iso(rights.clock.now() - 3 * timedelta(minutes=1))[:16]
    rights.allow()
    rights.cycles(2)
    assert rights.began() == ["baseline"]
    [(again, without, _)] = rights.seen()
    assert again > last
    assert without is None


def test_a_model_that_was_made_again_while_it_could_not_be_read_ends_what_was_there_when_it_was_last_seen(
    rights: Rights,
) -> None:
    rights.move("1")
    rights.cycles(3)
    rights.deny()
    rights.cycles(2)
    [(last, _, _)] = rights.seen()
    rights.made(timedelta())
    rights.allow()
    rights.cycles(3)
    [ended, _] = rights.seen()
    assert (ended[0], ended[2]) == (last, "deleted")
    assert rights.began() == ["baseline", "bypass"]


def test_only_what_is_new_is_written(rights: Rights) -> None:
    rights.cycles(2)
    rows = "SELECT count(*), sum(length(digests)) FROM shown_models"
    # A name, and when the model and its version were created, of two models.
    assert rights.rows(rows) == [(64, 8 * 5)]
    rights.registry.accuracy["third", "1"] = "0.95"
    rights.cycle()
    assert rights.rows(rows) == [(64, 8 * 6)]
