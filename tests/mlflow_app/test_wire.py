"""Databricks' wire format, seen by Databricks' own client."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from databricks.sdk.errors import InvalidParameterValue, NotFound, PermissionDenied, ResourceAlreadyExists
from databricks.sdk.service.ml import ActivityAction, ActivityType, PermissionLevel

from tests.mlflow_app.conftest import Person

Name = Callable[[], str]
DECISION = "transition_decision.stage.Production"


def test_the_official_client_requests_lists_and_approves(somebody: Person, name: Name) -> None:
    model, registry = somebody.model(name()), somebody.sdk()
    filed = registry.create_transition_request(model, "1", "Production", comment="better").request
    assert filed is not None
    assert (filed.to_stage, filed.comment) == ("Production", "better")
    assert ActivityAction.APPROVE_TRANSITION_REQUEST in (filed.available_actions or [])
    [listed] = registry.list_transition_requests(model, "1")
    assert listed.activity_type is ActivityType.REQUESTED_TRANSITION
    assert listed.creation_timestamp == filed.creation_timestamp
    done = registry.approve_transition_request(model, "1", "Production", True, comment="fine").activity
    assert done is not None
    assert (done.activity_type, done.from_stage) == (ActivityType.APPROVED_REQUEST, "None")
    assert list(registry.list_transition_requests(model, "1")) == []
    assert somebody.shown(model)["current_stage"] == "Production"
    assert "fine" in somebody.shown(model)["tags"][DECISION]


def test_the_official_client_rejects_and_the_stage_stays(somebody: Person, name: Name) -> None:
    model, registry = somebody.model(name()), somebody.sdk()
    registry.create_transition_request(model, "1", "Production")
    done = registry.reject_transition_request(model, "1", "Production", comment="too early").activity
    assert done is not None
    assert done.activity_type is ActivityType.REJECTED_REQUEST
    assert somebody.shown(model)["current_stage"] == "None"
    assert "too early" in somebody.shown(model)["tags"][DECISION]


def test_the_official_client_withdraws(somebody: Person, name: Name) -> None:
    model, registry = somebody.model(name()), somebody.sdk()
    somebody.request("create", model, requester="ada")
    with pytest.raises(NotFound):
        registry.delete_transition_request(model, "1", "Production", "bob")
    done = registry.delete_transition_request(model, "1", "Production", "ada").activity
    assert done is not None
    assert done.activity_type is ActivityType.CANCELLED_REQUEST
    assert list(registry.list_transition_requests(model, "1")) == []


def test_the_official_client_knows_the_model_and_moves_what_is_not_protected(somebody: Person, name: Name) -> None:
    model, registry = somebody.model(name()), somebody.sdk()
    found = registry.get_model(model).registered_model_databricks
    assert found is not None
    assert (found.name, found.permission_level) == (model, PermissionLevel.CAN_MANAGE)
    registry.create_transition_request(model, "1", "Production")
    moved = registry.transition_stage(model, "1", "Staging", False, comment="try it").model_version_databricks
    assert moved is not None
    assert moved.current_stage == "Staging"
    assert [request.to_stage for request in moved.open_requests or []] == ["Production"]
    with pytest.raises(PermissionDenied):
        registry.transition_stage(model, "1", "Production", False)


def test_a_refusal_escapes_special_characters_of_a_models_name_once(somebody: Person, name: Name) -> None:
    plain = name()
    model, shown = somebody.model(f"a\\b\x1b\n{plain}"), f"'a\\b\\u001b\\n{plain}'"
    somebody.request("create", model)
    body = {"name": model, "version": "1", "stage": "Production"}
    again = somebody.send("POST", "transition-requests/create", json=body)
    assert f" for version 1 of {shown} to Production is already open" in again.json()["message"]
    none = somebody.send("POST", "transition-requests/approve", json=body | {"stage": "Archived"})
    assert none.json()["message"] == f"No open request for version 1 of {shown} to Archived."
    beyond = somebody.send("DELETE", "model-versions/delete", json={"name": model, "version": "9" * 10})
    assert beyond.json()["message"] == f"There is no version 9999999999 of {shown}."


def test_each_mistake_raises_the_clients_own_error(somebody: Person, name: Name) -> None:
    model, registry = somebody.model(name()), somebody.sdk()
    with pytest.raises(NotFound):
        registry.create_transition_request(model, "9", "Production")
    with pytest.raises(NotFound):
        registry.list_transition_requests(name(), "1")
    with pytest.raises(InvalidParameterValue):
        registry.create_transition_request(model, "1", "Prod")
    with pytest.raises(InvalidParameterValue):
        registry.create_transition_request(model, "1", "Production", comment="")
    with pytest.raises(InvalidParameterValue):
        registry.approve_transition_request(model, "1", "Archived", True)
    with pytest.raises(NotFound):
        registry.approve_transition_request(model, "1", "Production", False)
    with pytest.raises(NotFound):
        registry.reject_transition_request(model, "1", "Production")
    somebody.request("create", model, requester="ada")
    with pytest.raises(ResourceAlreadyExists, match=r"request \S+ of ada .* is already open"):
        registry.create_transition_request(model, "1", "Production")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "m"}, 400), ({"name": 7, "version": "1", "stage": "Production"}, 400),
        ({"name": "m", "version": "one", "stage": "Production"}, 400),
        ({"name": "m", "version": "1", "stage": "@latest"}, 400),
        ({"name": "m", "version": "1", "stage": "Production", "comment": "x" * 65_536}, 400),
        ("[]", 400), ("", 400), ("{", 400),
    ],
)  # fmt: skip
def test_an_invalid_call_is_answered_with_the_reason(somebody: Person, body: object, status: int) -> None:
    arguments = {"data": body} if isinstance(body, str) else {"json": body}
    assert somebody.code("POST", "transition-requests/create", **arguments) == (status, "INVALID_PARAMETER_VALUE")


def test_the_registrys_whole_list_comes_in_pages_and_names_what_it_lists(somebody: Person, name: Name) -> None:
    models = [somebody.model(name()) for _ in range(5)]
    for model in models:
        somebody.request("create", model, "@champion")
        somebody.request("create", model, "Staging")
    query = {"max_results": 3, "model": models}
    rows, token, pages = [], "", 0
    while pages == 0 or token:
        page = somebody.call("GET", "transition-requests/list", params={**query, "page_token": token})
        rows += page["requests"]
        token, pages = page.get("next_page_token", ""), pages + 1
    assert (pages, len({row["id"] for row in rows})) == (4, 10)
    assert {(row["name"], row["version"], row["to_stage"]) for row in rows} == {
        (model, "1", stage) for model in models for stage in ("@champion", "Staging")
    }
    only = somebody.call("GET", "transition-requests/list", params={"model": models, "target": "@champion"})
    assert {row["to_stage"] for row in only["requests"]} == {"@champion"}


def test_both_prefixes_and_both_ways_to_delete_answer(somebody: Person, name: Name) -> None:
    model = somebody.model(name())
    ajax = "/ajax-api/2.0/mlflow/transition-requests"
    for arguments in ({"json": {"name": model, "version": 1, "stage": "production"}},
                      {"params": {"name": model, "version": "1", "stage": "Production"}}):  # fmt: skip
        somebody.call("POST", f"{ajax}/create", json={"name": model, "version": "1", "stage": "Production"})
        somebody.call("DELETE", f"{ajax}/delete", **arguments)
    assert somebody.call("GET", f"{ajax}/list", params={"name": model, "version": "1"}) == {"requests": []}


def test_an_approval_names_the_request_that_was_read_or_decides_nothing(somebody: Person, name: Name) -> None:
    model = somebody.model(name())
    first = somebody.request("create", model)["request"]["id"]
    somebody.call("DELETE", "transition-requests/delete", json={"name": model, "version": "1", "stage": "Production"})
    second = somebody.request("create", model)["request"]["id"]
    body = {"name": model, "version": "1", "stage": "Production", "archive_existing_versions": False}
    refused = somebody.code("POST", "transition-requests/approve", json={**body, "id": first})
    assert refused == (404, "RESOURCE_DOES_NOT_EXIST")
    assert somebody.shown(model)["current_stage"] == "None"
    somebody.call("POST", "transition-requests/approve", json={**body, "id": second})


def test_an_approval_archives_only_if_the_call_says_so(somebody: Person, name: Name) -> None:
    model = somebody.model(name(), versions=2)
    somebody.request("create", model)
    somebody.request("approve", model, archive_existing_versions=False)
    body = {"name": model, "version": "2", "stage": "Production"}
    somebody.call("POST", "transition-requests/create", json=body)
    somebody.call("POST", "transition-requests/approve", json={**body, "archive_existing_versions": True})
    assert [somebody.shown(model, version)["current_stage"] for version in "12"] == ["Archived", "Production"]


@pytest.mark.parametrize("target", ["@Production", "@Staging", "Archived"])
def test_only_production_and_staging_archive_also_where_an_alias_has_their_name(
    somebody: Person, name: Name, target: str
) -> None:
    model = somebody.model(name())
    somebody.request("create", model, target)
    body = {"name": model, "version": "1", "stage": target, "archive_existing_versions": True}
    refused = somebody.code("POST", "transition-requests/approve", json=body)
    assert refused == (400, "INVALID_PARAMETER_VALUE")
    assert somebody.shown(model)["current_stage"] == "None"
    assert not somebody.shown(model).get("aliases")
    somebody.call("POST", "transition-requests/approve", json={**body, "archive_existing_versions": False})


def test_a_tag_from_before_the_app_is_a_request_like_any_other(somebody: Person, name: Name) -> None:
    """A server can go from tags to the app and back: both store the same."""
    model = somebody.model(name())
    somebody.request("create", model, requester="ada", comment="why")
    shown = somebody.shown(model)["tags"]["transition_request.stage.Production"]
    assert '"requester": "ada"' in shown
    assert '"comment": "why"' in shown


def test_a_request_for_a_prompt_is_refused(somebody: Person, name: Name) -> None:
    prompt = name()
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    somebody.call("POST", "registered-models/create", json={"name": prompt, "tags": tags})
    template = [*tags, {"key": "mlflow.prompt.text", "value": "hello"}]
    somebody.call("POST", "model-versions/create", json={"name": prompt, "source": "prompt-template", "tags": template})
    refused = somebody.code(
        "POST", "transition-requests/create", json={"name": prompt, "version": "1", "stage": "Staging"}
    )
    assert refused == (400, "INVALID_PARAMETER_VALUE")


def test_the_page_contains_no_data_and_runs_only_its_own_script(somebody: Person) -> None:
    reply = somebody.send("GET", "/transition-requests")
    policy = reply.headers["Content-Security-Policy"]
    nonce = policy.partition("script-src 'nonce-")[2].partition("'")[0]
    assert policy.startswith("default-src 'none'")
    assert f'<script nonce="{nonce}">' in reply.text
    assert reply.text.count("<script") == 1
    assert "innerHTML" not in reply.text
