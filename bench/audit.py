"""What a cycle, a start and the commands cost on an audit database of 10,000, 100,000 and 1,000,000 decisions.

    make bench BENCH_ARGS=audit
    make bench BENCH_ARGS='audit --write --decisions 100000'

Each decision rests on 8 kB of evidence and is written as the daemon writes it, the log included. The registry is a
double in memory, so that what is measured is the database: SQLite in a file, PostgreSQL on the same machine.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, event

from bench.costs import cost, statements
from bench.databases import databases, of_databases
from bench.evidence import POLICY, REGISTRY, judged, size_of
from bench.sections import Section
from reconciler.audit import schema
from reconciler.audit.database import SNAPSHOT, Access, make_engine, opened
from reconciler.audit.reader import AuditReader
from reconciler.audit.running.pauses import PAUSE, RESUME, note_pause
from reconciler.audit.running.picture import picture_of
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.domain.decision import Judged, Mode, Outcome, OutcomeKind
from reconciler.policy.file import parse_policy
from reconciler.ports import Ending, Pending
from tests.fake_registry import FakeRegistry

SIZES = (10_000, 100_000, 1_000_000)
_TEMPLATES, _TOGETHER, _DECIDED = 500, 200, 50
_APPLIED = Outcome(OutcomeKind.APPLIED, "the registry shows it")
_SECTION = Section(
    "audit",
    "An audit database that grows",
    "Decisions with 8 kB of evidence each, in the log like all others. The registry is simulated in memory, so\n"
    "only the database is measured: on SQLite in steps of its virtual machine, on PostgreSQL in blocks that were\n"
    "touched. Made by `make bench BENCH_ARGS='audit --write'`.",
)


class Figure(NamedTuple):
    name: str
    value: str


class Grown:
    """An audit database that grows by decisions that were applied, and a daemon on it."""

    def __init__(self, url: str) -> None:
        schema.upgrade(url)
        self.url, self.engine = url, make_engine(url)
        self.log = SqlAuditLog(self.engine, "bench:1", REGISTRY)
        loaded = parse_policy(POLICY, "policy.yaml")
        self.log.keep_policy(loaded.digest, loaded.text)
        self.in_force = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
        self.registry = FakeRegistry(uri=REGISTRY)
        self.decisions = 0
        chance = random.Random(77)
        self._templates = [judged(number, chance) for number in range(_TEMPLATES)]

    def grow_to(self, many: int) -> float:
        """Seconds for each decision that was added."""
        began, before = time.perf_counter(), self.decisions
        while self.decisions < many:
            batch = [self._next() for _ in range(min(_TOGETHER, many - self.decisions))]
            claimed = [Pending(one.decision, 0, one.fence or 0) for one in self.log.record(*batch)]
            assert len(self.log.conclude(*(Ending(one, _APPLIED) for one in claimed))) == len(batch)
        self._analyze()
        return (time.perf_counter() - began) / (self.decisions - before)

    def _next(self) -> Judged:
        template = self._templates[self.decisions % _TEMPLATES]
        self.decisions += 1
        id = str(uuid.uuid4())
        # A thousand models, with as many versions as it takes.
        model, version = f"model-{self.decisions % 1000}", str(1 + self.decisions // 1000)
        request = replace(template.request, model=model, version=version, id=id, fingerprint=id)
        return replace(template, request=request)

    def _analyze(self) -> None:
        """As PostgreSQL's autovacuum does after a while."""
        if self.engine.dialect.name == "postgresql":
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM ANALYZE")

    # --- what is measured ------------------------------------------------------------------------------------

    def measure(self) -> list[Figure]:
        cycle = Cycle(self.registry, self.log)
        started, longest_at_start = self._longest_transaction(lambda: self._run(cycle))
        idle = cost(self.engine, lambda: self._run(cycle))
        began = time.process_time()
        self._run(cycle)
        cpu = time.process_time() - began
        with opened(self.url, Access.READ) as reading:
            seen = cost(reading, lambda: picture_of(AuditReader(reading)))
        sent, longest = self._longest_transaction(lambda: self._decide(cycle))
        return [
            Figure(f"idle cycle: {self._unit}", f"{idle:,}"),
            Figure("idle cycle: CPU of the daemon", f"{cpu * 1000:.1f} ms"),
            Figure(f"`status`: {self._unit}", f"{seen:,}"),
            Figure(f"statements per decision, {_DECIDED} decisions in a cycle", f"{sent / _DECIDED:.1f}"),
            Figure("longest writing transaction of that cycle", f"{longest * 1000:.0f} ms"),
            Figure("first cycle after a start, which looks for lost work", f"{self.took:.2f} s"),
            Figure("its longest writing transaction", f"{longest_at_start * 1000:.0f} ms"),
            Figure("`pause` during that cycle", f"{self._pause_at_start() * 1000:.0f} ms"),
            Figure("statements of that cycle", f"{started}"),
            Figure("disk space per decision", f"{size_of(self.engine) / self.decisions / 1000:.1f} kB"),
        ]

    @property
    def _unit(self) -> str:
        return "steps" if self.engine.dialect.name == "sqlite" else "blocks"

    def _run(self, cycle: Cycle) -> None:
        summary = cycle.run(self.in_force, Mode.ENFORCE)
        assert summary.unavailable is None, summary.sentence

    def _decide(self, cycle: Cycle) -> None:
        for number in range(_DECIDED):
            self.registry.file(f"asked-{self.decisions}-{number}", "1")
        self._run(cycle)
        self.decisions += _DECIDED

    def _longest_transaction(self, act: Callable[[], None]) -> tuple[int, float]:
        """How many statements the act sends, and the seconds of its longest transaction that may write."""
        with writing(self.engine) as took:
            began = time.perf_counter()
            sent = len(statements(self.engine, act))
            self.took = time.perf_counter() - began
        return sent, max(took, default=0.0)

    def _pause_at_start(self) -> float:
        """Seconds that `pause` takes, from a process of its own, while a daemon starts."""
        cycle = Cycle(self.registry, SqlAuditLog(make_engine(self.url), "bench:2", REGISTRY))
        starting = threading.Thread(target=self._run, args=[cycle])
        other = make_engine(self.url)
        starting.start()
        began = time.perf_counter()
        assert note_pause(other, PAUSE, "a measurement", "bench")
        took = time.perf_counter() - began
        starting.join()
        note_pause(other, RESUME, "", "bench")
        other.dispose()
        return took


def grow(url: str, decisions: int) -> None:
    """Makes a database with so many decisions."""
    grown = Grown(url)
    grown.grow_to(decisions)
    grown.engine.dispose()


@contextmanager
def writing(engine: Engine) -> Iterator[list[float]]:
    """The seconds of each transaction of the block that is not read-only, until it is committed."""
    took: list[float] = []
    began: dict[int, float] = {}

    def begin(connection: Connection) -> None:
        if not connection.get_execution_options().get(SNAPSHOT):
            began[id(connection.connection.dbapi_connection)] = time.perf_counter()

    def returned(connection: Any, record: Any) -> None:
        # A commit is told of before it happens; right after it the connection goes back to the pool.
        if id(connection) in began:
            took.append(time.perf_counter() - began.pop(id(connection)))

    for name, hear in (("begin", begin), ("checkin", returned)):
        event.listen(engine, name, hear)
    yield took
    for name, hear in (("begin", begin), ("checkin", returned)):
        event.remove(engine, name, hear)


def measure(url: str, most: int) -> Iterator[tuple[int, list[Figure]]]:
    grown = Grown(url)
    for size in SIZES:
        if size <= most:
            each = grown.grow_to(size)
            yield size, [*grown.measure(), Figure("time to write a decision, 200 in a batch", f"{each * 1000:.2f} ms")]
    grown.engine.dispose()


def table(kind: str, measured: Sequence[tuple[int, Sequence[Figure]]]) -> list[str]:
    sizes = " | ".join(f"{size:,}" for size, _ in measured)
    rows = zip(*(figures for _, figures in measured), strict=True)
    return [
        f"| {kind}, decisions | {sizes} |",
        f"|---|{'---|' * len(measured)}",
        *(f"| {row[0].name} | {' | '.join(figure.value for figure in row)} |" for row in rows),
        "",
    ]


def main(arguments: Sequence[str]) -> None:
    asked = of_databases(_SECTION.parser(__doc__), SIZES[-1]).parse_args(arguments)
    _SECTION.make(asked, _tables(asked))


def _tables(asked: Any) -> Iterator[str]:
    for kind, url in databases(asked):
        yield from table(kind, list(measure(url, asked.decisions)))
