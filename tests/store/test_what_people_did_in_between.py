"""Of several things that people did between two looks, the one that began or ended a tenure is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from reconciler.audit.store import SqlAuditLog
from reconciler.domain.holding.looks import Look, Wanted
from reconciler.domain.request import Assurance, Requester
from reconciler.ports import History, Resolution, Resolved
from tests.store.test_observations import PRODUCTION, Looking
from tests.store.test_observations_adversary import rename

INTO, OUT_OF = "Moving a version into Production", "Moving a version out of Production"
TAG = "Setting the protected tag tier"


class Told(Looking):
    """A bench on the app: its history tells what people did."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.registry.keeps_history = True
        self.number = 0

    def did(self, who: str, what: str, version: str, target: str = "Production", **more: Any) -> None:
        """`what`: approved, or the sentence of an administrator's note. `more`: another `model`, or when: `at`."""
        self.number += 1
        kind = Resolution.APPROVED if what == "approved" else Resolution.CHANGED
        said = "fine" if what == "approved" else f"{what} 2026-01-01T00:00:00.000Z by administrator {who}, directly."
        at = more.get("at") or datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.number)
        by = Requester(who, Assurance.AUTHENTICATED)
        entry = Resolved(self.number, kind, more.get("model", "fraud"), version, target, by, said, at, "", None)
        log = SqlAuditLog(self.engine, "test:1", self.registry.uri)
        log.add_history(History([entry], self.number))

    def people(self) -> Sequence[Any]:
        query = "SELECT version, began_by, person, ended_by, ended_by_person FROM tenures ORDER BY tenure_id"
        return [tuple(row) for row in self.rows(query)]

    def approved(self, version: str) -> None:
        self.move(version)
        self.did("mia", "approved", version)


@pytest.fixture
def told(engine: Engine) -> Told:
    told = Told(engine)
    told.version("1")
    told.version("2")
    told.cycle()
    return told


@pytest.mark.parametrize(("version", "target"), [("1", ""), ("", ""), ("1", "Production"), ("3", "Production")])
def test_who_approved_another_ended_it_though_somebody_else_wrote_a_note_afterwards(
    told: Told, version: str, target: str
) -> None:
    told.approved("1")
    told.cycles(2)
    told.approved("2")
    told.did("root", INTO if version == "3" else TAG, version, target)
    told.cycles(2)
    assert told.people() == [("1", "person", "mia", "person", "mia"), ("2", "person", "mia", None, None)]


def test_who_took_a_version_away_ended_it_though_another_was_approved_afterwards(told: Told) -> None:
    told.approved("1")
    told.cycles(2)
    told.did("root", OUT_OF, "1")
    told.approved("2")
    told.cycles(2)
    assert told.people()[0] == ("1", "person", "mia", "administrator", "root")


def test_who_brought_a_version_back_did_not_end_it(told: Told) -> None:
    told.approved("1")
    told.cycles(2)
    told.did("root", OUT_OF, "1")
    told.did("root", INTO, "1")
    told.approved("2")
    told.cycles(2)
    assert told.people()[0] == ("1", "person", "mia", "person", "mia")


def test_who_approved_began_it_though_somebody_changed_the_holder_afterwards(told: Told) -> None:
    told.approved("1")
    told.did("root", "Changing run_id of the version that holds Production", "1")
    told.cycles(2)
    assert told.people() == [("1", "person", "mia", None, None)]


def test_who_brought_a_version_back_after_a_decision_began_what_is_seen(told: Told) -> None:
    told.registry.file("fraud", "1")
    told.cycle()
    assert told.registry.holders["fraud", PRODUCTION] == "1"
    told.clock.passes(timedelta(seconds=30))
    told.did("root", OUT_OF, "1")
    told.did("root", INTO, "1")
    told.cycles(2)
    assert told.people() == [("1", "administrator", "root", None, None)]


def test_a_note_that_moves_nothing_takes_no_tenure_from_the_decision(told: Told) -> None:
    told.registry.file("fraud", "1")
    told.cycle()
    told.clock.passes(timedelta(seconds=30))
    told.did("root", TAG, "1", "Production")
    told.cycles(2)
    assert told.people() == [("1", "decision", None, None, None)]


# --- another name, between an approval and the next look -----------------------------------------------------------


@pytest.mark.parametrize("names", [("other",), ("between", "other")])
def test_who_approved_began_what_an_administrator_renamed_before_a_look_saw_it(
    told: Told, names: tuple[str, ...]
) -> None:
    told.govern("Production")
    told.cycle()
    told.approved("1")
    before = "fraud"
    for name in names:
        told.did("root", f"Renaming a model with a version that holds Production to '{name}'", "1", model=before)
        rename(told, before, name)
        before = name
    told.cycles(2)
    assert told.people() == [("1", "person", "mia", None, None)]
    assert told.rows("SELECT model, began_detail FROM tenures") == [("other", "the model was named fraud then")]


def test_who_renamed_a_model_whose_version_was_moved_without_a_trace_hides_no_bypass(told: Told) -> None:
    told.govern("Production")
    told.cycle()
    told.move("1")
    told.did("root", "Renaming a model with a version that holds Production to 'other'", "1")
    rename(told, "fraud", "other")
    told.cycles(2)
    assert told.people() == [("1", "bypass", None, None, None)]


# --- who archived --------------------------------------------------------------------------------------------------


def two_in_production(told: Told) -> None:
    """Two versions hold it, as a stage allows: 2 by its holder in the registry, 3 beside it."""
    whole = told.registry.look

    def look(wanted: Wanted) -> Look:
        seen = whole(wanted)
        beside = [replace(one, stage="Production") if one.version == "3" else one for one in seen.versions]
        return replace(seen, versions=beside)

    told.registry.look = look  # type: ignore[method-assign]


def test_who_approved_without_archiving_ended_nothing_that_somebody_else_archived_before(told: Told) -> None:
    told.version("3")
    told.approved("1")
    told.cycles(2)
    told.did("root", INTO, "2")
    told.move("2")
    told.did("mia", "approved", "3")
    two_in_production(told)
    told.cycles(2)
    assert told.people() == [
        ("1", "person", "mia", "administrator", "root"),
        ("2", "administrator", "root", None, None),
        ("3", "person", "mia", None, None),
    ]


def test_who_approved_and_archived_ended_what_was_there(told: Told) -> None:
    told.version("3")
    told.approved("1")
    told.cycles(2)
    told.did("root", INTO, "2")
    told.did("mia", "approved", "3")
    told.move("3")
    told.cycles(2)
    assert told.people() == [("1", "person", "mia", "person", "mia"), ("3", "person", "mia", None, None)]


# --- clocks that differ --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [-3, 3])
def test_a_return_to_what_was_approved_is_a_rollback_though_the_registrys_clock_is_days_off(
    told: Told, days: int
) -> None:
    """Approved and taken away between two looks, of a version that was made a minute before."""
    told.number = 0
    apart = timedelta(days=days)
    made = told.clock.now() + apart
    told.registry.created["fraud", "1"] = round(made.timestamp() * 1000)
    told.did("mia", "approved", "1", at=made + timedelta(seconds=30))
    told.cycles(2)
    told.move("1")
    told.cycles(3)
    assert [row[1] for row in told.people()] == ["rollback"]


@pytest.mark.parametrize("days", [-3, 3])
def test_a_version_that_was_made_again_is_no_rollback_though_the_registrys_clock_is_days_off(
    told: Told, days: int
) -> None:
    approved = told.clock.now() + timedelta(days=days)
    told.did("mia", "approved", "1", at=approved)
    told.cycles(2)
    told.registry.created["fraud", "1"] = round((approved + timedelta(seconds=30)).timestamp() * 1000)
    told.move("1")
    told.cycles(3)
    assert [row[1] for row in told.people()] == ["bypass"]
