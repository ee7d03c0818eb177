"""People who train versions of one model, move them with MLflow's own client, and ask for targets."""

from __future__ import annotations

from mlflow import MlflowClient

from tests.acceptance.conftest import Server


class People:
    def __init__(self, server: Server, model: str) -> None:
        self.server, self.model = server, model
        self.client = MlflowClient(server.uri, server.uri)
        self.client.create_registered_model(model)

    def version(self, accuracy: float) -> str:
        run = self.server._run(accuracy)
        made = self.client.create_model_version(self.model, f"runs:/{run}/model", run_id=run, await_creation_for=0)
        return str(made.version)

    def move(self, version: str, target: str) -> None:
        if target.startswith("@"):
            self.client.set_registered_model_alias(self.model, target[1:], version)
        else:
            self.client.transition_model_version_stage(self.model, version, target)

    def ask(self, version: str, target: str) -> None:
        if self.server.protocol == "tags":
            of = f"alias.{target[1:]}" if target.startswith("@") else f"stage.{target}"
            self.client.set_model_version_tag(self.model, version, f"transition_request.{of}", "please")
        else:
            body = {"name": self.model, "version": version, "stage": target, "comment": "please"}
            self.server.call("POST", "transition-requests/create", json=body)

    def holds(self, version: str, target: str) -> bool:
        if target.startswith("@"):
            return str(self.client.get_registered_model(self.model).aliases.get(target[1:])) == version
        return str(self.client.get_model_version(self.model, version).current_stage) == target
