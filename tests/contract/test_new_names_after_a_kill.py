"""A daemon dies after its act, and the model gets a new name before the next one starts: what can be proven of it.

Triggers in MLflow's own database say what was held under which name.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from reconciler.domain.decision import Mode
from tests.contract.test_new_names import Story
from tests.contract.test_prefixes import killed_at
from tests.contract.test_tenures_at_random import TARGETS, Place, place

__all__ = ["place"]
newest = pytest.mark.parametrize("place", ["newest"], indirect=True)


def outcomes(story: Story) -> list[tuple[str, str]]:
    with story.engine.connect() as connection:
        query = "SELECT outcome, effect FROM decision_register ORDER BY decided_at"
        return [tuple(row) for row in connection.execute(text(query))]


@newest
@pytest.mark.parametrize("target", TARGETS)
def test_a_daemon_that_died_after_its_act_finds_it_under_the_models_new_name(
    place: Place, tmp_path: Path, target: str
) -> None:
    story = Story(place, tmp_path, target)
    story.who.ask("1")
    killed_at("moved", lambda: story.cycles.run(story.policy, Mode.ENFORCE))
    new = f"{story.first}-new"
    story.rename(story.first, new)
    assert story.ends() == [(new, "decision", f"the model was named {story.first} then")]
    # The request's tag is there still, so it is decided again.
    assert outcomes(story) == [("applied", "moved")] * 2
    assert story.witnessed(story.first, new)[0] == story.first


@newest
def test_a_copy_of_what_was_told_makes_no_other_version_the_one_that_was_approved(place: Place, tmp_path: Path) -> None:
    """Told, and not moved: somebody deletes the model, and writes what was told on a version of his own."""
    story = Story(place, tmp_path, "Production")
    story.who.ask("1")
    killed_at("told", lambda: story.cycles.run(story.policy, Mode.ENFORCE))
    key = "transition_decision.stage.Production"
    shown = story.place.call("GET", "model-versions/get", name=story.first, version="1")["model_version"]
    [told] = [tag["value"] for tag in shown["tags"] if tag["key"] == key]
    story.place.call("DELETE", "registered-models/delete", name=story.first)
    other = f"{story.first}-other"
    before, story.who.name = story.who.name, other
    story.who.begin()
    story.who.name = before
    story.place.call("POST", "model-versions/set-tag", name=other, version="1", key=key, value=told)
    story.move_by_hand(other)
    assert story.ends() == [(other, "bypass", "")]
    assert outcomes(story) == [("superseded", "nothing")]
    assert story.witnessed(story.first, other) == [other]
