"""For how long a version has held a stage or an alias: by looks alone, and apart from what is governed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from reconciler.audit.log.verifying import verify
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import PolicyInForce
from reconciler.domain.holding.baselines import Holding
from reconciler.domain.place import Place
from reconciler.domain.target import Target
from reconciler.domain.times import iso, parse_iso
from reconciler.policy.file import parse_policy
from tests.crash.record import says_nothing_false
from tests.store.test_observations import Looking
from tests.store.test_observations_adversary import rename

STAGING = Target.parse("Staging")
WEEK, DAY = timedelta(days=7), timedelta(days=1)
POLICY = """\
version: 1
rules:
  - name: tried
    targets: [{governed}]
    require: [{{stage: "{stage}", held_for: 7d}}]
"""


class Watching(Looking):
    """A bench with a policy that asks for a week in Staging."""

    def ask_for(self, stage: str, governed: str = "Production") -> None:
        loaded = parse_policy(POLICY.format(governed=governed, stage=stage), "policy.yaml")
        self.in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)

    def stage(self, version: str = "1", target: Target = STAGING) -> None:
        """Somebody moves a version there."""
        self.move(version, target)
        if target.is_stage:
            self.registry.stages["fraud", version] = target.name

    def leave(self, version: str = "1", target: Target = STAGING) -> None:
        del self.registry.holders["fraud", target]
        self.registry.stages.pop(("fraud", version), None)

    def waits_for(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT waiting_code FROM open_requests")]

    def observed(self) -> list[tuple[Any, ...]]:
        query = "SELECT version, target, seen, sign FROM observations ORDER BY id"
        return [tuple(row) for row in self.rows(query)]

    def verdicts(self) -> list[tuple[str, str]]:
        reader = AuditReader(self.engine)
        rows = [reader.decision(row["decision_id"]) for row in reader.decisions(DecisionFilter())]
        return [(row["verdict"], check["code"]) for row in rows for check in row["checks"]]


@pytest.fixture(params=["Staging", "@challenger"])
def target(request: pytest.FixtureRequest) -> Target:
    return Target.parse(request.param)


@pytest.fixture
def watching(engine: Engine) -> Watching:
    watching = Watching(engine)
    watching.ask_for("Staging")
    return watching


def test_a_request_waits_until_looks_have_seen_the_version_there_for_long_enough_and_is_then_approved(
    engine: Engine, target: Target
) -> None:
    watching = Watching(engine)
    watching.ask_for(str(target))
    watching.cycle()
    watching.stage(target=target)
    watching.registry.file("fraud", "1")
    watching.cycle()
    assert watching.waits_for() == ["held_too_short"]
    watching.clock.passes(WEEK - timedelta(minutes=5))
    watching.cycles(2)
    assert (watching.waits_for(), watching.verdicts()) == (["held_too_short"], [])
    watching.clock.passes(timedelta(minutes=5))
    watching.cycles(2)
    assert watching.verdicts() == [("approve", "ok")]


def test_a_request_that_waits_is_written_once_and_says_from_when_on_it_passes(watching: Watching) -> None:
    watching.stage()
    watching.registry.file("fraud", "1")
    watching.cycles(2)
    [(seen,)] = watching.rows("SELECT at FROM observations")
    [(detail,)] = watching.rows("SELECT waiting_detail FROM open_requests")
    watching.cycles(3)
    assert watching.rows("SELECT waiting_detail FROM open_requests") == [(detail,)]
    assert watching.rows("SELECT count(*) FROM abstentions WHERE event = 'waits'") == [(1,)]
    first = parse_iso(str(seen))
    assert f"first seen there at {iso(first)}; it passes from {iso(first + WEEK)} on" in detail


def test_a_version_that_left_and_came_back_begins_anew(watching: Watching) -> None:
    watching.stage()
    watching.cycles(2)
    watching.clock.passes(WEEK)
    watching.leave()
    watching.cycle()
    watching.stage()
    watching.registry.file("fraud", "1")
    watching.cycles(2)
    assert watching.waits_for() == ["held_too_short"]
    assert watching.observed() == [
        ("1", "Staging", "held", "watched"),
        ("1", "Staging", "left", "watched"),
        ("1", "Staging", "held", "watched"),
    ]


def test_a_version_that_is_not_there_now_is_rejected_however_long_it_was(watching: Watching) -> None:
    watching.stage()
    watching.cycles(2)
    watching.clock.passes(WEEK)
    watching.cycle()
    watching.leave()
    watching.registry.file("fraud", "1")
    watching.cycle()
    assert watching.verdicts() == [("reject", "not_at_stage")]


def test_what_nobody_has_looked_at_since_is_not_taken_for_held(watching: Watching) -> None:
    """Another replica has the lease to look, and has not looked for days: its last look proves what it saw then."""
    watching.stage()
    watching.cycles(2)
    watching.clock.passes(WEEK)
    watching.cycles(2)
    watching.change("UPDATE looks SET leased_by = 'test:9', leased_until = '2099-01-01T00:00:00.000Z'")
    watching.registry.file("fraud", "1")
    watching.clock.passes(DAY + timedelta(hours=1))
    watching.cycle()
    assert watching.waits_for() == ["not_observed"]
    [(detail,)] = watching.rows("SELECT waiting_detail FROM open_requests")
    assert "longer ago than 1d: see with `status` that a daemon looks" in detail


def test_while_no_daemon_ran_what_was_held_before_and_after_counts_as_held(watching: Watching) -> None:
    watching.stage()
    watching.cycles(2)
    watching.clock.passes(WEEK)
    watching.daemon = watching.another("test:2")
    watching.registry.file("fraud", "1")
    # The look of this cycle is kept at its end: the next one rests on it.
    watching.cycle()
    assert watching.waits_for() == ["not_observed"]
    watching.cycle()
    assert watching.verdicts() == [("approve", "ok")]


def test_a_version_that_no_look_has_seen_there_is_not_observed(watching: Watching) -> None:
    watching.change("INSERT INTO looks (registry, workspace, leased_by, fence, leased_until)"
                    f" VALUES ('{watching.registry.uri}', '', 'test:9', 1, '2099-01-01T00:00:00.000Z')")  # fmt: skip
    watching.stage()
    watching.registry.file("fraud", "1")
    watching.cycle()
    assert watching.waits_for() == ["not_observed"]


def test_a_clock_that_was_set_back_proves_nothing(watching: Watching) -> None:
    watching.stage()
    watching.cycles(2)
    watching.clock.passes(-WEEK)
    watching.registry.file("fraud", "1")
    watching.cycles(2)
    assert watching.waits_for() == ["held_too_short"]


def test_what_is_only_watched_is_nobodys_bypass_baseline_or_exception(watching: Watching) -> None:
    watching.stage("1")
    watching.cycles(3)
    watching.stage("2")
    watching.cycles(3)
    watching.leave("2")
    watching.cycles(3)
    assert watching.tenures() == []
    for table in ("attributions", "unattributed", "bypasses"):
        assert watching.rows(f"SELECT count(*) FROM {table}") == [(0,)]
    assert watching.of_bypass() == []
    # In the double a stage has one holder.
    assert [row[0] + row[2] for row in watching.observed()] == ["1held", "1left", "2held", "2left"]
    says_nothing_false(watching.engine.url.render_as_string(hide_password=False))
    assert not verify(watching.engine).differences


def test_what_is_governed_beside_it_is_explained_as_before(watching: Watching) -> None:
    watching.cycle()
    watching.stage("1")
    watching.move("2")
    watching.cycles(3)
    assert watching.tenures() == [("2", "Production", "bypass", None)]
    assert len(watching.of_bypass()) == 1


def test_a_target_that_is_governed_from_now_on_begins_as_a_baseline_and_ends_what_was_watched(
    watching: Watching,
) -> None:
    watching.stage()
    watching.cycles(2)
    watching.ask_for("Staging", governed="Production, Staging")
    watching.cycles(3)
    assert watching.tenures() == [("1", "Staging", "baseline", None)]
    assert [row[2:] for row in watching.observed()] == [("held", "watched"), ("left", "watched"), ("held", "")]
    # A version that comes now came without a decision.
    watching.stage("2")
    watching.cycles(3)
    assert watching.tenures()[-1] == ("2", "Staging", "bypass", None)


def test_a_target_that_is_governed_no_more_is_watched_apart_from_what_was(watching: Watching) -> None:
    watching.ask_for("Staging", governed="Production, Staging")
    watching.stage()
    watching.cycles(2)
    watching.ask_for("Staging")
    watching.cycles(3)
    assert watching.tenures() == [("1", "Staging", "baseline", "ungoverned")]
    assert watching.observed()[-1] == ("1", "Staging", "held", "watched")


def test_what_no_check_asks_for_any_more_is_looked_at_no_more(watching: Watching) -> None:
    watching.stage()
    watching.cycles(2)
    watching.govern("Production")
    watching.cycles(2)
    assert watching.observed()[-1] == ("1", "Staging", "left", "watched")
    assert watching.rows("SELECT count(*) FROM holders") == [(0,)]


def test_a_target_that_rules_govern_counts_by_its_tenure(watching: Watching) -> None:
    watching.ask_for("Staging", governed="Production, Staging")
    watching.stage()
    watching.cycles(2)
    watching.clock.passes(WEEK)
    watching.cycles(2)
    watching.registry.file("fraud", "1")
    watching.cycle()
    assert watching.verdicts() == [("approve", "ok")]


def test_working_state_that_was_lost_is_made_again_and_loses_no_time(watching: Watching) -> None:
    watching.stage()
    watching.cycles(2)
    watching.clock.passes(WEEK)
    watching.change("DELETE FROM looks", "DELETE FROM holders", "DELETE FROM unattributed")
    watching.daemon = watching.another("test:2")
    watching.cycles(2)
    assert watching.observed() == [("1", "Staging", "held", "watched")]
    assert watching.rows("SELECT count(*) FROM unattributed") == [(0,)]
    watching.registry.file("fraud", "1")
    watching.cycle()
    assert watching.verdicts() == [("approve", "ok")]


def test_the_time_goes_on_under_the_models_new_name_and_not_for_a_model_made_again(watching: Watching) -> None:
    watching.stage()
    watching.cycles(2)
    [(first,)] = watching.rows("SELECT at FROM observations")
    watching.clock.passes(DAY)
    rename(watching, "fraud", "other")
    watching.cycles(2)
    record = SqlAuditLog(watching.engine, "test:9", watching.registry.uri).observations
    place = Place("other", "1", STAGING)
    held = record.times_held([Holding(place, 1)])[place]
    assert held.since == parse_iso(str(first))
    assert held.seen_at is not None
    assert held.seen_at - held.since >= DAY
    assert record.times_held([Holding(place, 2)]) == {}
    assert record.times_held([Holding(place._replace(version="2"), 1)]) == {}


def test_requests_for_a_target_that_is_only_watched_are_left_alone(watching: Watching) -> None:
    watching.registry.file("fraud", "1", "Staging")
    watching.cycles(2)
    assert watching.waits_for() == []
    assert watching.verdicts() == []
