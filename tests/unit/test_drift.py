"""What is told to have changed after an approval, and what nobody can tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.domain.evidence.evidence import (
    Absent,
    Evidence,
    LoggedModelFacts,
    Reading,
    RunFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.evidence.facts import LeftOut
from reconciler.domain.holding.drift import Change, changes_since, needs_again
from reconciler.domain.text import Text
from tests.builders import evidence_of, with_answer, with_changed

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TAGS = {"owner": Text.of("ada"), "transition_decision.stage.Production": Text.of("approved")}
VERSION = VersionFacts("run-1", "s3://a", "READY", "None", Text.of("fast"), TAGS, left_out={})
RUN = RunFacts("run-1", "FINISHED", "active", 1, "", {"f1": Reading("0.9", 0.9, 0, 0, "run-1")}, left_out={})
JUDGED = evidence_of(NOW, VERSION, RUN)


def changes(now: Evidence, judged: dict[str, Any] | None = None, **more: Any) -> list[Change]:
    return list(changes_since(judged or JUDGED.to_data(), more.pop("seen", {}), now, **more))


def tagged(**tags: str) -> Evidence:
    return with_changed(JUDGED, VersionFacts, tags={name: Text.of(text) for name, text in tags.items()})


def test_what_is_as_it_was_judged_has_not_changed_and_tags_of_ours_do_not_count() -> None:
    assert changes(JUDGED) == []
    assert changes(tagged(owner="ada")) == []


def test_each_field_is_told_with_both_values() -> None:
    reading = Reading("0.8", 0.8, 1, 1, "run-1")
    now = with_changed(tagged(team="risk"), RunFacts, metrics={"f1": reading}, lifecycle_stage="deleted")
    now = with_changed(now, VersionFacts, source="s3://b\n", description=Text.of(""))
    assert changes(now) == [
        Change("run.lifecycle_stage", "active", "deleted"),
        Change("run.metrics.f1", "0.9", "0.8"),
        Change("version.description", "fast", ""),
        Change("version.source", "s3://a", "s3://b\\n"),
        Change("version.tags.owner", "ada", None),
        Change("version.tags.team", None, "risk"),
    ]


def test_what_is_on_record_already_is_not_told_again_and_what_is_as_judged_again_is() -> None:
    seen = {"version.tags.owner": "bob", "version.tags.team": "risk"}
    assert changes(tagged(owner="bob", team="risk"), seen=seen) == []
    assert changes(JUDGED, seen=seen) == [
        Change("version.tags.owner", "ada", "ada"),
        Change("version.tags.team", None, None),
    ]


def test_a_run_that_is_gone_is_one_change_and_one_that_cannot_be_read_is_none() -> None:
    gone = with_answer(JUDGED, RunFacts, Absent("run_gone", "deleted"))
    assert changes(gone) == [Change("run.answer", "found", "absent")]
    assert changes(with_answer(JUDGED, RunFacts, Unreadable("503"))) == []


@pytest.mark.parametrize("now", [tagged(), tagged(owner="bob")])
def test_what_was_redacted_or_kept_out_is_not_told(now: Evidence) -> None:
    redacted, excluded = JUDGED.to_data(), JUDGED.excluding((), ["own*"]).to_data()
    redacted["version"]["tags"]["owner"] = {"redacted": True}
    assert changes(now, redacted) == changes(now, excluded) == changes(now, exclude=["own*"]) == []


@pytest.mark.parametrize("left_out", [None, {"tags": LeftOut(3, "0" * 64)}])
def test_a_tag_that_may_have_had_no_room_is_not_told_to_be_new(left_out: Any) -> None:
    judged = with_changed(JUDGED, VersionFacts, left_out=left_out).to_data()
    assert changes(tagged(owner="bob", team="risk"), judged) == [Change("version.tags.owner", "ada", "bob")]


def test_of_long_texts_the_difference_is_seen() -> None:
    one, other = (with_changed(JUDGED, VersionFacts, description=Text.of("a" * 9000 + end)) for end in "xy")
    [change] = changes(other, one.to_data())
    assert change.judged != change.found
    assert len(change.found or "") < 400
    assert "9001 characters" in (change.found or "")


def test_of_a_logged_model_the_latest_reading_on_each_dataset_counts() -> None:
    def measured(*texts: str) -> Evidence:
        readings = tuple(Reading(text, float(text), step, step, "run-1", "eval") for step, text in enumerate(texts))
        return with_answer(JUDGED, LoggedModelFacts, LoggedModelFacts("m-1", "run-1", "READY", {"f1": readings}))

    judged = measured("0.5", "0.9").to_data()
    assert changes(measured("0.9"), judged) == []
    assert changes(measured("0.9", "0.7"), judged) == [Change("logged_model.metrics.f1", "0.9 on eval", "0.7 on eval")]


def test_as_much_is_read_again_as_was_judged() -> None:
    assert needs_again(JUDGED.to_data()).run
    not_asked = with_answer(JUDGED, RunFacts, Absent("not_asked", ""))
    needs = needs_again(not_asked.to_data())
    assert (needs.run, needs.registered_model) == (False, False)
    assert changes(replace(JUDGED, read_at=NOW), not_asked.to_data()) == []
