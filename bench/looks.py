"""What a look costs at 10,000 models and 50,000 versions: calls, the server's time, and the daemon's own CPU.

    make bench BENCH_ARGS=looks
    make bench BENCH_ARGS='looks --write'

Half of the models have a version in Production, half an alias @champion. The server's time is the CPU of its process
group, as the operating system counts it.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from bench.app import APP
from bench.sections import Section
from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.demo.server import mlflow_server
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from reconciler.registry.app import AppRegistry
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Limits, Transport

MODELS, EACH = 10_000, 5
POLICY = """\
version: 1
rules:
  - name: accuracy
    targets: [Production, "@champion"]
    require: [{metric: validation_accuracy, min: 0.9}]
"""
_IDLE = 3
_BUDGET = timedelta(seconds=2)
_SECTION = Section(
    "looks",
    "What holds a target",
    f"What a look costs with {MODELS:,} models and {MODELS * EACH:,} versions. Half of the models have a version\n"
    "in Production, half an alias @champion. The server has one worker, on SQLite; `observe.budget` is 2 s, and\n"
    "each cycle begins when the one before ends. Without the app, aliases are read in rounds. Made by\n"
    "`make bench BENCH_ARGS='looks --write'`.",
)


@dataclass(frozen=True, slots=True)
class Cost:
    calls: float
    server: float
    ours: float
    cycles: int = 1

    def row(self, what: str) -> str:
        return f"| {what} | {self.cycles} | {self.calls:g} | {self.server:.2f} s | {self.ours:.2f} s |"


def fill(database: Path) -> None:
    """Rows as MLflow writes them, in one transaction: 50,000 calls would take an hour."""
    with closing(sqlite3.connect(database)) as connection:
        # One a minute: what changed within ten minutes is read in every cycle.
        models = [("default", f"model-{m:05}", 1_700_000_000_000 + 60_000 * m) for m in range(MODELS)]
        connection.executemany(
            "INSERT INTO registered_models (workspace, name, creation_time, last_updated_time) VALUES (?, ?, ?, 0)",
            models,
        )
        connection.executemany(
            "INSERT INTO model_versions (workspace, name, version, creation_time, last_updated_time, current_stage, "
            "source, status) VALUES (?, ?, ?, ?, ?, ?, 's3://bucket/model', 'READY')",
            (
                (workspace, name, v, at + v, at + v, "Production" if v == EACH and m % 2 else "None")
                for m, (workspace, name, at) in enumerate(models)
                for v in range(1, EACH + 1)
            ),
        )
        connection.executemany(
            "INSERT INTO registered_model_aliases (workspace, name, alias, version) VALUES (?, ?, 'champion', 1)",
            ((workspace, name) for m, (workspace, name, _) in enumerate(models) if not m % 2),
        )
        connection.commit()


class Bench:
    def __init__(self, uri: str, place: Path, app: bool) -> None:
        self.transport = Transport(Endpoint(uri), Limits(timeout=120))
        url = f"sqlite:///{place}/audit.db"
        schema.upgrade(url)
        loaded = parse_policy(POLICY, "policy.yaml")
        self.policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
        self.engine = make_engine(url)
        kind = AppRegistry if app else TagsRegistry
        self.registry = kind(uri, "", self.transport, self.transport, _BUDGET)
        log = SqlAuditLog(self.engine, "bench:1", uri)
        self.cycle, self.by_hand = Cycle(self.registry, log), Cycle(self.registry, log, everything_is_due=True)
        self.server = _group(place)

    def _server_cpu(self) -> float:
        return sum(process.cpu_times().user + process.cpu_times().system for process in self.server)

    def cycles(self, many: int) -> Cost:
        return self._cost(self.cycle, many)

    def _cost(self, cycle: Cycle, many: int) -> Cost:
        calls, server, ours = 0, self._server_cpu(), time.process_time()
        for _ in range(many):
            calls += cycle.run(self.policy, Mode.OBSERVE).calls
        passed = self._server_cpu() - server, time.process_time() - ours
        return Cost(calls / many, passed[0] / many, passed[1] / many, many)

    def first_look(self) -> Cost:
        """At everything: a daemon takes as many cycles for it as its budget needs."""
        cost = self._cost(self.by_hand, 1)
        assert self._scalar("SELECT count(*) FROM watched_scopes"), "not everything was looked at"
        return cost

    def history(self) -> int:
        return int(self._scalar("SELECT size FROM log_state") or 0)

    def tenures(self) -> int:
        return int(self._scalar("SELECT count(*) FROM tenures") or 0)

    def rows_changed(self) -> int:
        """Of history and of working state, in one more cycle."""
        tables = ("daemons", "looks", "holders", "unattributed", "open_requests", "running_states", "log_state")
        before = {table: self._contents(table) for table in tables}
        self.cycle.run(self.policy, Mode.OBSERVE)
        return sum(len(self._contents(table) - before[table]) for table in tables)

    def _contents(self, table: str) -> set[tuple[object, ...]]:
        with self.engine.connect() as connection:
            return {tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {table}")}

    def until_a_moved_alias_is_seen(self, database: Path) -> int:
        """Cycles, where the model's page has just been read: it takes a whole round."""
        self._finish_a_round()
        self.cycle.run(self.policy, Mode.OBSERVE)
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("UPDATE registered_model_aliases SET version = 2 WHERE name = 'model-00000'")
            connection.commit()
        for cycles in range(1, 1000):
            self.cycle.run(self.policy, Mode.OBSERVE)
            if self._scalar("SELECT count(*) FROM holders WHERE model = 'model-00000' AND version = '2'"):
                return cycles
        raise RuntimeError("a moved alias was never seen")

    def _finish_a_round(self) -> None:
        before = self._scalar("SELECT aliases_as_of FROM looks")
        while self._scalar("SELECT aliases_as_of FROM looks") == before:
            self.cycle.run(self.policy, Mode.OBSERVE)

    def told_round(self) -> float:
        """How long a round over the aliases takes, as `status` says."""
        return float(self._scalar("SELECT aliases_take_ms FROM looks") or 0) / 1000

    def _scalar(self, query: str) -> Any:
        with self.engine.connect() as connection:
            return connection.exec_driver_sql(query).scalar()


def _group(place: Path) -> list[psutil.Process]:
    """The server and all its workers, whose command lines do not name the place."""
    group: dict[int, psutil.Process] = {}
    for process in psutil.Process().children():
        if str(place) in " ".join(process.cmdline()):
            group |= {one.pid: one for one in (process, *process.children(recursive=True))}
    assert group, "no server was found"
    return list(group.values())


def measure(place: Path, *, app: bool) -> Iterator[str]:
    what = "with the app" if app else "without the app"
    with mlflow_server(place, *(APP if app else ())) as uri:
        fill(place / "mlflow.db")
        bench = Bench(uri, place, app)
        yield bench.first_look().row(f"{what}: first look at everything, in one cycle (`once`)")
        bench.cycles(2)
        before = bench.history()
        yield bench.cycles(_IDLE).row(f"{what}: an idle cycle")
        written = bench.history() - before
        assert written == 0, f"{written} rows of history in idle cycles"
        changed = bench.rows_changed()
        yield f"| {what}: rows that an idle cycle changes (its heartbeat, and how far the look is) | {changed} | | | |"
        seen = bench.until_a_moved_alias_is_seen(place / "mlflow.db")
        yield f"| {what}: until an alias that moved right after its page was read is seen | {seen} | | | |"
        if not app:
            told = f"{bench.told_round():.0f} s"
            yield f"| {what}: duration of a round over the aliases, as `status` says | {told} | | | |"
        yield f"| {what}: tenures on record | {bench.tenures():,} | | | |"


def _table() -> Iterator[str]:
    columns = ("measured", "cycles, or rows", "calls", "CPU of the server", "CPU of the daemon")
    yield from (f"| {' | '.join(columns)} |", "|---|---|---|---|---|")
    for app in (False, True):
        with tempfile.TemporaryDirectory() as place:
            yield from measure(Path(place), app=app)


def main(arguments: Sequence[str]) -> None:
    _SECTION.make(_SECTION.parser(__doc__).parse_args(arguments), _table())
