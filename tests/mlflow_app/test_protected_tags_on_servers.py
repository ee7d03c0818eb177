"""Protected tags on a real server with basic-auth: ada READ, bob MANAGE, mia MANAGE and approver, svc READ
and approver. Where approvers are named, MANAGE makes nobody one.

The witness is triggers in the server's own database.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.demo.server import mlflow_server
from tests.acceptance.conftest import Product
from tests.mlflow_app.conftest import PASSWORD, Person, basic_auth_server
from tests.mlflow_app.test_who import People
from tests.mlflow_app.witness import Witness
from tests.servers import python_of

LONG = bool(os.environ.get("LONG_TESTS"))
TIER = {"key": "tier", "value": "1"}
DATE = {"key": "validated.at", "value": "2026-11-01"}
POLICY = """\
version: 1
rules:
  - name: tier-1
    models: ["*"]
    targets: [Production]
    when: {model_tag: {tier: "1"}}
    require: [{tag: validated.at, type: date}, {tag: note, level: advisory}]
  - name: others
    models: ["*"]
    targets: [Production]
    when: {model_tag: {tier: "2"}}
    require: [{description: {min_length: 1}}]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tags")


@pytest.fixture(scope="module")
def people(place: Path) -> Iterator[People]:
    with basic_auth_server(place, TRANSITION_REQUESTS_PROTECTED_TAGS="tier, validated.at") as uri:
        yield People(uri)


@pytest.fixture(scope="module")
def watching(people: People, place: Path) -> Iterator[Witness]:
    witness = Witness(f"sqlite:///{place}/mlflow.db")
    witness.install()
    yield witness
    witness.close()


@pytest.fixture
def witness(watching: Witness) -> Witness:
    watching.rows("DELETE FROM witness_changes")
    return watching


@pytest.fixture
def model(people: People, name: Callable[[], str], watching: Witness) -> str:
    """Of tier 1, its version 1 validated."""
    model = people.root.model(f"tagged-{name()}", versions=2)
    for user in ("bob", "mia"):
        body = {"username": user, "resource_type": "registered_model", "resource_id": model, "permission": "MANAGE"}
        people.root.call("POST", "/api/3.0/mlflow/users/permissions/grant", json=body)
    people.root.call("POST", "registered-models/set-tag", json={"name": model, **TIER})
    people.root.call("POST", "model-versions/set-tag", json={"name": model, "version": "1", **DATE})
    return model


def written(witness: Witness, model: str) -> list[tuple[str, str, str]]:
    found = [change for change in witness.changes() if change.thing == "protected tag" and change.name == model]
    return [(change.kind, change.what, change.became) for change in found]


def attempts(model: str) -> list[tuple[str, str, dict[str, Any]]]:
    first, second = {"name": model, "version": "1"}, {"name": model, "version": "2"}
    return [
        ("POST", "registered-models/set-tag", {"name": model, "key": "tier", "value": "2"}),
        ("DELETE", "registered-models/delete-tag", {"name": model, "key": "tier"}),
        ("POST", "model-versions/set-tag", {**second, **DATE}),
        ("POST", "model-versions/set-tag", {**first, "key": "VALIDATED.AT", "value": "2026-11-02"}),
        ("DELETE", "model-versions/delete-tag", {**first, "key": "validated.at"}),
        ("POST", "model-versions/create", {"name": model, "source": "s3://b/m", "tags": [DATE]}),
        ("POST", "registered-models/create", {"name": f"{model}-new", "tags": [TIER]}),
        ("DELETE", "model-versions/delete", first),
        ("DELETE", "registered-models/delete", {"name": model}),
        ("POST", "registered-models/rename", {"name": model, "new_name": f"{model}-old"}),
    ]


@pytest.mark.parametrize("prefix", ["/api/2.0/mlflow", "/ajax-api/2.0/mlflow"][: 2 if LONG else 1])
def test_a_manager_who_is_no_approver_is_refused_by_every_route_and_nothing_changes(
    people: People, model: str, witness: Witness, prefix: str
) -> None:
    witness.rows("DELETE FROM witness_changes")
    for method, path, arguments in attempts(model):
        reply = people.bob.send(method, f"{prefix}/{path}", json=arguments)
        assert (reply.status_code, reply.json()["error_code"]) == (403, "PERMISSION_DENIED"), (path, reply.text)
        assert "only approvers and administrators may" in reply.json()["message"]
        # Encoded twice, as MLflow reads it too.
        assert people.bob.send(method, f"{prefix}/{path}", json=json.dumps(arguments)).status_code in {400, 403}
    assert written(witness, model) == []


@pytest.mark.parametrize("who", ["mia", "root"])
def test_approvers_with_the_level_that_mlflow_asks_for_and_administrators_change_them(
    people: People, model: str, witness: Witness, who: str
) -> None:
    person: Person = getattr(people, who)
    for method, path, arguments in attempts(model)[:6]:
        person.call(method, path, json=arguments)
    assert len(written(witness, model)) >= 5
    told = witness.rows(
        f"SELECT sentence FROM transition_requests_history WHERE model = '{model}' AND decider = '{who}'"
    )
    assert len([row for row in told if "the protected tag" in row[0]]) >= 6


def test_the_answer_to_a_list_names_them_for_whoever_asks(people: People) -> None:
    asked = people.ada.call("GET", "transition-requests/list", params={"protected_tags": "true", "max_results": "1"})
    assert asked["protected_tags"] == {"keys": ["tier", "validated.at"], "enforced": True, "approvers_named": True}
    assert "protected_tags" not in people.ada.call("GET", "transition-requests/list")


OF_A_CLIENT = """
import sys
import mlflow
from mlflow.entities.model_registry import ModelVersionTag
client, model = mlflow.MlflowClient(), sys.argv[1]
for do in (
    lambda: client.set_registered_model_tag(model, "tier", "2"),
    lambda: client.delete_registered_model_tag(model, "tier"),
    lambda: client.set_model_version_tag(model, "2", "validated.at", "2026-11-02"),
    lambda: client.delete_model_version_tag(model, "1", "validated.at"),
    lambda: client.create_model_version(model, "s3://b/m", tags={"validated.at": "2026-11-02"}),
    lambda: client.create_registered_model(model + "-new", tags={"tier": "2"}),
    lambda: client.copy_model_version(f"models:/{model}/1", model + "-copy"),
    lambda: client.delete_model_version(model, "1"),
    lambda: client.delete_registered_model(model),
    lambda: client.rename_registered_model(model, model + "-old"),
):
    try:
        do()
        print("done")
    except mlflow.exceptions.MlflowException as error:
        # The client takes what a copy is refused for an error of its own.
        print("PERMISSION_DENIED" if "PERMISSION_DENIED" in str(error) else error)
"""


@pytest.mark.parametrize("version", ["newest", "2.22.5"])
def test_mlflows_client_is_refused_an_older_one_too(people: People, model: str, witness: Witness, version: str) -> None:
    witness.rows("DELETE FROM witness_changes")
    python = sys.executable if version == "newest" else str(python_of(version))
    variables = {name: value for name, value in os.environ.items() if "MLFLOW" not in name} | {
        "MLFLOW_TRACKING_URI": people.bob.uri, "MLFLOW_TRACKING_USERNAME": "bob", "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    }  # fmt: skip
    done = subprocess.run(
        [python, "-c", OF_A_CLIENT, model], env=variables, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.split() == ["PERMISSION_DENIED"] * 10, done.stdout + done.stderr
    assert [change for change in witness.changes() if change.thing == "protected tag"] == []


# --- check -------------------------------------------------------------------------------------------------------


def product(uri: str, place: Path) -> Product:
    made = Product(uri, place)
    made.variables |= {"RECONCILER_REGISTRY__USERNAME": "svc", "RECONCILER_REGISTRY__PASSWORD": PASSWORD}
    made.policy(POLICY)
    (place / "policy.yaml").chmod(0o644)
    made.ok("db", "upgrade")
    return made


def of_tags(product: Product) -> tuple[str, str]:
    [found] = [one for one in json.loads(product.run("check", "--json").stdout) if one["name"] == "tags"]
    return found["level"], found["detail"]


def test_check_says_which_tags_of_the_policy_are_not_protected(people: People, tmp_path: Path) -> None:
    daemon = product(people.svc.uri, tmp_path)
    relied = "tier (rule 'tier-1' and 1 more), validated.at (rule 'tier-1')"
    assert of_tags(daemon) == (
        "OK", f"only approvers and administrators may change {relied}, on which the policy rests"
    )  # fmt: skip
    daemon.policy(POLICY.replace("{tag: note, level: advisory}", "{tag: note}"))
    assert of_tags(daemon) == (
        "WARN",
        "everybody who may edit a model may change note (rule 'tier-1'), on which the policy rests: "
        "name them in TRANSITION_REQUESTS_PROTECTED_TAGS of the server",
    )


def test_the_daemon_decides_by_protected_tags(people: People, model: str, tmp_path: Path) -> None:
    daemon = product(people.svc.uri, tmp_path)
    daemon.policy(POLICY.replace('["*"]', f'["{model}"]'))
    people.root.call(
        "POST", "model-versions/set-tag", json={"name": model, "version": "1", "key": "note", "value": "x"}
    )
    explained = explanations(daemon, model)
    for version in "12":
        body = {"name": model, "version": version, "stage": "Production"}
        people.ada.call("POST", "transition-requests/create", json=body)
    daemon.ok("once")
    verdicts = {row["version"]: (row["verdict"], row["outcome"]) for row in daemon.decisions()}
    assert verdicts == {"1": ("approve", "applied"), "2": ("reject", "applied")}
    assert "transition_decision.stage.Production" in people.ada.shown(model)["tags"]
    # And says of each of them whether it is.
    note, date = "anybody who may edit the version can change the tag", "the tag is protected"
    kept = {
        "answer": "found",
        "tags": dict.fromkeys(("tier", "validated.at"), "protected") | {"note": "open_to_editors"},
    }
    for row in daemon.decisions():
        whole = json.loads(daemon.ok("audit", "show", row["decision_id"], "--format", "json"))
        read_from = {check["check"]: check["source"] for check in whole["checks"]}
        assert read_from == {"tag validated.at": f"version; {date}", "tag note": f"version; {note}"}
        assert whole["evidence"]["protection"] == kept
        shown = " ".join(daemon.ok("audit", "show", row["decision_id"]).split())
        assert "protection tags note open_to_editors tier protected validated.at protected" in shown
    assert f"(tier-1; {date})" in explained["table"]
    assert f"(tier-1; advisory; {note})" in explained["table"]
    assert f"`version; {date}`" in explained["markdown"]
    assert [check["source"] for check in json.loads(explained["json"])["checks"]] == [
        f"version; {date}", f"version; {note}"
    ]  # fmt: skip
    assert daemon.ok("audit", "reperform").endswith("2 agree, 0 differ, 0 cannot be judged\n")


def explanations(daemon: Product, model: str) -> dict[str, str]:
    return {
        format: daemon.ok("explain", model, "1", "Production", "--format", format)
        for format in ("table", "json", "markdown")
    }


def test_check_says_that_a_server_only_logs_what_it_would_refuse(tmp_path: Path) -> None:
    variables = {"TRANSITION_REQUESTS_PROTECTED_TAGS": "tier,validated.at", "TRANSITION_REQUESTS_WALL": "observe"}
    with basic_auth_server(tmp_path, **variables) as uri:
        level, said = of_tags(product(uri, tmp_path))
    log = (tmp_path / "mlflow-server.log").read_text()
    start = (
        "transition requests: @champion, Production and the tags tier, validated.at NOT protected, refusals are only"
    )
    assert start in log
    assert level == "WARN"
    assert said.endswith(" are only logged: set TRANSITION_REQUESTS_WALL=enforce on the server")


def test_check_knows_nothing_of_a_server_without_the_app(tmp_path: Path) -> None:
    with mlflow_server(tmp_path / "server", python=python_of("2.22.5")) as uri:
        level, said = of_tags(product(uri, tmp_path))
        assert (level, said.startswith("this registry does not say who may change tier (rule")) == ("SKIP", True)
