"""A foreign page in an approver's browser cannot approve in the approver's name; our own page and clients can."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.demo.server import mlflow_server
from tests.mlflow_app.conftest import API, Person

Name = Callable[[], str]
ELSEWHERE: list[dict[str, str]] = [
    {"Origin": "http://localhost:9"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "null"},
    {"Origin": "https://evil.example.com"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:9"},
]


@pytest.fixture(scope="module")
def wide_open(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """A server that accepts calls from every origin, behind a proxy of another name."""
    directory: Path = tmp_path_factory.mktemp("cors")
    variables = {"TRANSITION_REQUESTS_PUBLIC_URL": "https://mlflow.example.com/ui"}
    arguments = ("--app-name", "transition-requests", "--cors-allowed-origins", "*")
    with mlflow_server(directory, *arguments, variables=variables) as uri:
        yield Person(uri)


@pytest.fixture(params=["as MLflow has it", "cors-allowed-origins *"])
def person(request: pytest.FixtureRequest) -> Person:
    fixture = "somebody" if request.param == "as MLflow has it" else "wide_open"
    person: Person = request.getfixturevalue(fixture)
    return person


@pytest.fixture
def body(person: Person, name: Name) -> dict[str, Any]:
    model = person.model(f"page-{name()}")
    person.request("create", model)
    return {"name": model, "version": "1", "stage": "Production"}


@pytest.mark.parametrize("headers", ELSEWHERE, ids=lambda headers: " ".join(headers.values()))
@pytest.mark.parametrize("call", ["approve", "reject", "create", "delete", "transition-stage"])
def test_a_call_from_another_page_is_refused(
    person: Person, body: dict[str, Any], call: str, headers: dict[str, str]
) -> None:
    before = person.shown(body["name"])
    path = f"{API}/transition-requests/{call}"
    if call == "transition-stage":
        path, body["stage"] = f"{API}/databricks/model-versions/transition-stage", "Staging"
    if call == "create":
        body["stage"] = "Staging"
    if call == "approve":
        body["archive_existing_versions"] = False
    for spelling in (path, path.replace("/api/", "/ajax-api/")):
        method = "DELETE" if call == "delete" else "POST"
        reply = person.send(method, spelling, headers=headers, json=body)
        assert reply.status_code == 403, reply.text
    assert person.shown(body["name"]) == before


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_page_can_send_without_asking_the_server_is_not_read(
    person: Person, body: dict[str, Any], content_type: str
) -> None:
    before = person.shown(body["name"])
    headers = {"Content-Type": content_type} if content_type else {}
    as_json = json.dumps({**body, "archive_existing_versions": False}).encode()
    for sent in (
        {"data": as_json, "headers": headers},
        {"params": body, "headers": headers},
        {"params": body, "json": {**body, "archive_existing_versions": False}},
        {"data": body},
    ):
        for call in ("approve", "reject", "create"):
            reply = person.send("POST", f"transition-requests/{call}", **sent)
            assert (reply.status_code, reply.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), reply.text
    assert person.shown(body["name"]) == before


def test_our_own_page_and_the_one_behind_a_proxy_may_call(person: Person, body: dict[str, Any]) -> None:
    for number, headers in enumerate(({"Origin": person.uri}, {"Sec-Fetch-Site": "same-origin"}, {})):
        stage = ("Staging", "Archived", "@champion")[number]
        person.call("POST", "transition-requests/create", json={**body, "stage": stage}, headers=headers)


def test_the_public_address_counts_as_our_own(wide_open: Person, name: Name) -> None:
    model = wide_open.model(f"page-{name()}")
    body = {"name": model, "version": "1", "stage": "Production"}
    headers = {"Origin": "https://mlflow.example.com"}
    wide_open.call("POST", "transition-requests/create", json=body, headers=headers)


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": "²"}, {"version": " 1"}, {"version": "01"}, {"version": "1\n"}, {"version": True},
        {"version": 1.0}, {"version": "9" * 11}, {"comment": "half \ud800"}, {"comment": "nul \0"}, {"comment": 7},
        {"archive_existing_versions": "perhaps"}, {"archiveExistingVersions": True}, {"stage": "@v1"}, {"stage": []},
        {"unknown": "field"}, {"name": ""}, {"name": None}, {"id": ""},
    ],
    ids=str,
)  # fmt: skip
def test_a_malformed_call_is_answered_in_one_sentence_and_changes_nothing(
    person: Person, body: dict[str, Any], wrong: dict[str, Any]
) -> None:
    before = person.shown(body["name"])
    sent = json.dumps({**body, "archive_existing_versions": False, **wrong})
    for call in ("approve", "reject", "create"):
        path = f"transition-requests/{call}"
        reply = person.send("POST", path, data=sent, headers={"Content-Type": "application/json"})
        assert reply.status_code == 400, reply.text
        message = reply.json()["message"]
        assert message.endswith((".", "?")), message
        assert "\n" not in message
    assert person.shown(body["name"]) == before


@pytest.mark.parametrize("sent", ["", "[]", "7", "null", '"{}"', "{", '{"name": 1, "name": 2}', '{"name": NaN}'])
def test_a_body_that_is_not_an_object_is_answered_with_400(person: Person, sent: str) -> None:
    for call in ("approve", "reject", "create"):
        reply = person.send(
            "POST", f"transition-requests/{call}", data=sent, headers={"Content-Type": "application/json"}
        )
        assert reply.status_code == 400, reply.text


def test_an_empty_creator_counts_as_none(person: Person, body: dict[str, Any]) -> None:
    """Users of databricks-sdk pass `request.user_id or ""`."""
    person.sdk().delete_transition_request(body["name"], "1", "Production", creator="")
    assert person.call("GET", "transition-requests/list", params={"model": body["name"]})["requests"] == []


def test_a_comment_that_is_not_text_does_not_withdraw(person: Person, body: dict[str, Any]) -> None:
    sent = json.dumps({**body, "comment": "never mind \ud800"})
    reply = person.send("DELETE", "transition-requests/delete", data=sent, headers={"Content-Type": "application/json"})
    assert reply.status_code == 400
    assert len(person.call("GET", "transition-requests/list", params={"model": body["name"]})["requests"]) == 1


def token(value: str) -> str:
    return base64.urlsafe_b64encode(value.encode()).decode()


@pytest.mark.parametrize(
    "query",
    [
        {"page_token": token('["m",Infinity,"k"]')}, {"page_token": token('["m",1e30,"k"]')},
        {"page_token": token('["m",99999999999999999999,"k"]')}, {"page_token": token('["\\ud800",1,"k"]')},
        {"page_token": token('["m\\u0000",1,"k"]')}, {"page_token": token('["m",3000000000,"k"]')},
        {"page_token": token("[1,2,3]")}, {"model": "m\0"}, {"max_results": "0"}, {"max_results": "²"},
        {"name": "m", "version": "9" * 10}, {"target": "@" + "a" * 230},
    ],
    ids=str,
)  # fmt: skip
def test_a_list_that_cannot_be_read_is_answered_in_one_sentence(person: Person, query: dict[str, str]) -> None:
    reply = person.send("GET", "transition-requests/list", params=query)
    assert reply.status_code in {400, 404}, reply.text
    assert "SQL" not in reply.text.replace("sqlstate", "")


def test_a_page_cannot_state_what_the_policy_governs(person: Person, name: Name) -> None:
    model = person.model(f"page-{name()}")
    everything, nothing = (json.dumps([{"models": [glob], "targets": ["Production"]}]) for glob in ("*", "nothing"))
    daemon = {"User-Agent": "mlflow-reconciler"}
    person.call("GET", "transition-requests/list", params={"governed": everything}, headers=daemon)
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {}):
        person.call("GET", "transition-requests/list", params={"governed": nothing}, headers=headers)
    assert "warning" not in person.request("create", model)


def test_a_version_has_a_maximum_of_open_requests(person: Person, name: Name) -> None:
    model = person.model(f"page-{name()}")
    for number in range(20):
        person.request("create", model, f"@a{number}")
    reply = person.send(
        "POST", "transition-requests/create", json={"name": model, "version": "1", "stage": "@one-more"}
    )
    assert (reply.status_code, reply.json()["error_code"]) == (409, "RESOURCE_ALREADY_EXISTS")
    long = {"name": model, "version": "1", "stage": "Staging", "comment": "é" * 40_000}
    assert person.send("POST", "transition-requests/create", json=long).status_code == 400
