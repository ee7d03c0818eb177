"""What a run logged of a metric over its steps, on real servers: as MLflow's own client wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from reconciler.audit.reader import AuditReader
from reconciler.registry import histories
from tests.acceptance.conftest import Server, served
from tests.contract.conftest import Daemon, OnMlflow

POLICY = """\
version: 1
rules:
  - name: trained
    targets: [Production]
    require: [{{metric: loss, {check}}}]
"""
BEST, AT_TWO, LAST = "max: 0.3, step: best", "max: 0.3, step: 2", "max: 0.3"


@pytest.fixture(params=["tags", "app"])
def world(request: pytest.FixtureRequest) -> Iterator[OnMlflow]:
    protocol, uri = ("tags", "mlflow_uri") if request.param == "tags" else ("transition-requests", "app_uri")
    for server in served(request.getfixturevalue(uri), protocol):
        yield OnMlflow(server)


def log(server: Server, run: str, values: list[float], key: str = "loss", first: int = 0) -> None:
    client = MlflowClient(server.uri)
    for start in range(0, len(values), 1000):
        part = values[start : start + 1000]
        client.log_batch(run, [Metric(key, value, 5, first + start + at) for at, value in enumerate(part)])


def asked(world: OnMlflow, model: str, values: list[float]) -> str:
    run = world.server.version(model, metric=0.9)
    log(world.server, run, values)
    world.ask(model)
    return run


def cycle(world: OnMlflow, place: Path, check: str) -> tuple[dict[str, Any], list[str]]:
    """The check as it was recorded, and the calls for histories."""
    place.mkdir(exist_ok=True)
    daemon = Daemon(world.registry, place, POLICY.format(check=check))
    before = len(world.transport.__dict__.get("sent", []))
    daemon.cycle()
    sent = [path for path in world.transport.__dict__["sent"][before:] if path.endswith("get-history")]
    [row] = daemon.rows()
    whole = AuditReader(daemon.engine).decision(row["decision_id"])
    daemon.engine.dispose()
    return {"verdict": row["verdict"], **whole["checks"][0], "evidence": whole["evidence"]}, sent


@pytest.mark.parametrize(
    ("check", "verdict", "code", "source", "calls"),
    [(BEST, "approve", "ok", "step 2", 1), (AT_TWO, "approve", "ok", "step 2", 1),
     ("max: 0.3, step: 1", "reject", "above_max", "step 1", 1), ("max: 0.3, step: 9", "reject", "step_missing", "", 1),
     (LAST, "reject", "above_max", "step 3", 0)],
)  # fmt: skip
def test_a_step_of_a_runs_metric_is_judged_with_one_more_call_where_a_policy_asks(
    world: OnMlflow, tmp_path: Path, model: str, check: str, verdict: str, code: str, source: str, calls: int
) -> None:
    run = asked(world, model, [0.9, 0.5, 0.2, 0.4])
    found, sent = cycle(world, tmp_path, check)
    assert (found["verdict"], found["code"], len(sent)) == (verdict, code, calls)
    assert found["source"] == f"run {run} {source}".strip()
    assert ("history" in found["evidence"]) == (calls > 0)


def test_what_mlflow_makes_of_nan_and_infinity_is_nobodys_best(world: OnMlflow, tmp_path: Path, model: str) -> None:
    asked(world, model, [float("nan"), float("-inf"), 0.25, float("inf")])
    found, _ = cycle(world, tmp_path, BEST)
    assert (found["code"], found["observed"]) == ("ok", "0.25")


def test_a_history_of_several_pages_is_read_to_its_end(
    world: OnMlflow, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "_PAGE", 10)
    asked(world, model, [0.9] * 24 + [0.1])
    found, sent = cycle(world, tmp_path, BEST)
    assert (found["verdict"], len(sent)) == ("approve", 3)
    assert found["evidence"]["history"]["metrics"]["loss"]["points"] == 25


def test_versions_of_one_run_share_a_reading(world: OnMlflow, tmp_path: Path, model: str) -> None:
    run = asked(world, model, [0.2])
    for suffix in ("a", "b"):
        world.server.call("POST", "registered-models/create", json={"name": model + suffix})
        body = {"name": model + suffix, "source": f"runs:/{run}/model", "run_id": run}
        world.server.call("POST", "model-versions/create", json=body)
        world.ask(model + suffix)
    daemon = Daemon(world.registry, tmp_path, POLICY.format(check=BEST))
    daemon.cycle()
    assert daemon.decisions() == [("approve", "applied")] * 3
    assert len([path for path in world.transport.__dict__["sent"] if path.endswith("get-history")]) == 1
    daemon.engine.dispose()


def test_a_history_that_is_too_long_or_not_answered_is_an_abstention(
    world: OnMlflow, tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(world, model, [0.2] * 30)
    monkeypatch.setattr(histories, "MOST_POINTS", 29)
    daemon = Daemon(world.registry, tmp_path, POLICY.format(check=BEST))
    daemon.cycle()
    monkeypatch.undo()
    assert daemon.decisions() == []
    world.transport.fail_before = "get-history"
    daemon.cycle()
    assert daemon.decisions() == []
    daemon.cycle()
    assert daemon.decisions() == [("approve", "applied")]
    daemon.engine.dispose()
