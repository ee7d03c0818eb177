"""What is mlflow-oidc-auth's own: its trash, its tokens, its grants and who is let in."""

from __future__ import annotations

import base64
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from reconciler.demo.server import ServerFailed, mlflow_server
from tests.mlflow_app.conftest import API, Person
from tests.mlflow_app.logins import APP, COMMON, Scene, mail, on_oidc_auth, token_of
from tests.servers import app_beside, python_of_oidc

Name = Callable[[], str]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oidc")


@pytest.fixture(scope="module")
def scene(directory: Path) -> Iterator[Scene]:
    with on_oidc_auth(directory) as made:
        yield made


def runs(directory: Path, run_id: str) -> list[str]:
    """How often MLflow's own database has the run."""
    with sqlite3.connect(directory / "mlflow.db") as database:
        rows = database.execute("SELECT lifecycle_stage FROM runs WHERE run_uuid = ?", (run_id,)).fetchall()
    return [str(row[0]) for row in rows]


def holder_of_a_run(root: Person, name: str) -> str:
    """A version in Production that was made of a run, by the call of an administrator; returns the run."""
    experiment = root.call("POST", "experiments/create", json={"name": name})["experiment_id"]
    run = root.call("POST", "runs/create", json={"experiment_id": experiment})["run"]["info"]
    root.call("POST", "registered-models/create", json={"name": name})
    source = {"name": name, "source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
    root.call("POST", "model-versions/create", json=source)
    body = {"name": name, "version": "1", "stage": "Production"}
    root.call("POST", "model-versions/transition-stage", json=body)
    return str(run["run_id"])


def test_the_trash_removes_nothing_that_a_holder_was_made_of(scene: Scene, directory: Path, name: Name) -> None:
    """Its router deletes outside of Flask, where nobody is known: not even an administrator is one there."""
    root = scene["root"]
    run = holder_of_a_run(root, f"trash-{name()}")
    # Deleted behind the server's back, as it would be before the version became a holder.
    with sqlite3.connect(directory / "mlflow.db") as database:
        database.execute("UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = 1 WHERE run_uuid = ?", (run,))
    root.send("POST", f"/oidc/trash/cleanup?run_ids={run}")
    assert runs(directory, run) == ["deleted"]
    free = root.call("POST", "runs/create", json={"experiment_id": "0"})["run"]["info"]["run_id"]
    root.call("POST", "runs/delete", json={"run_id": free})
    assert root.send("POST", f"/oidc/trash/cleanup?run_ids={free}").status_code == 200
    assert runs(directory, free) == []


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"OIDC_USERS_DB_URI": "sqlite:////proc/nowhere/users.db"},
            "its database (OIDC_USERS_DB_URI) cannot be used: ",
        ),
        ({"SECRET_KEY": ""}, "SECRET_KEY: set it to a secret of its own"),
        ({"DEFAULT_MLFLOW_PERMISSION": "ALL"}, "DEFAULT_MLFLOW_PERMISSION: 'ALL' is not one of its permissions"),
    ],
    ids=["database", "key", "level"],
)
def test_a_variable_of_its_own_that_is_wrong_is_one_sentence_at_the_start(
    tmp_path: Path, variables: dict[str, str], message: str
) -> None:
    whole = {
        **COMMON, **app_beside(tmp_path / "path"), "TRANSITION_REQUESTS_AUTH": "oidc-auth", "SECRET_KEY": "a test's",
        "OIDC_USERS_DB_URI": f"sqlite:///{tmp_path}/users.db", **variables,
    }  # fmt: skip
    with pytest.raises(ServerFailed), mlflow_server(tmp_path, *APP, variables=whole, python=python_of_oidc()):
        pass
    log = (tmp_path / "mlflow-server.log").read_text()
    assert "Traceback" not in log
    assert log.splitlines()[-1].startswith("Error: oidc-auth")
    assert message in log.splitlines()[-1]


def test_the_daemons_service_account_decides_by_its_token_and_check_says_about_what(
    scene: Scene, name: Name, tmp_path: Path
) -> None:
    root, account = scene["root"], f"reconciler-{name()}"
    mine, other = root.model(f"mine-{name()}"), root.model(f"other-{name()}")
    token = token_of(root, account)
    path = f"{API}/permissions/users/{account}/registered-models/{mine}"
    assert root.send("POST", path, json={"permission": "MANAGE"}).status_code < 300
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        f"version: 1\nrules:\n- name: all\n  models: ['{mine}', '{other}']\n  targets: [Production]\n"
        "  require: [{description: {min_length: 10}}]\n"
    )
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "RECONCILER_REGISTRY__URI": scene.uri,
        "RECONCILER_REGISTRY__USERNAME": account, "RECONCILER_REGISTRY__PASSWORD": token,
        "RECONCILER_POLICY": str(policy), "RECONCILER_AUDIT__URL": f"sqlite:///{tmp_path}/audit.db",
    }  # fmt: skip
    command = str(Path(sys.executable).parent / "mlflow-reconciler")
    subprocess.run([command, "db", "upgrade"], env=environment, capture_output=True, check=True)
    done = subprocess.run([command, "check"], env=environment, capture_output=True, text=True, check=False)
    [said] = [line for line in done.stdout.splitlines() if "permissions" in line]
    # Approvers are named and it is not among them, so that MANAGE is not enough.
    assert f"may not decide about {mine} (CAN_EDIT), {other} (CAN_READ)" in said


def test_the_page_makes_the_daemons_account(scene: Scene) -> None:
    """Its block as it is typed, but for the time, and with curl told to fail."""
    root = scene["root"]
    root.model("fraud")
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds").replace("+00:00", "Z")
    page = (Path(__file__).parents[2] / "docs" / "mlflow-app.md").read_text()
    script = re.findall(r"```sh\n(USERS=.*?)```", page, re.DOTALL)[0].replace("curl ", "curl -sS --fail-with-body ")
    [session] = re.findall(r"\bsession=([^;]+)", root.headers["Cookie"])
    done = subprocess.run(
        ["sh", "-e", "-c", script.replace("2027-06-30T00:00:00Z", until)],
        env={**os.environ, "MLFLOW": scene.uri, "SESSION": session}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    [token] = re.findall(r'"token": *"([^"]+)"', done.stdout)
    daemon = Person(scene.uri, "reconciler", {"Authorization": basic("reconciler", token)})
    level = daemon.call("GET", "databricks/registered-models/get", params={"name": "fraud"})
    assert level["registered_model_databricks"]["permission_level"] == "CAN_EDIT"  # approvers are named here


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_a_grant_that_is_taken_away_counts_for_half_a_minute_at_most(scene: Scene, name: Name) -> None:
    model = scene["root"].model(f"grant-{name()}")
    scene.grant("bob", model, "EDIT")
    level = {"name": model}

    def shown() -> str:
        answer = scene["bob"].call("GET", "databricks/registered-models/get", params=level)
        return str(answer["registered_model_databricks"]["permission_level"])

    assert shown() == "CAN_EDIT"
    path = f"{API}/permissions/users/{mail('bob')}/registered-models/{model}"
    assert scene["root"].send("DELETE", path).status_code < 300
    until = time.monotonic() + 60
    while shown() == "CAN_EDIT" and time.monotonic() < until:
        time.sleep(1)
    assert shown() == "CAN_READ"


def test_somebody_who_is_switched_off_is_nobody(scene: Scene) -> None:
    root = scene["root"]
    assert scene["bob"].send("GET", "transition-requests/list").status_code == 200
    path = f"{API}/users/{mail('bob')}/active"
    assert root.send("PATCH", path, json={"active": False}).status_code == 200
    assert scene["bob"].send("GET", "transition-requests/list").status_code == 401
    assert root.send("PATCH", path, json={"active": True}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Email": "root@example.com"},
        {"mlflow_oidc_auth": "root@example.com"},
        {"Remote-User": "root@example.com"},
        {"Authorization": "Basic cm9vdEBleGFtcGxlLmNvbTo="},
        {"Cookie": "session=eyJzZXNzaW9uX2lkIjogIngifQ.x.x"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_no_header_makes_anybody_known(scene: Scene, headers: dict[str, str]) -> None:
    reply = requests.get(f"{scene.uri}{API}/transition-requests/list", headers=headers, timeout=60)
    assert reply.status_code == 401
