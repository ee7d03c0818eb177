"""A version of which everything is there to be recorded, made by MLflow's own client."""

from __future__ import annotations

import mlflow
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

from tests.acceptance.conftest import Server

HOSTILE = "a\x1b[2J\u202eb\nc"
METRICS = {"validation_accuracy": 0.95, "loss": -0.25, "val/f1 score": 0.5, "not a number": float("nan")}
PARAMS = {"learning_rate": "0.01", "hostile": HOSTILE, "long": "x" * 500}
TAGS = {"mlflow.user": "ada", "mlflow.source.name": "train.py", "mlflow.source.git.commit": "c0ffee" * 6, "mine": "no"}
VERSION_TAGS = {"owner": "ada@example.com", "hostile": HOSTILE, "long": "y" * 4500}
DESCRIPTION = "trained on what was there\nand measured"


def wide_version(server: Server, model: str, *, logged_model: bool = True) -> str:
    """Version 1 of a new model; returns the id of its run."""
    client = mlflow.MlflowClient(server.uri, server.uri)
    run = client.create_run(server.experiment)
    id = str(run.info.run_id)
    logged = [Metric(key, value, timestamp=1_700_000_000_000, step=3) for key, value in METRICS.items()]
    client.log_batch(id, logged, [Param(*one) for one in PARAMS.items()], [RunTag(*one) for one in TAGS.items()])
    client.log_inputs(id, [dataset("train", "1a2b", "training"), dataset("holdout", "3c4d-holdout", "testing")])
    source = f"runs:/{id}/model"
    more: dict[str, str] = {}
    if logged_model and server.has_logged_models:
        source, more = _logged_model(client, server, id)
    client.set_terminated(id)
    client.create_registered_model(model)
    client.create_model_version(model, source, id, tags=VERSION_TAGS, description=DESCRIPTION, **more)
    return id


def dataset(name: str, digest: str, context: str) -> DatasetInput:
    return DatasetInput(Dataset(name, digest, "local", "{}"), [InputTag("mlflow.data.context", context)])


def _logged_model(client: mlflow.MlflowClient, server: Server, run: str) -> tuple[str, dict[str, str]]:
    """As MLflow's log_model makes one, measured on two datasets."""
    model = client.create_logged_model(server.experiment, "model", run).model_id
    server.call("POST", "runs/outputs", json={"run_id": run, "models": [{"model_id": model, "step": 0}]})
    for at, name, value in ((5, "train", 0.99), (6, "holdout", 0.94)):
        body = {"run_id": run, "key": "auc", "value": value, "timestamp": at, "step": 1, "model_id": model}
        server.call("POST", "runs/log-metric", json=body | {"dataset_name": name, "dataset_digest": f"of {name}"})
    return f"models:/{model}", {"model_id": model}
