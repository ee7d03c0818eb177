"""Every fault at every place, one after the other, until a cycle meets it no more; then what must hold.

`explore` is given the cycle and the transport to try, so that broken ones (mutants) can be tried too.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from reconciler.audit import schema
from reconciler.audit.database import Access, make_engine
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from reconciler.ports import AuditUnavailable
from reconciler.registry.budget import Budget
from reconciler.registry.databricks import DatabricksRegistry, SweepTiming
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.transport import Limits, Timing, Transport
from tests.builders import accuracy_policy
from tests.databricks_double import WIRE_FAULTS, Asked, Workspace

_DECISION_ID = re.compile(r"\(decision ([0-9a-f-]{36}),")
_MOST = 130
POLICY = accuracy_policy()


@dataclass
class Attempt:
    """What is tried: `cycle` and `transport` may be broken on purpose."""

    cycle: type[Cycle] = Cycle
    transport: type[Transport] = Transport


class Bench:
    """A workspace with a good and a bad version that are asked for, and cycles over it."""

    def __init__(self, held: Workspace, template: Path, place: Path, attempt: Attempt) -> None:
        self.held = held
        _reset(held)
        shutil.copy(template, place / "audit.db")
        for leftover in place.glob("audit.db-*"):
            leftover.unlink()
        self.engine = make_engine(f"sqlite:///{place}/audit.db")
        # Of its own: whoever looks from outside meets no fault.
        self._auditor = make_engine(f"sqlite:///{place}/audit.db", Access.READ)
        loaded = parse_policy(POLICY, "policy.yaml")
        self._policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
        # Time passes only where a fault lets a call's time run out, whatever else the machine does.
        now = [1000.0]
        held.run_out = lambda: now.append(now[-1] + 60)
        transport = attempt.transport(
            Endpoint(held.uri), Limits(timeout=60, retries=0), timing=Timing(clock=lambda: now[-1])
        )
        budget = Budget(10_000)
        registry = DatabricksRegistry(
            held.uri, [transport], transport, budget,
            SweepTiming(timedelta(minutes=15), sweep_for=timedelta(minutes=2), clock=lambda: now[-1]),
        )  # fmt: skip
        audit = SqlAuditLog(self.engine, "test:1", held.uri)
        self._cycle = attempt.cycle(registry, audit, everything_is_due=True)
        self.asked = [self.ask("good", "0.95"), self.ask("bad", "0.5")]
        self.withdrawn: list[Asked] = []

    def ask(self, model: str, accuracy: str) -> Asked:
        self.held.version(model, accuracy)
        return self.held.ask(model, comment="please")

    def cycle(self) -> None:
        """The database may be away; then nothing was done that is not recorded."""
        before = len(self.held.heard)
        with suppress(AuditUnavailable):
            self._cycle.run(self._policy, Mode.ENFORCE)
        told = Counter(decision_of(arguments) for _, arguments in self.held.heard[before:])
        assert all(count == 1 for count in told.values()), f"an act was sent twice in one cycle: {told}"
        self._no_act_without_a_record()

    def _no_act_without_a_record(self) -> None:
        known = {row["decision_id"] for row in self.rows()}
        for kind, arguments in self.held.heard:
            assert decision_of(arguments) in known, f"{kind} without a record"

    def rows(self) -> list[dict[str, Any]]:
        return AuditReader(self._auditor).decisions(DecisionFilter(), None)

    def verify(self, in_the_window: bool = False) -> None:
        """Promises 1 to 3. `in_the_window`: a person stepped in between re-read and act, which is told in the docs."""
        rows = {row["decision_id"]: row for row in self.rows()}
        asked = Counter((row["model"], row["requester"], str(row["requested_at"])) for row in rows.values())
        assert all(count == 1 for count in asked.values()), "two decisions for one request"
        done = {decision_of(arguments): kind for kind, arguments in self.held.acts}
        for id, row in rows.items():
            assert row["outcome"] is not None, "a decision stays open"
            expected = "APPROVED_REQUEST" if row["verdict"] == "approve" else "REJECTED_REQUEST"
            if row["outcome"] == "applied":
                assert done.get(id) == expected, "called applied, and the registry knows nothing of it"
        assert not self.held.requests, "a request stays open"
        for request, comment in self.held.closed if not in_the_window else []:
            if (id := _named(comment)) is not None:
                assert rows[id]["requested_at"] == _moment(request.at), "an act on another request than was judged"

    def close(self) -> None:
        self.engine.dispose()
        self._auditor.dispose()


def decision_of(arguments: dict[str, Any]) -> str | None:
    return _named(arguments.get("comment", ""))


def _named(comment: str) -> str | None:
    found = _DECISION_ID.search(comment)
    return found.group(1) if found else None


def _moment(millis: int) -> str:
    from reconciler.domain.times import from_millis, iso

    moment = from_millis(millis)
    assert moment is not None
    return iso(moment)


def _reset(held: Workspace) -> None:
    for kept in (
        held.models,
        held.runs,
        held.requests,
        held.acts,
        held.heard,
        held.closed,
        held.calls,
        held.lagging,
        held.looked,
    ):
        kept.clear()
    held.wire = held.before = held.after = lambda method, path: None  # type: ignore[assignment]


def explore(held: Workspace, place: Path, attempt: Attempt, every: int = 1) -> int:
    """Tries every step, or each so many; returns how many cases there were.

    Raises:
        AssertionError: a promise is broken.
    """
    template = place / "template.db"
    schema.upgrade(f"sqlite:///{template}")
    plans = [*_network_plans(), _database_faults, *_people_plans()]
    return sum(_until_it_is_met_no_more(held, template, place, attempt, plan, every) for plan in plans)


Plan = Callable[[Bench, int], Any]


def _until_it_is_met_no_more(
    held: Workspace, template: Path, place: Path, attempt: Attempt, plan: Plan, every: int
) -> int:
    """k = 1, 2, 3 …, or 1, 4, 7 …"""
    for tried, k in enumerate(range(1, _MOST, every)):
        bench = Bench(held, template, place, attempt)
        with plan(bench, k) as met:
            bench.cycle()
        for _ in range(3):
            bench.cycle()
        bench.verify(in_the_window=met.in_the_window)
        bench.close()
        if not met.times:
            return tried
    raise AssertionError(f"a cycle has more than {_MOST} steps")


class Met:
    def __init__(self) -> None:
        self.seen = self.times = 0
        self.in_the_window = False

    def now(self, k: int) -> bool:
        self.seen += 1
        self.times += self.seen == k
        return self.seen == k


def _network_plans() -> Iterator[Plan]:
    for kind in WIRE_FAULTS:

        @contextmanager
        def plan(bench: Bench, k: int, kind: str = kind) -> Iterator[Met]:
            met = Met()
            bench.held.wire = lambda method, path: kind if met.now(k) else None
            yield met
            bench.held.wire = lambda method, path: None

        yield plan


@contextmanager
def _database_faults(bench: Bench, k: int) -> Iterator[Met]:
    """The k-th statement fails, as when the database goes away."""
    met = Met()

    def fail(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if met.now(k):
            raise OperationalError(statement, {}, Exception("server closed the connection unexpectedly"))

    with _listening(bench.engine, fail):
        yield met


@contextmanager
def _listening(engine: Engine, fail: Callable[..., None]) -> Iterator[None]:
    event.listen(engine, "before_cursor_execute", fail)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", fail)


def _people_plans() -> Iterator[Plan]:
    """Before the k-th call somebody withdraws, asks again, approves, or deletes the version."""
    for step in (_withdraw, _ask_again, _approve, _delete):

        @contextmanager
        def plan(bench: Bench, k: int, step: Callable[[Bench], None] = step) -> Iterator[Met]:
            met = Met()

            def before(method: str, path: str) -> None:
                if met.now(k):
                    # Looked at by the sweep, and once more before the act.
                    met.in_the_window = bench.held.looked["good"] >= 2
                    step(bench)

            bench.held.before = before
            yield met
            bench.held.before = lambda method, path: None

        yield plan


def _withdraw(bench: Bench) -> None:
    bench.held.requests = [one for one in bench.held.requests if one.model != "good"]


def _ask_again(bench: Bench) -> None:
    _withdraw(bench)
    bench.held.ask("good", comment="once more")


def _approve(bench: Bench) -> None:
    body = {"name": "bad", "version": "1", "stage": "Production", "archive_existing_versions": False}
    matching = [one for one in bench.held.requests if one.model == "bad"]
    bench.held.requests = [one for one in bench.held.requests if one not in matching]
    if matching:
        bench.held.models["bad"]["1"].stage = body["stage"]  # type: ignore[assignment]


def _delete(bench: Bench) -> None:
    bench.held.models["good"].pop("1", None)
    _withdraw(bench)
