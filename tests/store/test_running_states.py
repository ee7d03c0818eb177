"""When each daemon ran, on which terms, and when none did: read from the views as an auditor reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from bench.costs import statements
from reconciler.audit.one_cycle import OneCycleLog
from reconciler.audit.running.daemons import name_of_once
from reconciler.audit.running.states import Clocks, RunningStates
from reconciler.audit.statements import Served
from reconciler.audit.store import SqlAuditLog
from reconciler.domain.decision import Mode
from reconciler.ports import AuditUnavailable, CycleNote, Operation
from tests.store.database_clock import DatabaseClock

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
REGISTRY = "http://registry.test"
ONCE = name_of_once("host:1", Served(REGISTRY, ""))


class Life:
    """Daemons on one database, a cycle a minute by a clock that the test sets. The host's clocks stand still."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.clock = DatabaseClock(engine)
        self.policies = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("p1", "p2")}

    def daemon(self, name: str = "host:1", registry: str = REGISTRY, *, starts: bool = True) -> SqlAuditLog:
        log = SqlAuditLog(self.engine, name, registry)
        if starts:
            log.sign_on(Mode.ENFORCE, "")
        return log

    def once(self) -> None:
        self.cycle(OneCycleLog(self.engine, "host:77", REGISTRY), after=timedelta())

    def terms(self, policy: str, mode: Mode, paused: str | None, interval: timedelta = MINUTE) -> Operation:
        digest = self.policies[policy]
        return Operation(mode, digest, f"/etc/{policy}.yaml", "ops@host", interval, timedelta(), paused)

    def cycle(
        self, log: SqlAuditLog, policy: str = "p1", mode: Mode = Mode.ENFORCE, *, paused: str | None = None,
        down: bool = False, after: timedelta = MINUTE, interval: timedelta = MINUTE,
    ) -> None:  # fmt: skip
        """A cycle that begins some time after what happened last."""
        self.clock.passes(after)
        terms = self.terms(policy, mode, paused, interval)
        log.keep_policy(terms.policy_digest, policy)
        log.operate(terms)
        log.note_cycle(CycleNote("-", not down, mode, terms.policy_digest, timedelta(), registry_down=down))

    def cycles(self, log: SqlAuditLog, many: int, **more: Any) -> None:
        for _ in range(many):
            self.cycle(log, **more)

    # --- what an auditor sees --------------------------------------------------------------------------------

    def rows(self, query: str) -> Sequence[Any]:
        """Read by a connection that is not the product's."""
        auditor = create_engine(self.engine.url)
        with auditor.connect() as connection:
            found = connection.execute(text(query)).all()
        auditor.dispose()
        return found

    def count(self) -> int:
        return int(self.rows("SELECT count(*) FROM running_states")[0][0])

    def periods(self) -> list[tuple[str, str, int]]:
        """Daemon, state, and how many minutes it was seen in it, the first first."""
        query = (
            f"SELECT daemon, state, {self._minutes('began_at', 'last_seen_at')} FROM running_periods ORDER BY began_at"
        )
        return [(daemon, state, round(float(minutes))) for daemon, state, minutes in self.rows(query)]

    def policy_periods(self) -> list[tuple[str, str, bool]]:
        """Policy, mode, and whether it has ended."""
        names = {digest: name for name, digest in self.policies.items()}
        query = "SELECT policy_digest, mode, ended_at IS NOT NULL FROM policy_periods ORDER BY began_at"
        return [(names[digest], mode, bool(over)) for digest, mode, over in self.rows(query)]

    def gaps(self) -> list[int]:
        """Minutes of each gap that is over."""
        query = "SELECT seconds FROM control_gaps WHERE ended_at IS NOT NULL ORDER BY began_at"
        return [round(int(seconds) / 60) for (seconds,) in self.rows(query)]

    def _minutes(self, before: str, after: str) -> str:
        if self.engine.dialect.name == "sqlite":
            return f"(julianday({after}) - julianday({before})) * 1440"
        return f"extract(epoch FROM {after} - {before}) / 60"


@pytest.fixture
def life(engine: Engine) -> Life:
    return Life(engine)


# --- rows --------------------------------------------------------------------------------------------------------


def test_cycles_without_events_are_one_row_a_day(life: Life) -> None:
    log = life.daemon()
    for _ in range(30 * 4):
        life.cycle(log, after=6 * HOUR, interval=6 * HOUR)
    assert life.count() == 30
    assert life.periods() == [("host:1", "running", (30 * 4 - 1) * 6 * 60)]


def test_an_idle_cycle_writes_no_row(life: Life) -> None:
    log = life.daemon()
    life.cycles(log, 20)
    assert life.count() == 1
    assert life.periods() == [("host:1", "running", 19)]


def test_what_was_not_committed_is_said_again(life: Life) -> None:
    """The database refuses the row; the next cycle says it, as of then."""
    log = life.daemon()
    life.cycle(log)
    terms = life.terms("p1", Mode.OBSERVE, None)
    with life.engine.begin() as connection:
        connection.execute(text("UPDATE log_state SET complete = :no"), {"no": False})
    with pytest.raises(Exception, match="log of the audit database is not complete yet"):
        log.operate(terms)
    with life.engine.begin() as connection:
        connection.execute(text("UPDATE log_state SET complete = :yes"), {"yes": True})
    log.operate(terms)
    assert [(mode, over) for _, mode, over in life.policy_periods()] == [("enforce", True), ("observe", False)]


# --- the policy in force -----------------------------------------------------------------------------------------


def test_a_policy_that_comes_back_has_two_periods(life: Life) -> None:
    log = life.daemon()
    for policy in ("p1", "p1", "p2", "p1", "p1"):
        life.cycle(log, policy)
    assert life.policy_periods() == [("p1", "enforce", True), ("p2", "enforce", True), ("p1", "enforce", False)]
    shown = life.rows("SELECT DISTINCT policy_file, loaded_by FROM policy_periods ORDER BY 1")
    assert [tuple(row) for row in shown] == [("/etc/p1.yaml", "ops@host"), ("/etc/p2.yaml", "ops@host")]


def test_a_mode_has_periods_too_and_a_pause_ends_none(life: Life) -> None:
    log = life.daemon()
    life.cycle(log)
    life.cycle(log, paused="an audit")
    life.cycle(log, mode=Mode.OBSERVE)
    assert life.policy_periods() == [("p1", "enforce", True), ("p1", "observe", False)]


def test_a_policy_is_not_in_force_while_its_daemon_does_not_run(life: Life) -> None:
    log = life.daemon()
    life.cycle(log)
    log.sign_off()
    life.clock.passes(HOUR)
    life.cycle(life.daemon("host:2"))
    assert life.policy_periods() == [("p1", "enforce", True), ("p1", "enforce", False)]


def test_a_decision_is_made_in_the_period_of_its_policy(life: Life) -> None:
    """The row is there when the cycle begins, not when it has ended."""
    log = life.daemon()
    life.cycle(log)
    life.clock.passes(MINUTE)
    terms = life.terms("p2", Mode.ENFORCE, None)
    log.keep_policy(terms.policy_digest, "p2")
    log.operate(terms)
    assert [policy for policy, _, _ in life.policy_periods()] == ["p1", "p2"]


# --- whether the control operated --------------------------------------------------------------------------------


def test_a_pause_and_a_registry_that_is_down_are_periods(life: Life) -> None:
    log = life.daemon()
    life.cycles(log, 2)
    life.cycles(log, 3, paused="an audit")
    life.cycles(log, 2)
    life.cycles(log, 4, down=True)
    life.cycles(log, 2)
    states = [(state, minutes) for _, state, minutes in life.periods()]
    assert states == [("running", 2), ("paused", 3), ("running", 2), ("registry_down", 4), ("running", 1)]
    assert life.rows("SELECT detail FROM running_periods WHERE state = 'paused'")[0].detail == "an audit"
    assert life.gaps() == [3, 4]


def test_a_daemon_that_was_killed_ran_until_its_last_cycle(life: Life) -> None:
    life.cycles(life.daemon("host:1"), 10)
    life.clock.passes(3 * HOUR)
    life.cycles(life.daemon("host:2"), 2, after=timedelta())
    assert life.periods()[0] == ("host:1", "running", 9)
    assert life.gaps() == [180]
    over = life.rows("SELECT ended_at FROM running_periods WHERE daemon = 'host:1'")
    assert over[0].ended_at is not None


def test_a_daemon_of_the_same_name_as_one_that_was_killed_begins_anew(life: Life) -> None:
    """Process 1 of a container."""
    life.cycles(life.daemon("host:1"), 10)
    life.clock.passes(3 * HOUR)
    life.cycles(life.daemon("host:1"), 2, after=timedelta())
    assert [state for _, state, _ in life.periods()] == ["running", "running"]
    assert life.gaps() == [180]


def test_a_daemon_that_stood_still_did_not_operate(life: Life) -> None:
    log = life.daemon()
    life.cycles(log, 10)
    life.cycle(log, after=5 * HOUR)
    life.cycles(log, 2)
    states = [(state, minutes) for _, state, minutes in life.periods()]
    assert states == [("running", 9), ("stood_still", 300), ("running", 2)]
    assert life.gaps() == [300]


def test_a_cycle_that_takes_a_little_longer_is_no_gap(life: Life) -> None:
    log = life.daemon()
    for _ in range(5):
        life.cycle(log, after=3 * MINUTE - timedelta(seconds=1))
    assert life.gaps() == []


def test_a_database_that_could_not_be_written_is_told_apart(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    log = life.daemon()
    life.cycles(log, 2)
    with monkeypatch.context() as patched:
        patched.setattr(life.engine, "begin", _unavailable)
        with pytest.raises(AuditUnavailable):
            log.note_cycle(CycleNote("-", True, Mode.ENFORCE, "", timedelta()))
    life.cycle(log, after=HOUR)
    life.cycles(log, 2)
    life.cycle(log, after=HOUR)
    states = [state for _, state, _ in life.periods()]
    assert states == ["running", "database_gap", "running", "stood_still", "running"]


def _unavailable() -> None:
    raise AuditUnavailable("no route to host")


def test_no_gap_where_another_daemon_runs_on(life: Life) -> None:
    if life.engine.dialect.name == "sqlite":
        pytest.skip("a SQLite file has one daemon")
    one, two = life.daemon("one:1"), life.daemon("two:1")
    for _ in range(5):
        life.cycle(one)
        life.cycle(two, after=timedelta())
    for _ in range(20):
        life.cycle(two)
    assert life.gaps() == []
    # A third one says of the first that it is gone, and of the second nothing.
    life.daemon("three:1")
    ended = {row.daemon for row in life.rows("SELECT daemon FROM running_periods WHERE ended_at IS NOT NULL")}
    assert ended == {"one:1"}


def test_a_daemon_that_was_called_gone_and_wakes_goes_on(life: Life) -> None:
    if life.engine.dialect.name == "sqlite":
        pytest.skip("a SQLite file has one daemon")
    one = life.daemon("one:1")
    life.cycles(one, 3)
    life.clock.passes(HOUR)
    two = life.daemon("two:1")
    life.cycle(two, after=timedelta())
    life.cycle(one, after=timedelta())
    states = [(daemon, state) for daemon, state, _ in life.periods()]
    assert sorted(states) == [
        ("one:1", "running"), ("one:1", "running"), ("one:1", "stood_still"), ("two:1", "running")
    ]  # fmt: skip


def test_cycles_by_hand_on_a_schedule_are_one_period(life: Life) -> None:
    for _ in range(10):
        life.once()
        life.clock.passes(MINUTE)
    assert life.count() == 1
    life.clock.passes(HOUR)
    life.once()
    assert [(daemon, state) for daemon, state, _ in life.periods()] == [
        (ONCE, "running"), (ONCE, "stood_still"), (ONCE, "running")
    ]  # fmt: skip
    assert life.gaps() == [61]


def test_working_state_that_was_lost_ends_a_period_at_its_last_row(life: Life) -> None:
    life.cycles(life.daemon("host:1"), 10)
    with life.engine.begin() as connection:
        connection.execute(text("DELETE FROM daemons"))
    life.clock.passes(HOUR)
    life.cycle(life.daemon("host:2"), after=timedelta())
    assert life.periods() == [("host:1", "running", 0), ("host:2", "running", 0)]
    assert life.gaps() == [69]


def test_registries_are_told_apart(life: Life) -> None:
    life.cycle(life.daemon("host:1"))
    life.cycle(life.daemon("host:2", "http://other.test"))
    assert {row.registry for row in life.rows("SELECT registry FROM running_periods")} == {
        REGISTRY,
        "http://other.test",
    }
    assert life.gaps() == []


def test_no_gap_above_five_minutes_in_a_quarter_is_one_query(life: Life) -> None:
    log = life.daemon()
    life.cycles(log, 3)
    life.cycle(log, after=4 * MINUTE)
    life.cycle(log, after=HOUR)
    query = "SELECT began_at, ended_at, seconds FROM control_gaps WHERE seconds > 300 AND ended_at IS NOT NULL"
    assert [round(row.seconds / 60) for row in life.rows(query)] == [60]


# --- the host's clocks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jumps", [0, 1])
def test_either_clock_of_the_host_shows_that_a_process_stood_still(jumps: int) -> None:
    """One stops while the machine sleeps, the other may be set back."""
    times = [0.0, 0.0]
    clocks = Clocks((lambda: times[0], lambda: times[1]))
    times[jumps] = 200.0
    times[1 - jumps] = -100.0
    assert clocks.passed() == timedelta(seconds=200)
    clocks.restart()
    assert clocks.passed() == timedelta()


def test_a_cycle_that_begins_as_the_last_one_ended_asks_no_database(life: Life) -> None:
    log = life.daemon()
    life.cycle(log)
    assert isinstance(log._running, RunningStates)
    assert log._running.is_as_before(life.terms("p1", Mode.ENFORCE, None))
    assert not log._running.is_as_before(life.terms("p2", Mode.ENFORCE, None))


def test_a_cycle_by_hand_does_not_make_a_killed_daemons_last_cycle_unknown(life: Life) -> None:
    life.cycles(life.daemon("host:1"), 60)
    # On PostgreSQL the first may still live when the second starts.
    second = life.daemon("host:2")
    life.cycles(second, 60)
    life.clock.passes(timedelta(days=2))
    life.once()
    assert ("host:2", "running", 59) in life.periods()


def test_cycles_by_hand_for_two_registries_on_one_database_do_not_make_each_other_stand_still(life: Life) -> None:
    for number in range(10):
        for registry in ("http://a", "http://b"):
            life.cycle(OneCycleLog(life.engine, f"host:{number}", registry), after=timedelta(seconds=30))
    assert life.rows("SELECT DISTINCT state FROM running_states") == [("running",)]


def test_a_start_asks_as_much_after_a_hundred_restarts_as_after_ten(life: Life) -> None:
    def starts(many: int) -> int:
        for number in range(many):
            life.cycle(life.daemon(f"host:{many}-{number}"), after=timedelta(minutes=10))
        return len(statements(life.engine, lambda: life.daemon(f"host:{many}-last")))

    assert starts(10) == starts(100)
