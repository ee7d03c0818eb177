"""What a look costs at 10,000 models and 50,000 versions: calls, the server's time, and the daemon's own CPU.

    python -m bench.looks

Half of the models have a version in Production, half an alias @champion. The server's time is the CPU of its process
group, as the operating system counts it.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil

from bench.app import APP
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
_IDLE = 5


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
        models = [("default", f"model-{m:05}", 1_700_000_000_000 + m) for m in range(MODELS)]
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
        self.registry = kind(uri, "", self.transport, self.transport, timedelta(seconds=2))
        self.cycle = Cycle(self.registry, SqlAuditLog(self.engine, "bench:1", uri))
        self.server = [process for process in psutil.process_iter() if _serves(process, place)]

    def _server_cpu(self) -> float:
        return sum(process.cpu_times().user + process.cpu_times().system for process in self.server)

    def cycles(self, many: int) -> Cost:
        calls, server, ours = 0, self._server_cpu(), time.process_time()
        for _ in range(many):
            calls += self.cycle.run(self.policy, Mode.OBSERVE).calls
        passed = self._server_cpu() - server, time.process_time() - ours
        return Cost(calls / many, passed[0] / many, passed[1] / many, many)

    def first_look(self) -> Cost:
        """As many cycles as it takes until everything was looked at."""
        calls, server, ours, cycles = 0, self._server_cpu(), time.process_time(), 0
        while not self._looked_at_everything():
            calls += self.cycle.run(self.policy, Mode.OBSERVE).calls
            cycles += 1
        return Cost(calls, self._server_cpu() - server, time.process_time() - ours, cycles)

    def _looked_at_everything(self) -> bool:
        with self.engine.connect() as connection:
            return bool(connection.exec_driver_sql("SELECT count(*) FROM watched_scopes").scalar())

    def history(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.exec_driver_sql("SELECT size FROM log_state").scalar() or 0)

    def tenures(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.exec_driver_sql("SELECT count(*) FROM tenures").scalar() or 0)


def _serves(process: psutil.Process, place: Path) -> bool:
    try:
        return str(place) in " ".join(process.cmdline()) and process.pid != os.getpid()
    except psutil.Error:
        return False


def measure(place: Path, *, app: bool) -> list[str]:
    what = "with the app" if app else "without the app"
    with mlflow_server(place, *(APP if app else ())) as uri:
        fill(place / "mlflow.db")
        bench = Bench(uri, place, app)
        first = bench.first_look()
        bench.cycles(2)
        before = bench.history()
        idle = bench.cycles(_IDLE)
        written = bench.history() - before
        assert written == 0, f"{written} rows of history in idle cycles"
        rows = [first.row(f"{what}: first look at everything, all cycles"), idle.row(f"{what}: an idle cycle")]
        rows.append(f"| {what}: tenures on record | | {bench.tenures()} | | |")
    return rows


def main() -> None:
    print("| measured | cycles | calls | CPU of the server | CPU of the daemon |\n|---|---|---|---|---|")
    for app in (False, True):
        with tempfile.TemporaryDirectory() as place:
            print("\n".join(measure(Path(place), app=app)), flush=True)


if __name__ == "__main__":
    main()
