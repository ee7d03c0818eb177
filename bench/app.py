"""The MLflow app: calls of a cycle, decisions per second against a plain loop, overhead on everything else."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import requests

from bench.memory import POLICY
from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.demo.server import mlflow_server
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from reconciler.registry.app import AppRegistry
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.transport import Limits, Transport

API = "/api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
APP = ("--app-name", "transition-requests")
ROUNDS, REQUESTS, MANY, CALLS = 5, 30, 10_000, 200


class AppBench:
    def __init__(self, uri: str, place: Path, name: str) -> None:
        self.uri = uri
        self.session = requests.Session()
        self.transport = Transport(Endpoint(uri), Limits(timeout=60))
        url = f"sqlite:///{place}/{name}.db"
        schema.upgrade(url)
        loaded = parse_policy(POLICY, "policy.yaml")
        self.policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
        registry = AppRegistry(uri, "", self.transport, self.transport)
        self.cycle = Cycle(registry, SqlAuditLog(make_engine(url), "bench:1", uri))
        self.made = 0

    def call(self, path: str, **body: object) -> dict[str, dict[str, dict[str, str]]]:
        reply = self.session.post(f"{self.uri}{API}/{path}", json=body, timeout=60)
        reply.raise_for_status()
        answer: dict[str, dict[str, dict[str, str]]] = reply.json()
        return answer

    def model(self) -> str:
        """A new model whose first version was measured on a run."""
        self.made += 1
        name = f"bench-{self.made}"
        run = self.call("runs/create", experiment_id="0")["run"]["info"]["run_id"]
        self.call("runs/log-metric", run_id=run, key="validation_accuracy", value=0.95, timestamp=1, step=0)
        self.call("runs/update", run_id=run, status="FINISHED", end_time=2)
        self.call("registered-models/create", name=name)
        self.call("model-versions/create", name=name, source=f"runs:/{run}/model", run_id=run)
        return name

    def ours(self) -> tuple[float, float]:
        """Decisions per second, and calls per decision."""
        for _ in range(REQUESTS):
            self.call("transition-requests/create", name=self.model(), version="1", stage="Production")
        started = time.perf_counter()
        summary = self.cycle.run(self.policy, Mode.ENFORCE)
        seconds = time.perf_counter() - started
        assert summary.outcomes == {"applied": REQUESTS}
        return REQUESTS / seconds, self.transport.calls / REQUESTS

    def plain(self) -> float:
        """Decisions per second of the loop that a user would write, with an unprotected stage and tags."""
        from mlflow import MlflowClient

        client = MlflowClient(self.uri, self.uri)
        models = [self.model() for _ in range(REQUESTS)]
        for model in models:
            self.call("model-versions/set-tag", name=model, version="1", key="request", value="please")
        started = time.perf_counter()
        for model in models:
            found = client.get_model_version(model, "1")
            assert client.get_run(found.run_id).data.metrics["validation_accuracy"] >= 0.9
            client.transition_model_version_stage(model, "1", "Staging")
            client.set_model_version_tag(model, "1", "decision", "approved")
            client.delete_model_version_tag(model, "1", "request")
        return REQUESTS / (time.perf_counter() - started)

    def idle(self) -> tuple[int, float]:
        """Calls and seconds of a cycle that has nothing new to decide."""
        self.cycle.run(self.policy, Mode.OBSERVE)
        started = time.perf_counter()
        self.cycle.run(self.policy, Mode.OBSERVE)
        return self.transport.calls, time.perf_counter() - started


def fill(database: Path, versions: int, key: str) -> None:
    """Writes versions with a tag straight into MLflow's database: over HTTP it would take minutes."""
    with closing(sqlite3.connect(database)) as connection, connection:
        model = f"many-{key.replace('.', '-')}"
        connection.execute(
            "INSERT INTO registered_models (name, creation_time, last_updated_time) VALUES (?, 1, 1)", [model]
        )
        rows = range(1, versions + 1)
        connection.executemany(
            "INSERT INTO model_versions (name, version, creation_time, last_updated_time, current_stage, source, "
            "run_id, status) VALUES (?, ?, 1, 1, 'None', 's3://bucket/model', '', 'READY')",
            [(model, number) for number in rows],
        )
        value = '{"id": "%d", "requester": "ada", "requested_at": "2026-01-01T00:00:00.000Z", "comment": "please"}'
        connection.executemany(
            "INSERT INTO model_version_tags (name, version, key, value) VALUES (?, ?, ?, ?)",
            [(model, number, key, value % number) for number in rows],
        )


def overhead(plain: str, app: str, rounds: int) -> dict[str, list[float]]:
    """For each call the ratios of its median time on the second server to that on the first, pair by pair."""
    session = requests.Session()

    def post(uri: str, path: str, **body: object) -> None:
        session.post(f"{uri}{API}/{path}", json=body, timeout=60).raise_for_status()

    def get(uri: str, path: str, **query: object) -> None:
        session.get(f"{uri}{API}/{path}", params={key: str(value) for key, value in query.items()}).raise_for_status()

    def put(uri: str, path: str, size: int) -> None:
        session.put(f"{uri}{ARTIFACTS}/{path}", data=b"x" * size, timeout=60).raise_for_status()

    for uri in (plain, app):
        post(uri, "registered-models/create", name="pair")
        post(uri, "model-versions/create", name="pair", source="s3://bucket/model")
    where = {"name": "pair", "version": "1"}
    calls: dict[str, Callable[[str], None]] = {
        "model-versions/get": lambda uri: get(uri, "model-versions/get", **where),
        "model-versions/search": lambda uri: get(uri, "model-versions/search", max_results=10),
        "model-versions/set-tag": lambda uri: post(uri, "model-versions/set-tag", **where, key="k", value="v"),
        "transition-stage to Staging": lambda uri: post(
            uri, "model-versions/transition-stage", **where, stage="Staging"
        ),
        "set an alias that is not protected": lambda uri: post(uri, "registered-models/alias", **where, alias="other"),
        "upload of an artifact of 1 kB": lambda uri: put(uri, "0/bench/artifacts/model/small", 1000),
        "upload of an artifact of 1 MB": lambda uri: put(uri, "0/bench/artifacts/model/large", 1_000_000),
    }
    for call in calls.values():
        # Warm up both servers: the first calls load and compile what later calls use.
        _ratio(call, plain, app)
    return {name: sorted(_ratio(call, plain, app) for _ in range(rounds)) for name, call in calls.items()}


def _ratio(call: Callable[[str], None], plain: str, app: str) -> float:
    times: dict[str, list[float]] = {plain: [], app: []}
    for number in range(CALLS):
        # The servers alternate, and so does which of them is first.
        for uri in (plain, app) if number % 2 else (app, plain):
            started = time.perf_counter()
            call(uri)
            times[uri].append(time.perf_counter() - started)
    return statistics.median(times[app]) / statistics.median(times[plain])


def measure(folder: Path) -> list[str]:
    """Rows of the table."""
    with mlflow_server(folder / "app", *APP) as app:
        return _of_one_server(folder, app)


def measure_overhead(folder: Path) -> list[str]:
    """Rows of the table: what the walls cost calls that do not concern them."""
    twins = _pairs(folder / "twins", (), ())
    # Of two identical servers, the one started first is slower: each is first in half of the pairs.
    first = _pairs(folder / "first", APP, ())
    last = {name: [1 / ratio for ratio in ratios] for name, ratios in _pairs(folder / "last", (), APP).items()}
    rows = []
    for name, ratios in first.items():
        every, alike = sorted([*ratios, *last[name]]), statistics.median(twins[name])
        rows.append(
            f"| {name} with the app, ratio to a server without, median of {len(every)} pairs of {CALLS} calls "
            f"(least, most) | {statistics.median(every):.3f} ({every[0]:.3f}, {every[-1]:.3f}); "
            f"two servers without it, by their start: {alike:.3f} |"
        )
    return rows


def _pairs(folder: Path, options: Sequence[str], other: Sequence[str]) -> dict[str, list[float]]:
    """Ratios of the first server to the second."""
    with mlflow_server(folder / "one", *options) as first, mlflow_server(folder / "other", *other) as second:
        return overhead(second, first, ROUNDS)


def _of_one_server(folder: Path, uri: str) -> list[str]:
    bench = AppBench(uri, folder, "app-audit")
    database = folder / "app" / "mlflow.db"
    rounds = [(bench.ours(), bench.plain()) for _ in range(ROUNDS)]
    rate, calls = (statistics.median(values) for values in zip(*(mine for mine, _ in rounds), strict=True))
    ratios = sorted(mine[0] / theirs for mine, theirs in rounds)
    fill(database, 10, "transition_decision.stage.Production")
    few = bench.idle()
    fill(database, MANY, "transition_decision.stage.Staging")
    closed = bench.idle()
    fill(database, MANY, "transition_request.stage.Production")
    opened = bench.idle()
    return [
        f"| with the app: calls of an idle cycle, 10 versions | {few[0]} |",
        f"| the same, {MANY:,} versions with closed requests | {closed[0]} in {closed[1] * 1000:.0f} ms |",
        f"| the same, {MANY:,} more with open requests that were decided already | {opened[0]} in {opened[1]:.1f} s |",
        f"| with the app: calls per decision, {REQUESTS} requests in a cycle | {calls:.2f}, of which 1 is a write |",
        f"| with the app: decisions per second | {rate:.1f} |",
        f"| ratio to a plain MlflowClient loop on the same server, median of {ROUNDS} pairs (least, most) | "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f}) |",
    ]


if __name__ == "__main__":
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        print("\n".join((measure_overhead if "--overhead" in sys.argv else measure)(Path(place))))
