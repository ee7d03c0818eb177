"""What 10,000 requests cost that wait and of which nothing changes: the daemon's own CPU in a cycle.

    python -m bench.waiting [--profile]

On a server with the app, which is a process of its own, so its CPU is not counted.
"""

from __future__ import annotations

import cProfile
import pstats
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from sqlalchemy import event

from bench.app import APP
from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.daemon.collecting import collecting_rarely
from reconciler.demo.server import mlflow_server
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from reconciler.registry.app import AppRegistry
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.transport import Limits, Transport

MODELS, EACH = 200, 50
WAITING = MODELS * EACH
POLICY = """\
version: 1
rules:
  - name: accuracy
    targets: [Production]
    require: [{metric: validation_accuracy, min: 0.9, on_missing: abstain}]
"""
_REQUEST = '{"id": "%s", "requester": "ada", "requested_at": "2026-01-01T00:00:00.000Z", "comment": "please"}'
_WRITES = ("INSERT", "UPDATE", "DELETE")


class Waiting:
    """A daemon, and requests whose metric was never logged."""

    def __init__(self, uri: str, place: Path) -> None:
        self.transport = Transport(Endpoint(uri), Limits(timeout=120))
        url = f"sqlite:///{place}/waiting.db"
        schema.upgrade(url)
        loaded = parse_policy(POLICY, "policy.yaml")
        self.policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
        engine = make_engine(url)
        registry = AppRegistry(uri, "", self.transport, self.transport)
        self.cycle = Cycle(registry, SqlAuditLog(engine, "bench:1", uri))
        self.written: list[str] = []
        event.listen(engine, "before_cursor_execute", self._note)

    def _note(self, connection: object, cursor: object, statement: str, parameters: object, *rest: object) -> None:
        if statement.startswith(_WRITES):
            many = len(parameters) if isinstance(parameters, list) else 1
            self.written += [statement] * many

    def run(self) -> float:
        """One cycle; its CPU in seconds."""
        self.written.clear()
        began = time.process_time()
        summary = self.cycle.run(self.policy, Mode.ENFORCE)
        spent = time.process_time() - began
        assert summary.abstentions.total() == summary.open == WAITING, summary.sentence
        return spent


def fill(database: Path) -> None:
    """Writes runs, versions and requests straight into MLflow's database: over HTTP it would take minutes."""
    places = [(f"waits-{model}", version) for model in range(MODELS) for version in range(1, EACH + 1)]
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executemany(
            "INSERT INTO registered_models (name, creation_time, last_updated_time) VALUES (?, 1, 1)",
            [(f"waits-{model}",) for model in range(MODELS)],
        )
        connection.executemany(
            "INSERT INTO runs (run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage, "
            "artifact_uri, experiment_id) VALUES (?, 'run', 'LOCAL', 'ada', 'FINISHED', 1, 2, 'active', '', 0)",
            [(_run(model, version),) for model, version in places],
        )
        connection.executemany(
            "INSERT INTO model_versions (name, version, creation_time, last_updated_time, current_stage, source, "
            "run_id, status) VALUES (?, ?, 1, 1, 'None', 's3://bucket/model', ?, 'READY')",
            [(model, version, _run(model, version)) for model, version in places],
        )
        connection.executemany(
            "INSERT INTO model_version_tags (name, version, key, value) VALUES (?, ?, ?, ?)",
            [
                (model, version, "transition_request.stage.Production", _REQUEST % f"{model}-{version}")
                for model, version in places
            ],
        )


def _run(model: str, version: int) -> str:
    return f"{model}-{version}".encode().hex().rjust(32, "0")


def measure(folder: Path, profile: bool = False) -> list[str]:
    """Rows of the table."""
    with mlflow_server(folder / "app", *APP) as uri, collecting_rarely():
        fill(folder / "app" / "mlflow.db")
        waiting = Waiting(uri, folder)
        first = waiting.run()
        spent = sorted(waiting.run() for _ in range(3))
        calls, written = waiting.transport.calls, len(waiting.written)
        if profile:
            with cProfile.Profile() as profiler:
                waiting.run()
            pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
    return [
        f"| CPU of a cycle in which {WAITING:,} requests still wait, median of 3 (least, most) | "
        f"{spent[1]:.2f} s ({spent[0]:.2f}, {spent[-1]:.2f}) |",
        f"| its calls, and its statements that write or look for rows to write | {calls}, {written} |",
        f"| CPU of the first cycle, which records them all | {first:.2f} s |",
    ]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        print("\n".join(measure(Path(place), "--profile" in sys.argv)))
