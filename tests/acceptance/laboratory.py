"""Runs, logged models and versions of a real server, as honest people make them, and as anybody may write them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import requests

from reconciler.domain.target import Target
from reconciler.judging import judge_batch
from reconciler.policy.file import parse_policy
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Transport
from tests.acceptance.conftest import Server

METRIC, LINKED = "metric: validation_accuracy, min: 0.9", "run: {linked: true}"
OWN_METRIC = f"{METRIC}, source: logged_model"
PRODUCTION = Target.parse("Production")


@dataclass
class Laboratory:
    server: Server
    name: Callable[[str], str]

    # --- what is measured ------------------------------------------------------------------------------------

    def run(self, metric: float, experiment: str = "0") -> str:
        run = self.server.call("POST", "runs/create", json={"experiment_id": experiment})["run"]["info"]["run_id"]
        body = {"run_id": run, "key": "validation_accuracy", "value": metric, "timestamp": 1, "step": 0}
        self.server.call("POST", "runs/log-metric", json=body)
        self.server.call("POST", "runs/update", json={"run_id": run, "status": "FINISHED", "end_time": 2})
        return str(run)

    def artifacts(self, run: str) -> str:
        return str(self.server.call("GET", "runs/get", params={"run_id": run})["run"]["info"]["artifact_uri"])

    def experiment(self) -> str:
        return str(self.server.call("POST", "experiments/create", json={"name": self.name("lab")})["experiment_id"])

    def logged_model(self, claimed_run: str = "", experiment: str = "0") -> str:
        """As anybody may make one: the run that it claims does not know of it."""
        body = {"experiment_id": experiment, "name": "model", "source_run_id": claimed_run}
        return str(self.server.call("POST", "logged-models", json=body)["model"]["info"]["model_id"])

    def output(self, run: str, model: str) -> None:
        """As MLflow's log_model does, with rights on the run."""
        self.server.call("POST", "runs/outputs", json={"run_id": run, "models": [{"model_id": model, "step": 0}]})

    def trained(self, run: str, own_metric: float | None = None) -> str:
        """A logged model as MLflow's log_model makes it; returns its id."""
        model = self.logged_model(run)
        self.output(run, model)
        if own_metric is not None:
            body = {"run_id": run, "key": "validation_accuracy", "value": own_metric, "timestamp": 1, "step": 0}
            self.server.call("POST", "runs/log-metric", json=body | {"model_id": model})
        return model

    # --- what is registered ----------------------------------------------------------------------------------

    def version(self, model: str, source: str, run: str, logged_model: str = "") -> str:
        """Version 1 of a new model; returns the model's name."""
        assert self.tried(model, source, run, logged_model), f"the server refused {source}"
        return self.name(model)

    def tried(self, model: str, source: str, run: str, logged_model: str = "") -> bool:
        """As `version`; False if the server itself refuses it."""
        self.server.call("POST", "registered-models/create", json={"name": self.name(model)})
        body = {"name": self.name(model), "source": source, "run_id": run}
        try:
            self.server.call("POST", "model-versions/create", json=body | _named(logged_model))
        except requests.HTTPError as error:
            assert error.response.status_code == 400  # noqa: PT017  only a definite refusal is one
            return False
        return True

    def of_logged_model(self, model: str, logged_model: str, run: str) -> str:
        return self.version(model, f"models:/{logged_model}", run, logged_model)

    def copy(self, model: str, of: str, run: str) -> str:
        """As MLflow's copy_model_version does."""
        return self.version(model, f"models:/{of}/1", run)

    # --- what is judged --------------------------------------------------------------------------------------

    def codes(self, model: str, *checks: str) -> list[str]:
        """What each check finds about version 1, whether it is judged by itself or with others."""
        alone, together = self._judged([model], checks), self._judged([model, self._companion()], checks)
        assert alone == together
        return alone

    def _companion(self) -> str:
        run = self.run(0.99)
        return self.version(f"companion-{run}", f"runs:/{run}/model", run)

    def _judged(self, models: list[str], checks: tuple[str, ...]) -> list[str]:
        transport = Transport(Endpoint(self.server.uri))
        registry = TagsRegistry(self.server.uri, "", transport, transport)
        require = "".join(f"      - {{id: check-{number}, {check}}}\n" for number, check in enumerate(checks))
        text = f"version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require:\n{require}"
        now = datetime.now(UTC)
        listed = [registry.find(model, "1", PRODUCTION, now).listed for model in models]
        first, *_ = judge_batch(registry, parse_policy(text, "p").policy, listed, now)
        transport.close()
        return [str(check.code) for check in first.verdict.checks]


def _named(logged_model: str) -> dict[str, str]:
    return {"model_id": logged_model} if logged_model else {}
