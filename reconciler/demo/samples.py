"""Sample models with real runs, and the requests that people might file for them."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests

from reconciler.domain.tag_format import request_tag
from reconciler.domain.target import Target

if TYPE_CHECKING:
    from mlflow import MlflowClient

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
  - name: better
    models: ["fraud-detector"]
    targets: [Production]
    require:
      - compare: validation_accuracy
        min_absolute_change: 0.01
        greater_is_better: true
        if_no_holder: pass
  - name: credit
    models: ["credit-*"]
    targets: [Production]
    require:
      - id: accuracy
        any_of:
          - [{metric: validation_accuracy, min: 0.90}]
          - [{metric: validation_accuracy, min: 0.85}, {tag: risk.review, equals: accepted}]
      - family: accuracy_group_*
        expect: [accuracy_group_a, accuracy_group_b]
        max_gap: 0.05
      - run: {linked: true}
"""

# A person types this into the MLflow UI; the command line writes JSON instead.
TYPED = "please: it beats the one in Production"


@dataclass(frozen=True, slots=True)
class Sample:
    """A model, the accuracy that its run measured (None: no metric), and the requested target.

    `groups`: the accuracy on each group of people, `_a` and `_b`.
    """

    model: str
    accuracy: float | None
    target: str
    has_run: bool = True
    groups: tuple[float, ...] = ()
    reviewed: bool = False


SAMPLES = (
    Sample("fraud-detector", 0.94, "Production"),
    Sample("churn", 0.85, "Production"),
    Sample("pricing", None, "Production"),
    Sample("recommender", float("nan"), "Production"),
    Sample("legacy-scorer", None, "Production", has_run=False),
    Sample("vision", 0.97, "@champion"),
    Sample("side-project", 0.99, "Production"),
    Sample("credit-cards", 0.88, "Production", groups=(0.89, 0.87), reviewed=True),
    Sample("credit-lines", 0.87, "Production", groups=(0.88, 0.86)),
    Sample("credit-loans", 0.95, "Production", groups=(0.97, 0.84)),
)
# Versions 2 and 3 of a model whose version 1 is in Production by then.
NEWER = (Sample("fraud-detector", 0.94, "Production"), Sample("fraud-detector", 0.96, "Production"))
UNGOVERNED = Sample("fraud-detector", 0.94, "Staging")


def register(uri: str) -> None:
    """Register the samples, and file a request for each as a tag typed by hand."""
    with _quietly():
        from mlflow import MlflowClient

        client = MlflowClient(uri, uri)
        experiment = client.create_experiment("demo")
        for sample in SAMPLES:
            client.create_registered_model(sample.model)
            # Vision is requested by the command line's own code instead.
            _add_version(client, experiment, sample, asked=sample.model != "vision")


def register_newer(uri: str) -> None:
    """Versions of a model that is in Production already, each with a request."""
    with _quietly():
        from mlflow import MlflowClient

        client = MlflowClient(uri, uri)
        experiment = client.get_experiment_by_name("demo").experiment_id
        for sample in NEWER:
            _add_version(client, experiment, sample, asked=True)


def move_by_hand(uri: str) -> None:
    """As somebody with the rights of an editor may, past the daemon."""
    body = {"name": "churn", "version": "1", "stage": "Production", "archive_existing_versions": False}
    answer = requests.post(f"{uri}/api/2.0/mlflow/model-versions/transition-stage", json=body, timeout=30)
    answer.raise_for_status()


def _add_version(client: MlflowClient, experiment: str, sample: Sample, *, asked: bool) -> None:
    source, run_id = _trained(client, experiment, sample)
    version = client.create_model_version(sample.model, source, run_id).version
    if sample.reviewed:
        client.set_model_version_tag(sample.model, version, "risk.review", "accepted")
    if asked:
        client.set_model_version_tag(sample.model, version, request_tag(Target.parse(sample.target)), TYPED)


def _trained(client: MlflowClient, experiment: str, sample: Sample) -> tuple[str, str | None]:
    if not sample.has_run:
        return f"s3://models/{sample.model}", None
    run = client.create_run(experiment, run_name=f"train-{sample.model}")
    run_id: str = run.info.run_id
    if sample.accuracy is not None:
        client.log_metric(run_id, "validation_accuracy", sample.accuracy)
    for group, accuracy in zip("ab", sample.groups, strict=False):
        client.log_metric(run_id, f"accuracy_group_{group}", accuracy)
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
