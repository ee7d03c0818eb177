"""Random histories: people, faults, crashes, clocks and a second replica in any order; the promises after each step."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, text

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.domain.request import Request
from reconciler.failpoints import watching
from reconciler.policy.file import parse_policy
from reconciler.ports import Unavailable
from tests.builders import accuracy_policy
from tests.crash.conftest import LONG
from tests.fake_registry import FakeRegistry, raising
from tests.postgres import PostgresServer

MODELS = st.sampled_from(["a", "b", "c"])
_numbers = itertools.count(1)


class Killed(BaseException):
    """As SIGKILL: nothing that is on the stack gets to do anything more."""


class Histories(RuleBasedStateMachine):
    """One registry with its people, and replicas that share a database. Subclassed with the database."""

    engine: ClassVar[Engine]

    @initialize()
    def begin(self) -> None:
        # A registry of its own for each history: the audit is append-only, and scoped by registry.
        self.registry = FakeRegistry(uri=f"http://registry-{next(_numbers)}.test")
        self.clock_shift = timedelta(0)
        self.filed: list[Request] = []
        self.policy(0.9)

    def replica(self, name: str) -> Cycle:
        audit = SqlAuditLog(self.engine, name, self.registry.uri)
        return Cycle(self.registry, audit, everything_is_due=True)

    # --- people ------------------------------------------------------------------------------------------

    @rule(model=MODELS, accuracy=st.sampled_from(["0.95", "0.5"]))
    def file(self, model: str, accuracy: str) -> None:
        """Anew, or again over what is open: then the tag was edited."""
        self.filed.append(self.registry.file(model, "1", accuracy=accuracy))

    @precondition(lambda self: self.registry.requests)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        self.registry.withdraw(data.draw(st.sampled_from(list(self.registry.requests.values()))))

    @precondition(lambda self: self.registry.requests)
    @rule(data=st.data())
    def approve_by_hand(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(list(self.registry.requests.values())))
        self.registry.holders[request.model, request.target] = request.version
        self.registry.withdraw(request)

    @rule(model=MODELS)
    def delete(self, model: str) -> None:
        if (model, "1") in self.registry.accuracy:
            self.registry.delete_version(model, "1")

    @rule(model=MODELS, accuracy=st.sampled_from(["0.95", "0.5"]))
    def measure_again(self, model: str, accuracy: str) -> None:
        if (model, "1") in self.registry.accuracy:
            self.registry.accuracy[model, "1"] = accuracy

    @rule(least=st.sampled_from([0.4, 0.9, 0.99]))
    def policy(self, least: float) -> None:
        loaded = parse_policy(accuracy_policy(least), "policy.yaml")
        self.in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)

    # --- the daemon ----------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(["one:1", "two:2"]))
    def cycle(self, name: str) -> None:
        self.replica(name).run(self.in_force, Mode.ENFORCE)

    @rule(k=st.integers(1, 12), after=st.booleans())
    def cycle_with_a_lost_call(self, k: int, after: bool) -> None:
        self.registry.operations = 0
        faults = self.registry.after if after else self.registry.before
        faults[k] = raising(Unavailable(f"operation {k}: connection reset"))
        self.cycle("one:1")
        faults.clear()

    @rule(model=MODELS, k=st.integers(4, 6))
    def judged_otherwise_before_the_retry(self, model: str, k: int) -> None:
        """An act got no answer, and until none can come any more the version is measured again."""
        self.file(model, "0.95")
        self.registry.accuracy[model, "1"] = "0.95"
        self.cycle_with_a_lost_call(k, after=False)
        self.registry.accuracy[model, "1"] = "0.3"
        self.clock(timedelta(hours=1))

    @rule(k=st.integers(1, 25), name=st.sampled_from(["one:1", "two:2"]))
    def killed(self, k: int, name: str) -> None:
        """What it had claimed stays claimed until its lease ends."""
        self.interrupted(k, name, self._die)

    @rule(k=st.integers(1, 25))
    def another_replica_steps_in(self, k: int) -> None:
        self.interrupted(k, "one:1", lambda: self.cycle("two:2"))

    @rule(k=st.integers(1, 25))
    def frozen_while_another_takes_over(self, k: int) -> None:
        def meanwhile() -> None:
            self.clock(timedelta(hours=1))
            self.cycle("two:2")

        self.interrupted(k, "one:1", meanwhile)

    def interrupted(self, k: int, name: str, happens: Any) -> None:
        reached = itertools.count(1)

        def hook(place: str) -> None:
            # Within a transaction nobody else gets far: the database's locks see to that.
            if next(reached) == k and "to be committed" not in place and place != "decision inserted":
                with watching(lambda place: None):
                    happens()

        with watching(hook), contextlib.suppress(Killed):
            self.cycle(name)

    def _die(self) -> None:
        raise Killed

    @rule(hours=st.sampled_from([-5, -1, 1, 5]))
    def clock_jumps(self, hours: int) -> None:
        self.clock(timedelta(hours=hours))

    def clock(self, by: timedelta) -> None:
        """Moving what is stored one way is the database's clock going the other."""
        moved = f"interval '{-by.total_seconds()} seconds'"
        with self.engine.begin() as connection:
            connection.execute(
                text(
                    f"UPDATE pending_acts SET leased_until = leased_until + {moved}, "
                    f"next_attempt_at = next_attempt_at + {moved}, answer_by = answer_by + {moved}"
                )
            )
            connection.execute(text(f"UPDATE watched_acts SET next_look_at = next_look_at + {moved}"))

    # --- promises ------------------------------------------------------------------------------------------

    def rows(self) -> list[Any]:
        statement = "SELECT r.*, d.request_key FROM decision_register r JOIN decisions d USING (decision_id) "
        with self.engine.begin() as connection:
            return list(connection.execute(text(statement + "WHERE r.registry = :uri"), {"uri": self.registry.uri}))

    @invariant()
    def no_act_without_a_decision(self) -> None:
        known = {row.decision_id for row in self.rows()}
        assert {id for ids in self.registry.shown.values() for id in ids} <= known

    @invariant()
    def one_decision_after_the_other_about_a_request(self) -> None:
        """Each but the first replaces the one before it, which lapsed or failed; one at most takes effect."""
        rows = self.rows()
        outcomes = {row.decision_id: row.outcome for row in rows}
        replaced = [row.replaces for row in rows if row.replaces is not None]
        assert len(replaced) == len(set(replaced))
        assert {outcomes[id] for id in replaced} <= {"lapsed", "failed"}
        first = [row.request_key for row in rows if row.replaces is None]
        assert len(first) == len(set(first))
        effects = [row.request_key for row in rows if row.effect in {"moved", "refused"}]
        assert len(effects) == len(set(effects))

    @invariant()
    def at_most_one_outcome_for_a_decision(self) -> None:
        with self.engine.begin() as connection:
            statement = (
                "SELECT count(*) FROM outcomes JOIN decisions USING (decision_id) "
                "WHERE registry = :uri GROUP BY decision_id HAVING count(*) > 1"
            )
            assert not list(connection.execute(text(statement), {"uri": self.registry.uri}))

    @invariant()
    def applied_only_if_it_was_shown(self) -> None:
        for row in self.rows():
            if row.outcome == "applied":
                assert row.decision_id in self.registry.ever_shown

    def teardown(self) -> None:
        """In the end, with nobody in the way, everything that was decided has an outcome and nothing is open."""
        if not hasattr(self, "registry"):
            return
        for _ in range(2):
            self.clock(timedelta(hours=1))
            self.cycle("three:3")
        assert all(row.outcome is not None for row in self.rows())
        assert not self.registry.requests
        self.no_act_without_a_decision()
        self.at_most_one_outcome_for_a_decision()


@pytest.fixture
def engine(postgres: PostgresServer) -> Iterator[Engine]:
    url = postgres.new_database()
    schema.upgrade(url)
    engine = make_engine(url)
    yield engine
    engine.dispose()


def test_no_history_breaks_a_promise(engine: Engine) -> None:
    run_state_machine_as_test(
        type("BoundHistories", (Histories,), {"engine": engine}),
        settings=settings(
            max_examples=400 if LONG else 35,
            stateful_step_count=30,
            deadline=None,
            derandomize=not LONG,
            suppress_health_check=list(HealthCheck),
        ),
    )
    with engine.begin() as connection:
        reached = set(connection.scalars(text("SELECT DISTINCT outcome FROM outcomes")))
        confirmed = connection.scalar(text("SELECT count(*) FROM confirmations"))
    assert reached >= {"applied", "superseded", "lapsed"}, "the histories prove less than they should"
    assert confirmed
