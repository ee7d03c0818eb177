"""Who looks, what a look leaves, and what is made of it after a loss, on both databases."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from reconciler.audit.holding.accepting import accept_baselines, acknowledge, baselines
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, CycleSummary, Event, PolicyInForce, Times
from reconciler.domain.decision import Mode
from reconciler.domain.target import Target
from reconciler.failpoints import watching
from reconciler.policy.file import parse_policy
from reconciler.ports import AuditUnavailable, NoSuchTenure, Unavailable
from tests.builders import accuracy_policy
from tests.crash.record import says_nothing_false
from tests.fake_registry import FakeRegistry
from tests.store.test_abstentions import Bench

PRODUCTION, CHAMPION = Target.parse("Production"), Target.parse("@champion")


class Looking(Bench):
    """A bench whose daemon follows the log, and in which a person moves versions."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.events: list[Event] = []
        self.govern("Production")
        self.daemon = self.another("test:1")

    def govern(self, targets: str) -> None:
        loaded = parse_policy(accuracy_policy(targets=targets), "policy.yaml")
        self.in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)

    def another(self, name: str, registry: FakeRegistry | None = None) -> Cycle:
        log = SqlAuditLog(self.engine, name, self.registry.uri)
        times = Times(full_look=timedelta(0))
        note = self.events.append if hasattr(self, "events") else lambda event: None
        return Cycle(registry or self.registry, log, times=times, everything_is_due=True, on_event=note)

    def run(self) -> CycleSummary:
        self.clock.passes(timedelta(minutes=1))
        return self.daemon.run(self.in_force, Mode.ENFORCE)

    def version(self, version: str, accuracy: str = "0.95") -> None:
        self.registry.accuracy["fraud", version] = accuracy

    def move(self, version: str, target: Target = PRODUCTION) -> None:
        self.registry.accuracy.setdefault(("fraud", version), "0.95")
        self.registry.holders["fraud", target] = version

    def tenures(self) -> list[tuple[Any, ...]]:
        query = "SELECT version, target, began_by, ended_by FROM tenures ORDER BY tenure_id"
        return [tuple(row) for row in self.rows(query)]

    def change(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def of_bypass(self) -> list[Event]:
        return [event for event in self.events if event.kind == "bypass"]


@pytest.fixture
def looking(engine: Engine) -> Looking:
    return Looking(engine)


# --- what is lost, and who looks -----------------------------------------------------------------------------------


def test_working_state_that_was_lost_is_made_again_and_hides_no_bypass(looking: Looking) -> None:
    looking.move("1")
    looking.cycles(2)
    looking.change("DELETE FROM looks", "DELETE FROM holders", "DELETE FROM unattributed")
    looking.daemon = looking.another("test:2")
    looking.move("2")
    looking.cycles(2)
    assert looking.tenures() == [
        ("1", "Production", "baseline", "unrecorded"),
        ("2", "Production", "bypass", None),
    ]
    says_nothing_false(looking.engine.url.render_as_string(hide_password=False))


def test_what_was_not_explained_yet_when_the_working_state_was_lost_is_explained_afterwards(looking: Looking) -> None:
    looking.cycle()
    looking.move("1")
    looking.cycle()
    looking.change("DELETE FROM looks", "DELETE FROM holders", "DELETE FROM unattributed")
    looking.cycles(2)
    assert looking.tenures() == [("1", "Production", "bypass", None)]


def test_one_replica_looks_and_another_takes_over_when_it_is_silent(looking: Looking) -> None:
    other = looking.another("test:2")
    looking.cycle()
    looking.cycle(by=other)
    assert looking.rows("SELECT leased_by, fence FROM looks") == [("test:1", 1)]
    looking.clock.passes(timedelta(hours=1))
    looking.move("1")
    looking.cycle(by=other)
    looking.cycle(by=other)
    assert looking.rows("SELECT leased_by, fence FROM looks") == [("test:2", 2)]
    looking.cycle()
    assert looking.tenures() == [("1", "Production", "bypass", None)]


def test_a_daemon_that_signs_off_leaves_the_lease_to_the_next(looking: Looking) -> None:
    looking.cycle()
    SqlAuditLog(looking.engine, "test:1", looking.registry.uri).sign_off()
    looking.cycle(by=looking.another("test:2"))
    assert looking.rows("SELECT leased_by FROM looks") == [("test:2",)]


def test_a_replica_that_was_overtaken_while_it_looked_writes_nothing_of_what_it_saw(looking: Looking) -> None:
    """It saw version 1; until it writes, another replica has seen version 2."""
    looking.version("1")
    looking.cycle()
    looking.move("1")
    other = looking.another("test:2")

    def meanwhile(look: Callable[..., Any]) -> Callable[..., Any]:
        def slow(wanted: Any) -> Any:
            seen = look(wanted)
            looking.registry.look = look  # type: ignore[method-assign]
            looking.clock.passes(timedelta(hours=1))
            looking.move("2")
            looking.cycle(by=other)
            return seen

        return slow

    looking.registry.look = meanwhile(looking.registry.look)  # type: ignore[method-assign]
    looking.cycle()
    looking.cycle(by=other)
    assert looking.tenures() == [("2", "Production", "bypass", None)]


@pytest.mark.parametrize("at", ["observations to be committed", "attributions to be committed", "looked"])
def test_a_daemon_that_dies_around_its_look_records_each_change_once(looking: Looking, at: str) -> None:
    class Killed(BaseException):
        pass

    def reached(name: str) -> None:
        if name == at:
            raise Killed

    looking.cycle()
    looking.move("1")
    with watching(reached), contextlib.suppress(Killed):
        looking.cycle()
    looking.clock.passes(timedelta(hours=1))
    looking.daemon = looking.another("test:2")
    looking.cycles(3)
    assert looking.tenures() == [("1", "Production", "bypass", None)]


def test_a_look_that_could_not_be_recorded_is_compared_anew(looking: Looking) -> None:
    looking.cycle()
    looking.move("1")

    def fails(name: str) -> None:
        if name == "observations to be committed":
            raise AuditUnavailable("the disk is full")

    with watching(fails), pytest.raises(AuditUnavailable):
        looking.cycle()
    looking.cycles(2)
    assert looking.tenures() == [("1", "Production", "bypass", None)]


def test_a_registry_that_cannot_be_looked_at_delays_no_decision(looking: Looking) -> None:
    looking.registry.file("fraud", "1")

    def refuses(wanted: Any) -> Any:
        raise Unavailable("model-versions/search: 500")

    look = looking.registry.look
    looking.registry.look = refuses  # type: ignore[method-assign]
    looking.cycle()
    assert looking.rows("SELECT outcome FROM outcomes") == [("applied",)]
    assert looking.rows("SELECT problem FROM looks") == [("model-versions/search: 500",)]
    looking.registry.look = look  # type: ignore[method-assign]
    looking.cycles(2)
    assert looking.rows("SELECT problem FROM looks") == [(None,)]
    assert looking.tenures() == [("1", "Production", "decision", None)]


# --- what is governed ----------------------------------------------------------------------------------------------


def test_what_holds_a_target_when_that_becomes_governed_is_a_baseline_and_what_comes_later_is_not(
    looking: Looking,
) -> None:
    looking.move("1", CHAMPION)
    looking.cycles(2)
    assert looking.tenures() == []
    looking.govern('Production, "@champion"')
    looking.cycles(2)
    looking.move("2", CHAMPION)
    looking.cycles(2)
    assert looking.tenures() == [
        ("1", "@champion", "baseline", "unrecorded"),
        ("2", "@champion", "bypass", None),
    ]


def test_a_target_that_no_rule_names_any_more_is_not_looked_at(looking: Looking) -> None:
    looking.govern('Production, "@champion"')
    looking.cycle()
    looking.move("1", CHAMPION)
    looking.cycles(2)
    looking.govern("Production")
    looking.cycles(2)
    looking.move("2", CHAMPION)
    looking.cycles(2)
    assert looking.tenures() == [("1", "@champion", "bypass", "ungoverned")]


def test_what_is_watched_is_on_record_since_when_and_only_when_it_changes(looking: Looking) -> None:
    looking.cycles(3)
    looking.govern('"@champion"')
    looking.cycles(3)
    scopes = [row.scope for row in looking.rows("SELECT scope FROM watched_scopes ORDER BY id")]
    assert scopes == [
        '[{"models": ["*"], "targets": ["Production"]}]', '[{"models": ["*"], "targets": ["@champion"]}]',
    ]  # fmt: skip


# --- bypasses ------------------------------------------------------------------------------------------------------


def standing(looking: Looking) -> Sequence[Any]:
    return [row.standing for row in looking.rows("SELECT standing FROM bypasses ORDER BY tenure_id")]


def test_a_bypass_is_told_once_and_counted_until_it_is_gone(looking: Looking) -> None:
    looking.cycle()
    looking.move("1")
    counted = [looking.run().bypasses for _ in range(4)]
    assert counted == [0, 1, 1, 1]
    assert [(event.model, event.version, event.target) for event in looking.of_bypass()] == [
        ("fraud", "1", "Production")
    ]
    del looking.registry.holders["fraud", PRODUCTION]
    assert looking.run().bypasses == 0
    assert standing(looking) == ["gone"]
    assert len(looking.of_bypass()) == 1


def test_a_bypass_ends_when_it_is_approved_afterwards(looking: Looking) -> None:
    looking.cycle()
    looking.move("1")
    looking.cycles(2)
    looking.registry.file("fraud", "1")
    looking.run()
    assert looking.run().bypasses == 0
    assert standing(looking) == ["approved"]
    assert looking.tenures() == [("1", "Production", "bypass", None)]


def test_a_bypass_ends_when_somebody_accepts_it_by_name(looking: Looking) -> None:
    looking.cycle()
    looking.move("1")
    looking.cycles(2)
    [(tenure,)] = looking.rows("SELECT tenure_id FROM bypasses")
    assert acknowledge(looking.engine, tenure, "emergency", "mia").by is None
    assert looking.run().bypasses == 0
    assert looking.rows("SELECT standing, accepted_by, accepted_because FROM bypasses") == [
        ("acknowledged", "mia", "emergency")
    ]
    assert acknowledge(looking.engine, tenure, "again", "bob").by == "mia"


def test_only_a_bypass_can_be_acknowledged(looking: Looking) -> None:
    looking.registry.file("fraud", "1")
    looking.cycles(2)
    [(tenure,)] = looking.rows("SELECT tenure_id FROM tenures")
    with pytest.raises(NoSuchTenure, match="began by decision"):
        acknowledge(looking.engine, tenure, "-", "mia")
    with pytest.raises(NoSuchTenure, match="there is no tenure 99"):
        acknowledge(looking.engine, 99, "-", "mia")


def test_a_baseline_is_accepted_by_name_and_only_what_is_asked_for(looking: Looking) -> None:
    looking.move("1")
    looking.registry.accuracy["churn", "1"] = "0.9"
    looking.registry.holders["churn", PRODUCTION] = "1"
    looking.cycles(2)
    assert [row["model"] for row in baselines(looking.engine, None, None)] == ["churn", "fraud"]
    accepted = accept_baselines(looking.engine, "fr*", PRODUCTION, "reviewed", "mia")
    assert [row["model"] for row in accepted] == ["fraud"]
    assert [row["model"] for row in baselines(looking.engine, None, None)] == ["churn"]
    assert looking.rows("SELECT accepted_by FROM tenures ORDER BY model") == [(None,), ("mia",)]
    assert accept_baselines(looking.engine, "fr*", None, "again", "bob") == []


def test_a_renamed_models_alias_that_moved_again_is_a_bypass(looking: Looking) -> None:
    """Only what held under the old name goes on under the new one."""
    looking.cycle()
    looking.move("1")
    looking.cycles(2)
    registry = looking.registry
    registry.accuracy = {("scam", version): value for (_, version), value in registry.accuracy.items()}
    registry.accuracy["scam", "2"] = "0.95"
    registry.holders = {("scam", PRODUCTION): "2"}
    looking.cycles(2)
    assert looking.tenures() == [
        ("1", "Production", "bypass", "deleted"),
        ("2", "Production", "bypass", None),
    ]
