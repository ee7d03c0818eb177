"""Prompts share MLflow's tables and alias routes with models: a protected alias is protected there too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Product
from tests.mlflow_app.conftest import Person

Name = Callable[[], str]
MARK = {"key": "mlflow.prompt.is_prompt", "value": "true"}
POLICY = """\
version: 1
rules:
  - name: everything
    models: ["*"]
    targets: ["@champion", Production]
    require: [{metric: accuracy, min: 0.9}]
"""


def prompt(person: Person, name: str) -> str:
    person.call("POST", "registered-models/create", json={"name": name, "tags": [MARK]})
    template = [MARK, {"key": "mlflow.prompt.text", "value": "hello"}]
    for _ in range(2):
        body = {"name": name, "source": "prompt-template", "tags": template}
        person.call("POST", "model-versions/create", json=body)
    return name


def aliases(person: Person, name: str) -> dict[str, str]:
    shown = person.call("GET", "registered-models/get", params={"name": name})["registered_model"]
    return {row["alias"]: row["version"] for row in shown.get("aliases", [])}


def test_a_protected_alias_of_a_prompt_is_moved_by_a_request_and_not_by_hand(somebody: Person, name: Name) -> None:
    it = prompt(somebody, f"prompt-{name()}")
    body = {"name": it, "version": "2", "alias": "champion"}
    refused = somebody.code("POST", "registered-models/alias", json=body)
    assert refused == (403, "PERMISSION_DENIED")
    somebody.request("create", it, "@champion", comment="shorter")
    [row] = somebody.call("GET", "transition-requests/list", params={"model": it})["requests"]
    assert (row["to_stage"], row["is_prompt"]) == ("@champion", True)
    [row] = somebody.call("GET", "transition-requests/list", params={"name": it, "version": "1"})["requests"]
    assert row["is_prompt"] is True
    somebody.request("approve", it, "@champion", archive_existing_versions=False)
    assert aliases(somebody, it) == {"champion": "1"}
    assert somebody.code("DELETE", "registered-models/alias", json=body)[0] == 403
    assert somebody.code("DELETE", "registered-models/delete", json={"name": it})[0] == 403


def test_a_stage_of_a_prompt_is_refused_with_what_to_request_instead(somebody: Person, name: Name) -> None:
    it = prompt(somebody, f"prompt-{name()}")
    reply = somebody.send(
        "POST", "transition-requests/create", json={"name": it, "version": "1", "stage": "Production"}
    )
    assert reply.status_code == 400
    assert "request an alias" in reply.json()["message"]


def test_the_daemon_leaves_prompts_alone_and_shows_them(somebody: Person, name: Name, tmp_path: Path) -> None:
    it = prompt(somebody, f"prompt-{name()}")
    somebody.request("create", it, "@champion")
    product = Product(somebody.uri, tmp_path)
    product.policy(POLICY)
    product.ok("db", "upgrade")
    product.run("once")
    assert it not in json.dumps(product.decisions())
    waiting = json.loads(product.ok("status", "--json"))
    assert it in json.dumps(waiting)
    assert aliases(somebody, it) == {}
    assert len(somebody.call("GET", "transition-requests/list", params={"model": it})["requests"]) == 1


@pytest.fixture
def owned(auth_uri: str, name: Name) -> str:
    """A prompt on which mia has MANAGE as a prompt, and bob MANAGE as if it were a model."""
    root = Person(auth_uri, "root")
    it = prompt(root, f"prompt-{name()}")
    for user, kind in (("mia", "prompt"), ("bob", "registered_model")):
        body = {"username": user, "resource_type": kind, "resource_id": it, "permission": "MANAGE"}
        root.call("POST", "/api/3.0/mlflow/users/permissions/grant", json=body)
    return it


def test_a_grant_on_a_model_does_not_apply_to_a_prompt_of_its_name(auth_uri: str, owned: str) -> None:
    ada, bob, mia = (Person(auth_uri, user) for user in ("ada", "bob", "mia"))
    ada.request("create", owned, "@champion")
    body = {"name": owned, "version": "1", "stage": "@champion", "creator": "ada"}
    assert bob.code("DELETE", "transition-requests/delete", params=body)[0] == 403
    assert mia.request("approve", owned, "@champion", archive_existing_versions=False)["activity"]["user_id"] == "mia"
