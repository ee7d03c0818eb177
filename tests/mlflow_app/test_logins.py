"""What each login must hold: the same calls on a real server behind each of them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.mlflow_app.conftest import API, Person
from tests.mlflow_app.logins import Scene, on_basic_auth, on_header, on_oidc_auth

Name = Callable[[], str]
APPROVE = {"archive_existing_versions": False}
DENIED = (403, "PERMISSION_DENIED")
LOGINS = ("basic-auth", "header", "oidc-auth")


@pytest.fixture(scope="module", params=LOGINS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp(str(request.param))
    making = {
        "basic-auth": lambda: on_basic_auth(request),
        "header": lambda: on_header(directory),
        "oidc-auth": lambda: on_oidc_auth(directory),
    }
    with making[request.param]() as made:
        yield made


@pytest.fixture
def model(scene: Scene, name: Name) -> str:
    model = scene["root"].model(f"login-{name()}", versions=2)
    scene.grant("bob", model, "EDIT")
    return model


def place(model: str, **more: object) -> dict[str, Any]:
    return {"name": model, "version": "1", "stage": "Production", **more}


def tried(person: Person, call: str, model: str, **more: object) -> tuple[int, str]:
    return person.code("POST", f"transition-requests/{call}", json=place(model, **more))


def listed(person: Person, model: str) -> dict[str, Any]:
    [row] = person.call("GET", "transition-requests/list", params={"model": model})["requests"]
    return dict(row)


def test_a_requester_is_the_authenticated_user_whatever_the_call_claims(scene: Scene, model: str) -> None:
    asked = scene["ada"].request("create", model, requester="somebody else")
    assert asked["request"]["user_id"] == scene["ada"].user
    row = listed(scene["svc"], model)
    assert (row["user_id"], row["requester_assurance"]) == (scene["ada"].user, "authenticated")


def test_a_tag_that_claims_another_requester_is_only_asserted(scene: Scene, model: str) -> None:
    scene["ada"].request("create", model)
    key = "transition_request.stage.Production"
    forged = scene["root"].shown(model)["tags"][key].replace(scene["ada"].user, scene["bob"].user)
    tag = {"name": model, "version": "1", "key": key, "value": forged}
    scene["root"].call("POST", "model-versions/set-tag", json=tag)
    row = listed(scene["svc"], model)
    assert (row["user_id"], row["requester_assurance"]) == (scene["bob"].user, "asserted")


def test_approvers_approve_and_nobody_else(scene: Scene, model: str) -> None:
    scene["ada"].request("create", model)
    for role in ("ada", "bob", "root"):
        assert tried(scene[role], "approve", model, **APPROVE) == DENIED
        assert tried(scene[role], "reject", model) == DENIED
    done = scene["svc"].request("approve", model, **APPROVE)
    assert done["activity"]["user_id"] == scene["svc"].user
    assert scene["ada"].shown(model)["current_stage"] == "Production"


def test_nobody_approves_their_own_request(scene: Scene, model: str) -> None:
    scene["mia"].request("create", model)
    assert tried(scene["mia"], "approve", model, **APPROVE) == DENIED
    assert "APPROVE_TRANSITION_REQUEST" not in listed(scene["mia"], model)["available_actions"]
    if scene.respelt is not None:
        assert tried(scene.respelt, "approve", model, **APPROVE) == DENIED
    scene["svc"].request("approve", model, **APPROVE)


def test_only_the_requester_withdraws_or_an_administrator(scene: Scene, model: str) -> None:
    for withdrawing in ("ada", "root"):
        scene["ada"].request("create", model)
        for role in ("bob", "mia"):
            assert scene[role].code("DELETE", "transition-requests/delete", params=place(model)) == DENIED
        scene[withdrawing].call("DELETE", "transition-requests/delete", params=place(model))


def test_an_administrator_moves_directly_and_is_named_and_nobody_else_moves(scene: Scene, model: str) -> None:
    for role in ("ada", "bob", "mia", "svc"):
        assert scene[role].send("POST", "model-versions/transition-stage", json=place(model)).status_code == 403
    scene["root"].call("POST", "model-versions/transition-stage", json=place(model))
    told = scene["root"].shown(model)["tags"]["transition_decision.stage.Production"]
    assert told.endswith(f"by administrator {scene['root'].user}, directly.")


def test_the_permission_level_is_what_the_login_says(scene: Scene, model: str) -> None:
    for role, level in scene.levels.items():
        answer = scene[role].call("GET", "databricks/registered-models/get", params={"name": model})
        assert answer["registered_model_databricks"]["permission_level"] == level, role


def test_a_reader_changes_no_model_where_there_are_levels(scene: Scene, model: str) -> None:
    body = place(model, stage="Staging")
    status = scene["ada"].send("POST", "databricks/model-versions/transition-stage", json=body).status_code
    assert status == (403 if scene.levels["ada"] == "CAN_READ" else 200)
    assert scene["bob"].send("POST", "databricks/model-versions/transition-stage", json=body).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{API}/transition-requests/list"),
        ("POST", f"{API}/transition-requests/create"),
        ("GET", f"{API}/registered-models/search"),
        ("GET", "/ajax-api/2.0/mlflow/experiments/search?max_results=1"),
        ("POST", "/v1/traces"),
        ("GET", "/ajax-api/3.0/jobs/1"),
        ("GET", "/api/2.0/mlflow-artifacts/artifacts"),
        ("GET", "/api/3.0/mlflow/mcp-servers"),
    ],
)
def test_a_call_of_nobody_is_401_on_every_kind_of_route(scene: Scene, method: str, path: str) -> None:
    assert requests.request(method, scene.uri + path, timeout=60, allow_redirects=False).status_code == 401


def test_health_needs_no_login(scene: Scene) -> None:
    reply = requests.get(f"{scene.uri}/health", timeout=60)
    assert reply.status_code == 200


def test_clients_of_databricks_are_told_in_json_that_this_is_no_workspace(scene: Scene) -> None:
    reply = requests.get(f"{scene.uri}/.well-known/databricks-config", timeout=60, allow_redirects=False)
    assert (reply.status_code, reply.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


def test_databricks_client_finds_no_bug_in_itself(scene: Scene, tmp_path: Path) -> None:
    code = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG)\n"
        "from databricks.sdk.core import Config\n"
        "Config(host=sys.argv[1], token='none', auth_type='pat', retry_timeout_seconds=5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, scene.uri], capture_output=True, text=True, timeout=120, check=True, cwd=tmp_path
    )
    assert "databricks-config" in done.stderr
    assert "bug in the" not in done.stderr


def test_the_page_to_ask_on_needs_a_login(scene: Scene) -> None:
    assert requests.get(f"{scene.uri}/transition-requests", timeout=60, allow_redirects=False).status_code == 401
    assert scene["ada"].send("GET", "/transition-requests").status_code == 200


def test_no_secret_is_written_to_the_servers_log(scene: Scene) -> None:
    scene["ada"].send("GET", "transition-requests/list")
    log = scene.log.read_text()
    for word in ("a-secret-that-the-proxy-sends", "a-long-enough-password", "of this test", "a secret of this test"):
        assert word not in log


# --- protected tags ------------------------------------------------------------------------------------------


def on_protected_tags(model: str) -> list[tuple[str, str, dict[str, Any]]]:
    """What changes a tag that is protected, or makes one: of the model, and of its first version."""
    first, second = {"name": model, "version": "1"}, {"name": model, "version": "2"}
    tier, date = {"key": "tier", "value": "9"}, {"key": "validated.at", "value": "9"}
    return [
        ("POST", "registered-models/set-tag", {"name": model, **tier}),
        ("POST", "registered-models/set-tag", {"name": model, **tier, "key": "TIER "}),
        ("DELETE", "registered-models/delete-tag", {"name": model, "key": "tier"}),
        ("POST", "model-versions/set-tag", {**first, **date}),
        ("POST", "model-versions/set-tag", {**second, **tier}),
        ("DELETE", "model-versions/delete-tag", {**first, "key": "validated.at"}),
        ("POST", "model-versions/create", {"name": model, "source": "s3://b/m", "tags": [{"key": "a"}, date]}),
        ("POST", "registered-models/create", {"name": f"{model}-new", "tags": [tier]}),
        ("DELETE", "model-versions/delete", first),
        ("DELETE", "registered-models/delete", {"name": model}),
        ("POST", "registered-models/rename", {"name": model, "new_name": f"{model}-old"}),
    ]


def test_only_approvers_and_administrators_change_protected_tags(scene: Scene, name: Name) -> None:
    """bob manages the model where the login knows levels; what is there is told by MLflow's own tables."""
    model = scene["root"].model(f"tagged-{name()}", versions=2)
    for role, level in (("bob", "MANAGE"), ("mia", "EDIT"), ("svc", "EDIT")):
        scene.grant(role, model, level)
    tier = {"name": model, "key": "tier"}
    scene["root"].call("POST", "registered-models/set-tag", json={**tier, "value": "1"})
    of_first = {"name": model, "version": "1", "key": "validated.at", "value": "1"}
    scene["root"].call("POST", "model-versions/set-tag", json=of_first)
    before = [("registered_model_tags", "tier", "1"), ("model_version_tags", "validated.at", "1")]
    for role in ("ada", "bob"):
        for method, path, arguments in on_protected_tags(model):
            for prefix in (API, API.replace("/api/", "/ajax-api/")):
                status = scene[role].send(method, f"{prefix}/{path}", json=arguments).status_code
                assert status == 403, (role, prefix, path, arguments)
        assert tags_like(scene, model) == before
    for role in ("mia", "svc", "root"):
        scene[role].call("POST", "registered-models/set-tag", json={**tier, "value": role})
        assert tags_like(scene, model)[0][2] == role


def tags_like(scene: Scene, model: str) -> list[tuple[str, str, str]]:
    """The tags of whatever has this name, or one that begins with it."""
    tables = ("registered_model_tags", "model_version_tags")
    named = "WHERE name LIKE ? || '%' AND key <> 'a'"
    with sqlite3.connect(scene.log.parent / "mlflow.db") as database:
        found = {table: database.execute(f"SELECT key, value FROM {table} {named}", [model]) for table in tables}
        return [(table, key, value) for table, rows in found.items() for key, value in rows]
