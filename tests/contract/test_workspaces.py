"""Two workspaces of one MLflow server, each with its daemon, on one audit database: models of one name stay apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from reconciler.demo.server import mlflow_server
from tests.acceptance.conftest import API, Product

POLICY = """\
version: 1
rules:
  - name: described
    targets: [Production, "@champion"]
    require: [{description: {min_length: 10}}]
"""


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the workspaces team-a and team-b, each with two versions of a model named fraud."""
    directory = tmp_path_factory.mktemp("workspaces")
    with mlflow_server(directory, "--enable-workspaces") as uri:
        for workspace in ("team-a", "team-b"):
            made = requests.post(f"{uri}/api/3.0/mlflow/workspaces", json={"name": workspace}, timeout=60)
            made.raise_for_status()
            call(uri, workspace, "registered-models/create", name="fraud")
            for _ in range(2):
                version = {"source": "s3://bucket/model", "description": "finds out who cheats"}
                call(uri, workspace, "model-versions/create", name="fraud", **version)
        yield uri


def call(uri: str, workspace: str, path: str, **body: str) -> None:
    headers = {"X-MLFLOW-WORKSPACE": workspace}
    requests.post(f"{uri}{API}/{path}", json=body, headers=headers, timeout=60).raise_for_status()


def test_what_moves_in_one_workspace_is_neither_decided_nor_shown_of_the_other(workspaces: str, tmp_path: Path) -> None:
    daemons = {
        name: Product(workspaces, tmp_path, variables={"MLFLOW_WORKSPACE": name}) for name in ("team-a", "team-b")
    }
    daemons["team-a"].policy(POLICY)
    daemons["team-a"].ok("db", "upgrade")

    def cycles(number: int) -> None:
        for _ in range(number):
            for daemon in daemons.values():
                daemon.ok("once")

    cycles(1)
    request = {"key": "transition_request.stage.Production", "value": "please"}
    call(workspaces, "team-a", "model-versions/set-tag", name="fraud", version="1", **request)
    call(workspaces, "team-b", "registered-models/alias", name="fraud", version="2", alias="champion")
    cycles(2)
    held = json.loads(daemons["team-a"].ok("audit", "report", "completeness", "--format", "json"))["tenures"]
    assert sorted((row["workspace"], row["version"], row["target"], row["counted_as"]) for row in held) == [
        ("team-a", "1", "Production", "decision"),
        ("team-b", "2", "@champion", "exception"),
    ]
    listed = " ".join(daemons["team-b"].ok("audit", "list").split())
    assert "fraud version 1 to Production in workspace team-a" in listed
    bypass = "fraud version 2 holds @champion without a decision"
    [there] = [line for line in daemons["team-a"].ok("status").splitlines() if bypass in line]
    [here] = [line for line in daemons["team-b"].ok("status").splitlines() if bypass in line]
    assert there == f"{here} ({workspaces}, workspace team-b)"
    table = daemons["team-a"].ok("audit", "report", "completeness").partition("\ntenures\n")[2]
    assert "team-a" in table
    assert "team-b" in table
