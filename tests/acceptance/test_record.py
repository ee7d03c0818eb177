"""The record of a decision says what MLflow's own client shows, on real servers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import mlflow
import pytest
from mlflow.entities import Metric
from rich.cells import cell_len

from tests.acceptance.conftest import REQUEST, Product, Server
from tests.acceptance.wide import wide_version

Name = Callable[[str], str]
pytestmark = pytest.mark.either_protocol


def recorded(product: Product, *arguments: str) -> dict[str, Any]:
    [row] = product.decisions(*arguments)
    whole: dict[str, Any] = json.loads(product.ok("audit", "show", row["decision_id"], "--format", "json"))
    return whole


def texts(shown: dict[str, Any]) -> dict[str, str]:
    """Tags or parameters as far as they are kept."""
    return {name: text if isinstance(text, str) else text["head"] for name, text in shown.items()}


def test_what_mlflows_client_shows_of_a_run_is_in_the_record(server: Server, product: Product, name: Name) -> None:
    run_id = wide_version(server, name("fraud"))
    server.ask(name("fraud"))
    product.ok("once")
    run = mlflow.MlflowClient(server.uri, server.uri).get_run(run_id)
    told = recorded(product)["evidence"]["run"]
    assert told["metrics"].keys() == run.data.metrics.keys()
    for key, value in run.data.metrics.items():
        shown = float(told["metrics"][key]["text"])
        assert shown == value or (math.isnan(shown) and math.isnan(value))
    assert texts(told["params"]) == run.data.params
    assert (told["user"], told["git_commit"], told["source_name"]) == tuple(
        run.data.tags[f"mlflow.{tag}"] for tag in ("user", "source.git.commit", "source.name")
    )
    assert told["experiment_id"] == run.info.experiment_id
    assert [(one["name"], one["digest"], one["context"]) for one in told["datasets"]] == [
        (one.dataset.name, one.dataset.digest, one.tags[0].value) for one in run.inputs.dataset_inputs
    ]
    assert told["left_out"] == {}


def test_what_mlflows_client_shows_of_a_version_is_in_the_record(server: Server, product: Product, name: Name) -> None:
    wide_version(server, name("fraud"))
    server.ask(name("fraud"))
    client = mlflow.MlflowClient(server.uri, server.uri)
    shown = client.get_model_version(name("fraud"), "1")
    product.ok("once")
    told = recorded(product)["evidence"]["version"]
    assert texts(told["tags"]) == {key: value[:4096] for key, value in shown.tags.items()}
    assert told["tags"]["long"]["length"] == 4500
    assert (REQUEST in told["tags"]) == (server.protocol == "tags" or REQUEST in shown.tags)
    assert told["description"]["head"] == shown.description
    assert told["creation_timestamp"] == shown.creation_timestamp


def test_what_mlflows_client_shows_of_a_logged_model_is_in_the_record(
    server: Server, product: Product, name: Name
) -> None:
    if not server.has_logged_models:
        pytest.skip(f"MLflow {server.release} has no logged models")
    wide_version(server, name("fraud"))
    server.ask(name("fraud"))
    product.ok("once")
    told = recorded(product)["evidence"]["logged_model"]
    model = mlflow.MlflowClient(server.uri, server.uri).get_logged_model(told["model_id"])
    readings = [(name, one) for name, many in told["metrics"].items() for one in many]
    assert sorted((key, float(one["text"]), one["dataset_name"], one["dataset_digest"]) for key, one in readings) == (
        sorted((one.key, one.value, one.dataset_name, one.dataset_digest) for one in model.metrics or [])
    )
    assert told["experiment_id"] == model.experiment_id


def test_what_is_excluded_is_in_neither_record_nor_explanation_nor_log(
    server: Server, product: Product, name: Name
) -> None:
    run_id = wide_version(server, name("fraud"))
    server.ask(name("fraud"))
    out = ("owner", "learning*", "mlflow.user", "mlflow.source.name", "holdout")
    product.variables["RECONCILER_EVIDENCE__EXCLUDE"] = ",".join(out)
    explained = product.ok("explain", name("fraud"), "1", "Production", "--json")
    once = product.run("once")
    shown = product.ok("audit", "show", product.decisions()[0]["decision_id"])
    record = json.dumps(recorded(product))
    told = recorded(product)["evidence"]
    assert told["excluded_names"] == sorted(out)
    for place in (explained, once.stdout + once.stderr, shown, record, product.ok("audit", "report", "decisions")):
        assert not any(secret in place for secret in ("ada@example.com", "learning_rate", "train.py", "3c4d-holdout"))
    assert "user" not in told["run"]
    assert told["run"]["git_commit"]
    assert [one["name"] for one in told["run"]["datasets"]] == ["train"]
    assert run_id in record


def test_all_of_a_decision_is_printed_for_people_harmlessly_and_within_80_columns(
    server: Server, product: Product, name: Name
) -> None:
    run_id = wide_version(server, name("fraud"))
    server.ask(name("fraud"), "please\x1b[2J")
    product.ok("once")
    whole = recorded(product)
    text = product.ok("audit", "show", whole["decision_id"])
    of_the_registry = ("ada@example.com", "train.py", "c0ffee", "learning_rate", "holdout (3c4d-holdout), testing")
    ours = (whole["daemon"], whole["policy_digest"], whole["request"]["id"], "min: 0.90", "production-accuracy")
    for told in (run_id, "please\\u001b[2J", *of_the_registry, *ours):
        assert told in text
    assert max(cell_len(line) for line in text.splitlines()) <= 80
    assert all(line.isprintable() for line in text.splitlines())


def test_of_a_run_with_thousands_of_metrics_the_record_says_how_many_it_lacks(
    server: Server, product: Product, name: Name
) -> None:
    run_id = wide_version(server, name("fraud"))
    client = mlflow.MlflowClient(server.uri, server.uri)
    for part in range(3):
        keys = (f"layer/{part}/{at}" for at in range(1000))
        client.log_batch(run_id, [Metric(key, 1.0, timestamp=5, step=1) for key in keys])
    server.ask(name("fraud"))
    product.ok("once")
    whole = recorded(product)
    told = whole["evidence"]["run"]
    assert whole["verdict"] == "approve"
    assert told["metrics"]["validation_accuracy"]["text"] == "0.95"
    assert len(told["metrics"]) + told["left_out"]["metrics"]["count"] == len(client.get_run(run_id).data.metrics)
    assert len(json.dumps(whole["evidence"])) < 64 * 1024
    assert texts(told["params"]) == client.get_run(run_id).data.params
    assert whole["evidence"]["version"]["left_out"] == {}
    text = product.ok("audit", "show", whole["decision_id"])
    assert f"and {told['left_out']['metrics']['count']:,} more," in text
    assert product.ok("audit", "verify").startswith("intact: ")
    product.ok("db", "check")
