"""Sample models with real runs, and the requests that people might file for them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

import requests

POLICY = """\
version: 1
rules:
  - name: production-accuracy
    models: ["fraud-detector", "churn", "pricing", "recommender", "legacy-scorer", "vision"]
    targets: [Production, "@champion"]
    require:
      - metric: validation_accuracy
        min: 0.90
      - run: {linked: true}
"""

# A person types this into the MLflow UI; the command line writes JSON instead.
TYPED = "please: it beats the one in Production"


@dataclass(frozen=True, slots=True)
class Sample:
    """A model, the accuracy that its run measured (None: no metric), and the requested target."""

    model: str
    accuracy: float | None
    target: str
    has_run: bool = True


SAMPLES = (
    Sample("fraud-detector", 0.94, "Production"),
    Sample("churn", 0.85, "Production"),
    Sample("pricing", None, "Production"),
    Sample("recommender", float("nan"), "Production"),
    Sample("legacy-scorer", None, "Production", has_run=False),
    Sample("vision", 0.97, "@champion"),
    Sample("side-project", 0.99, "Production"),
)
UNGOVERNED = Sample("fraud-detector", 0.94, "Staging")


def register(uri: str) -> None:
    """Register the samples, and file a request for each as a tag typed by hand."""
    with _quietly():
        from mlflow import MlflowClient

        from reconciler.domain.tag_format import request_tag
        from reconciler.domain.target import Target

        client = MlflowClient(uri, uri)
        experiment = client.create_experiment("demo")
        for sample in SAMPLES:
            source, run_id = _trained(client, experiment, sample)
            client.create_registered_model(sample.model)
            client.create_model_version(sample.model, source, run_id)
            if sample.model != "vision":  # requested by the command line's own code instead
                client.set_model_version_tag(sample.model, "1", request_tag(Target.parse(sample.target)), TYPED)


def move_by_hand(uri: str) -> None:
    """As somebody with the rights of an editor may, past the daemon."""
    body = {"name": "churn", "version": "1", "stage": "Production", "archive_existing_versions": False}
    answer = requests.post(f"{uri}/api/2.0/mlflow/model-versions/transition-stage", json=body, timeout=30)
    answer.raise_for_status()


def _trained(client: object, experiment: str, sample: Sample) -> tuple[str, str | None]:
    from mlflow import MlflowClient

    assert isinstance(client, MlflowClient)
    if not sample.has_run:
        return f"s3://models/{sample.model}", None
    run = client.create_run(experiment, run_name=f"train-{sample.model}")
    run_id: str = run.info.run_id
    if sample.accuracy is not None:
        client.log_metric(run_id, "validation_accuracy", sample.accuracy)
    client.set_terminated(run_id)
    return f"runs:/{run_id}/model", run_id


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silence MLflow's client, which prints an address for each run and logs each version."""
    before = os.environ.get("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    with contextlib.redirect_stdout(None):
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        try:
            yield
        finally:
            if before is None:
                del os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"]
            else:
                os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = before
