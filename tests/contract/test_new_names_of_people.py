"""A person approves, and the model gets a new name before the next look, on a real server without the app and with it.

Triggers in MLflow's own database say what was held under which name.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from reconciler.cycle import Cycle, Times
from reconciler.domain.decision import Mode
from tests.contract.test_new_names import Story
from tests.contract.test_tenures_at_random import TARGETS, Place, place

__all__ = ["place"]
newest = pytest.mark.parametrize("place", ["newest"], indirect=True)


class Left(Story):
    """A daemon in a mode that leaves what fails to people: they approve by moving it and deleting the tag."""

    def approved_by_a_person(self) -> None:
        self.place.call("POST", "model-versions/set-tag", **self.tag(), value="please")
        self.cycle()
        self.who._move("1")
        self.place.call("DELETE", "model-versions/delete-tag", **self.tag())

    def tag(self) -> dict[str, str]:
        return {"name": self.who.name, "version": "1", "key": self.who.tag}

    def cycle(self, mode: Mode = Mode.OBSERVE) -> None:
        self.cycles.run(self.policy, mode)

    def resolutions(self) -> list[Any]:
        query = "SELECT model, resolution FROM resolutions ORDER BY id"
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query))]


@pytest.fixture
def left(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> Left:
    return Left(place, tmp_path, request.param)


@newest
@pytest.mark.parametrize("left", TARGETS, indirect=True)
def test_what_a_person_approved_is_theirs_under_the_models_new_name(left: Left) -> None:
    new = f"{left.first}-new"
    left.approved_by_a_person()
    left.rename(left.first, new)
    assert left.ends() == [(new, "person", f"the model was named {left.first} then")]
    assert left.resolutions() == [(left.first, "approved")]
    assert left.witnessed(left.first, new) == [left.first]


@newest
@pytest.mark.parametrize("left", TARGETS[:1], indirect=True)
def test_so_it_is_where_the_daemon_was_started_again(left: Left) -> None:
    left.approved_by_a_person()
    left.rename(left.first, f"{left.first}-new")
    registry, audit = left.cycles._registry, left.cycles._audit
    left.cycles = Cycle(registry, audit, times=Times(full_look=timedelta(0)), everything_is_due=True)
    assert left.ends() == [(f"{left.first}-new", "person", f"the model was named {left.first} then")]


@newest
@pytest.mark.parametrize("left", TARGETS, indirect=True)
def test_so_it_is_where_another_model_has_the_first_name_again_and_that_one_is_a_bypass(left: Left) -> None:
    new = f"{left.first}-new"
    left.approved_by_a_person()
    left.rename(left.first, new)
    left.who.begin()
    left.move_by_hand(left.first)
    said = f"the model was named {left.first} then"
    assert sorted(left.ends()) == [(left.first, "bypass", ""), (new, "person", said)]
    assert left.witnessed(left.first, new) == [left.first, left.first]


@newest
@pytest.mark.parametrize("left", TARGETS[:1], indirect=True)
def test_a_request_that_is_gone_with_its_model_approves_nothing_elsewhere(left: Left) -> None:
    """The one who made it deletes the model, and moves another of the same number."""
    other = f"{left.first}-other"
    left.place.call("POST", "model-versions/set-tag", **left.tag(), value="please")
    left.cycle()
    left.place.call("DELETE", "registered-models/delete", name=left.first)
    left.who.name = other
    left.who.begin()
    left.move_by_hand(other)
    assert left.ends() == [(other, "bypass", "")]
    assert left.resolutions() == [(left.first, "gone")]
