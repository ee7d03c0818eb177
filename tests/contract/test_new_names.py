"""A decision moves a version, and the model gets a new name before the next look, on real servers of two releases.

Triggers in MLflow's own database say what was held under which name.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.contract.test_tenures_at_random import History, Place, place

__all__ = ["place"]
Seen = list[tuple[str, str, str]]


class Story(History):
    """One model that asks for one target, and what the record says of every name."""

    def __init__(self, place: Place, directory: Path, target: str) -> None:
        super().__init__(place, directory)
        self.who = next(one for one in self.people if one.target == target)
        self.who.begin()
        self.cycle()
        self.first = self.who.name

    def approve(self) -> None:
        self.who.ask("1")
        self.cycle()

    def rename(self, old: str, new: str) -> None:
        self.place.call("POST", "registered-models/rename", name=old, new_name=new)

    def twin(self, name: str) -> None:
        """A model whose version, and which itself, were created in the same millisecond as the first's."""
        before, self.who.name = self.who.name, name
        self.who.begin()
        self.who.name = before
        for table, where in (("model_versions", "version = 1"), ("registered_models", "1 = 1")):
            query = f"(SELECT creation_time FROM {table} WHERE name = '{before}' AND {where})"
            self.change(f"UPDATE {table} SET creation_time = {query} WHERE name = '{name}' AND {where}")

    def change(self, statement: str) -> None:
        with closing(sqlite3.connect(self.place.database, timeout=30)) as connection:
            connection.execute(statement)
            connection.commit()

    def move_by_hand(self, name: str) -> None:
        before, self.who.name = self.who.name, name
        self.who._move("1")
        self.who.name = before

    def ends(self) -> Seen:
        for _ in range(3):
            self.cycle()
        assert self.unexplained() == 0
        query = (
            "SELECT model, began_by, began_detail FROM tenures WHERE began_by <> 'baseline' AND target = :target "
            "ORDER BY tenure_id"
        )
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query), {"target": self.who.target})]

    def decisions(self) -> set[Any]:
        with self.engine.connect() as connection:
            query = "SELECT count(*), count(DISTINCT a.decision_id) FROM tenures a WHERE a.began_by = 'decision'"
            return set(map(tuple, connection.execute(text(query))))

    def witnessed(self, *names: str) -> list[str]:
        """Under which of these names the target was taken, in order, as MLflow's database says."""
        rows = self.place.rows("SELECT name, target FROM witness WHERE held = 1 ORDER BY seq")
        return [name for name, target in rows if name in names and target == self.who.target]


@pytest.fixture(params=["Production", "@champion"])
def story(request: pytest.FixtureRequest, place: Place, tmp_path: Path) -> Iterator[Story]:
    story = Story(place, tmp_path, request.param)
    yield story
    story.engine.dispose()


def test_a_model_that_is_renamed_before_the_next_look_is_held_by_the_decision_that_moved_it(story: Story) -> None:
    new = f"{story.first}-new"
    story.approve()
    story.rename(story.first, new)
    assert story.ends() == [(new, "decision", f"the model was named {story.first} then")]
    assert story.witnessed(story.first, new) == [story.first]
    assert (new, "1", story.who.target) in story.place.held()
    assert story.decisions() == {(1, 1)}


def test_so_it_is_after_two_new_names_while_another_model_has_the_first_one_again(story: Story) -> None:
    between, new = f"{story.first}-between", f"{story.first}-new"
    story.approve()
    story.rename(story.first, between)
    story.rename(between, new)
    story.who.begin()
    story.move_by_hand(story.first)
    assert sorted(story.ends()) == [
        (story.first, "bypass", ""),
        (new, "decision", f"the model was named {story.first} then"),
    ]
    assert story.witnessed(story.first, new) == [story.first, story.first]


def test_a_version_of_the_same_millisecond_is_a_bypass_though_the_one_that_was_approved_is_gone(story: Story) -> None:
    twin = f"{story.first}-twin"
    story.twin(twin)
    story.cycle()
    story.approve()
    if not story.who.target.startswith("@"):
        story.who._stage("1", "Archived")
    story.place.call("DELETE", "registered-models/delete", name=story.first)
    story.move_by_hand(twin)
    assert story.ends() == [(twin, "bypass", "")]
    assert story.witnessed(story.first, twin) == [story.first, twin]


def test_of_two_that_may_be_the_version_that_was_approved_none_is_taken_for_it(story: Story) -> None:
    """Both name the decision: on a server without the app, whoever may write tags can write it."""
    new, twin = f"{story.first}-new", f"{story.first}-twin"
    story.twin(twin)
    story.cycle()
    story.approve()
    kind = f"alias.{story.who.target[1:]}" if story.who.target.startswith("@") else f"stage.{story.who.target}"
    key = f"transition_decision.{kind}"
    shown = story.place.call("GET", "model-versions/get", name=story.first, version="1")["model_version"]
    [told] = [tag["value"] for tag in shown["tags"] if tag["key"] == key]
    story.place.call("POST", "model-versions/set-tag", name=twin, version="1", key=key, value=told)
    story.rename(story.first, new)
    story.move_by_hand(twin)
    assert sorted(story.ends()) == [(new, "bypass", ""), (twin, "bypass", "")]
    assert json.dumps(story.witnessed(story.first, twin)) == json.dumps([story.first, twin])
