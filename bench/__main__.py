"""Calls, decisions per second against a plain MlflowClient loop, and memory of the daemon.

`make bench` prints the figures; `make bench BENCH_ARGS=--write` also writes docs/performance.md. `BENCH_ARGS=audit`
measures an audit database that grows (`bench/audit.py`), `BENCH_ARGS=large` many requests and versions,
`BENCH_ARGS=proofs` what it costs to verify the record, `BENCH_ARGS=reperform` to judge decisions again,
`BENCH_ARGS=reports` what reports cost, `BENCH_ARGS=html` what their pages cost, and `BENCH_ARGS=looks` what it costs to
see what holds a target.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import requests

from bench import app, audit, html, large, looks, memory, proofs, reperforming, reports, startup
from bench.pages import replace_top
from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.demo.server import mlflow_server
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Transport

API = "/api/2.0/mlflow"
REQUEST = "transition_request.stage.Production"
DECISION = "transition_decision.stage.Production"
OVERHEAD = (
    "How much slower the walls of the MLflow app make the calls that they let pass.",
    "`python -m bench.app --overhead`",
    "measures this alone. The aim is a ratio of at most 1.05. For an upload, the app asks the database once",
    "whether the file belongs to a version that holds a protected target.",
)
ROUNDS, REQUESTS = 5, 30


class Bench:
    def __init__(self, uri: str, place: Path) -> None:
        self.uri, self.place = uri, place
        self.url = f"sqlite:///{place}/audit.db"
        schema.upgrade(self.url)
        self.transport = Transport(Endpoint(uri))
        loaded = parse_policy(memory.POLICY, "policy.yaml")
        self.policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
        self.cycle = Cycle(
            TagsRegistry(uri, "", self.transport, self.transport), SqlAuditLog(make_engine(self.url), "bench:1", uri)
        )
        self.session = requests.Session()
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
        self.call("model-versions/set-tag", name=name, version="1", key=REQUEST, value="please")
        return name


def idle_calls(bench: Bench, versions: int) -> int:
    name = f"many-{versions}"
    bench.call("registered-models/create", name=name)
    for _ in range(versions):
        bench.call("model-versions/create", name=name, source="s3://bucket/model")
    bench.cycle.run(bench.policy, Mode.ENFORCE)
    return bench.transport.calls


def ours(bench: Bench) -> tuple[float, float]:
    """Decisions per second, and calls per decision."""
    for _ in range(REQUESTS):
        bench.model()
    started = time.perf_counter()
    summary = bench.cycle.run(bench.policy, Mode.ENFORCE)
    seconds = time.perf_counter() - started
    assert summary.outcomes == {"applied": REQUESTS}
    return REQUESTS / seconds, bench.transport.calls / REQUESTS


def plain(bench: Bench) -> float:
    """Decisions per second of the loop that a user would write."""
    from mlflow import MlflowClient

    client = MlflowClient(bench.uri, bench.uri)
    models = [bench.model() for _ in range(REQUESTS)]
    started = time.perf_counter()
    for model in models:
        found = client.get_model_version(model, "1")
        run = client.get_run(found.run_id)
        assert run.data.metrics["validation_accuracy"] >= 0.9
        client.transition_model_version_stage(model, "1", "Production")
        client.set_model_version_tag(model, "1", DECISION, "approved")
        client.delete_model_version_tag(model, "1", REQUEST)
    return REQUESTS / (time.perf_counter() - started)


def measure() -> tuple[list[str], list[str]]:
    """Rows of two tables: how the product performs, and what the app's walls cost other calls."""
    with tempfile.TemporaryDirectory() as folder:
        return _of_tags(Path(folder)) + app.measure(Path(folder)), app.measure_overhead(Path(folder) / "pairs")


def _of_tags(folder: Path) -> list[str]:
    with mlflow_server(folder / "mlflow") as uri:
        bench = Bench(uri, folder)
        idle = [idle_calls(bench, versions) for versions in (10, 1000)]
        rounds = [(ours(bench), plain(bench)) for _ in range(ROUNDS)]
        rate, calls = (statistics.median(values) for values in zip(*(mine for mine, _ in rounds), strict=True))
        other = statistics.median(theirs for _, theirs in rounds)
        ratios = sorted(mine[0] / theirs for mine, theirs in rounds)
        resident = memory.measure(uri)
        policy = folder / "policy.yaml"
        policy.write_text(memory.POLICY)
        started = startup.measure(memory.configured(bench.uri, bench.url, policy))
        decided = len(AuditReader(make_engine(bench.url)).decisions(DecisionFilter()))
    return [
        f"| calls of an idle cycle, one governed target, 10 versions | {idle[0]} |",
        f"| the same, 1,000 versions | {idle[1]} |",
        f"| calls per decision (approve), {REQUESTS} requests in a cycle | {calls:.2f}, of which 3 are writes |",
        f"| decisions per second | {rate:.1f} |",
        f"| the same by a plain MlflowClient loop | {other:.1f} |",
        f"| ratio, median of {ROUNDS} pairs (least, most) | "
        f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f}) |",
        *resident,
        *started,
        startup.measure_policy(),
        f"| decisions recorded while this was measured | {decided} |",
    ]


def machine() -> str:
    names = ", ".join(f"{name} {version(name)}" for name in ("mlflow", "sqlalchemy", "requests"))
    hardware = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    return f"{hardware}, Python {platform.python_version()}, {names}"


def page(table: list[str], overhead: list[str]) -> str:
    return "\n".join(
        [
            "# Performance",
            "",
            "One `mlflow server` (one uvicorn worker, SQLite) and the product ran on the same machine, over loopback:",
            f"{machine()}.",
            "Read the ratios. For each request the plain loop gets the version and the run, transitions the version,",
            "sets a tag and deletes a tag; it records nothing. *With the app* means on a server that has the app;",
            "there the pairs alternate between two servers, call by call. Made by `make bench BENCH_ARGS=--write`.",
            "",
            "| measured | figure |",
            "|---|---|",
            *table,
            "",
            *OVERHEAD,
            "",
            "| measured | figure |",
            "|---|---|",
            *overhead,
            "",
        ]
    )


def main() -> None:
    others = {"audit": audit.main, "large": large.main, "proofs": proofs.main, "reperform": reperforming.main}
    others |= {"reports": reports.main, "html": html.main, "looks": looks.main}
    if sys.argv[1:] and sys.argv[1] in others:
        others[sys.argv[1]](sys.argv[2:])
        return
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--write", action="store_true", help="also write docs/performance.md")
    arguments = parser.parse_args()
    table, overhead = measure()
    print("\n".join([*table, *overhead]))
    if arguments.write:
        replace_top(Path("docs/performance.md"), page(table, overhead))


if __name__ == "__main__":
    main()
