"""Who may do what on basic-auth: ada READ, bob EDIT, mia MANAGE and approver, svc READ and approver, root admin."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.mlflow_app.conftest import Person

Name = Callable[[], str]
APPROVE = {"archive_existing_versions": False}


class People:
    def __init__(self, uri: str) -> None:
        self.ada, self.bob, self.mia, self.svc, self.root = (
            Person(uri, user) for user in ("ada", "bob", "mia", "svc", "root")
        )


@pytest.fixture
def people(auth_uri: str) -> People:
    return People(auth_uri)


@pytest.fixture
def model(people: People, name: Name) -> str:
    model = people.root.model(f"auth-{name()}", versions=2)
    for user, level in (("bob", "EDIT"), ("mia", "MANAGE")):
        body = {"username": user, "resource_type": "registered_model", "resource_id": model, "permission": level}
        people.root.call("POST", "/api/3.0/mlflow/users/permissions/grant", json=body)
    return model


def tried(person: Person, call: str, model: str, **more: object) -> tuple[int, str]:
    body = {"name": model, "version": "1", "stage": "Production", **more}
    return person.code("POST", f"transition-requests/{call}", json=body)


def test_readers_may_request_and_the_requester_is_the_authenticated_user(people: People, model: str) -> None:
    assert people.ada.request("create", model, requester="somebody else")["request"]["user_id"] == "ada"
    [row] = people.svc.call("GET", "transition-requests/list", params={"model": model})["requests"]
    assert (row["user_id"], row["requester_assurance"]) == ("ada", "authenticated")


def test_a_tag_that_claims_a_requester_is_not_taken_for_an_authenticated_one(people: People, model: str) -> None:
    people.ada.request("create", model)
    key = "transition_request.stage.Production"
    written = people.root.shown(model)["tags"][key]
    forged = written.replace('"requester": "ada"', '"requester": "mia"')
    people.root.call(
        "POST", "model-versions/set-tag", json={"name": model, "version": "1", "key": key, "value": forged}
    )
    [row] = people.svc.call("GET", "transition-requests/list", params={"model": model})["requests"]
    assert (row["user_id"], row["requester_assurance"]) == ("mia", "asserted")


def test_only_approvers_approve_and_never_their_own_requests(people: People, model: str) -> None:
    people.mia.request("create", model)
    refused = (403, "PERMISSION_DENIED")
    for person in (people.ada, people.bob, people.root):
        assert tried(person, "approve", model, **APPROVE) == refused
        assert tried(person, "reject", model) == refused
    assert tried(people.mia, "approve", model, **APPROVE) == refused
    done = people.svc.request("approve", model, comment="looked at it", **APPROVE)
    assert done["activity"]["user_id"] == "svc"
    decision = people.ada.shown(model)["tags"]["transition_decision.stage.Production"]
    assert "by svc, as mia asked: looked at it" in decision


def test_only_the_requester_or_a_manager_withdraws(people: People, model: str) -> None:
    query = {"name": model, "version": "1", "stage": "Production", "creator": "ada"}
    people.ada.request("create", model)
    assert people.bob.code("DELETE", "transition-requests/delete", params=query) == (403, "PERMISSION_DENIED")
    people.ada.call("DELETE", "transition-requests/delete", params=query)
    people.ada.request("create", model)
    people.mia.call("DELETE", "transition-requests/delete", params=query)


def test_the_list_names_the_actions_that_each_user_may_take(people: People, model: str) -> None:
    people.ada.request("create", model)
    cancel, approve, reject = (f"{word}_TRANSITION_REQUEST" for word in ("CANCEL", "APPROVE", "REJECT"))

    def actions(person: Person) -> list[str]:
        [row] = person.call("GET", "transition-requests/list", params={"name": model, "version": "1"})["requests"]
        return sorted(row["available_actions"])

    assert actions(people.ada) == [cancel]
    assert actions(people.bob) == []
    assert actions(people.svc) == sorted([approve, reject])
    assert actions(people.mia) == sorted([cancel, approve, reject])


@pytest.mark.parametrize(
    ("user", "level"),
    [("ada", "CAN_READ"), ("bob", "CAN_EDIT"), ("mia", "CAN_MANAGE"), ("svc", "CAN_MANAGE_PRODUCTION_VERSIONS")],
)
def test_the_permission_level_is_returned(people: People, model: str, user: str, level: str) -> None:
    answer = getattr(people, user).call("GET", "databricks/registered-models/get", params={"name": model})
    assert answer["registered_model_databricks"]["permission_level"] == level


def test_even_a_manager_moves_nothing_directly_and_an_administrator_is_recorded(people: People, model: str) -> None:
    body = {"name": model, "version": "1", "stage": "Production"}
    assert people.mia.code("POST", "model-versions/transition-stage", json=body) == (403, "PERMISSION_DENIED")
    people.root.call("POST", "model-versions/transition-stage", json=body)
    decision = people.ada.shown(model)["tags"]["transition_decision.stage.Production"]
    assert decision.startswith("Moving a version into Production")
    assert decision.endswith("by administrator root, directly.")


def test_an_administrators_alias_and_rename_are_recorded_too(people: People, model: str) -> None:
    people.root.call("POST", "registered-models/alias", json={"name": model, "version": "2", "alias": "champion"})
    assert "by administrator root" in people.root.shown(model, "2")["tags"]["transition_decision.alias.champion"]
    people.root.call("POST", "registered-models/rename", json={"name": model, "new_name": f"{model}-new"})
    decision = people.root.shown(f"{model}-new", "2")["tags"]["transition_decision.alias.champion"]
    assert decision.startswith("Renaming a model with a version that holds @champion")
    people.root.call("DELETE", "registered-models/alias", json={"name": f"{model}-new", "alias": "champion"})
    decision = people.root.shown(f"{model}-new", "2")["tags"]["transition_decision.alias.champion"]
    assert decision.startswith("Deleting the alias @champion")


def test_a_call_without_a_password_is_refused(auth_uri: str, model: str) -> None:
    assert Person(auth_uri).send("GET", "transition-requests/list").status_code == 401


def test_a_model_without_read_permission_is_neither_listed_nor_requested(people: People, model: str) -> None:
    body = {"username": "ada", "resource_type": "registered_model", "resource_id": model, "permission": "DENY"}
    people.root.call("POST", "/api/3.0/mlflow/users/permissions/grant", json=body)
    people.bob.request("create", model)
    assert people.ada.call("GET", "transition-requests/list", params={"model": model})["requests"] == []
    assert tried(people.ada, "create", model, stage="Staging")[0] == 403
    assert people.ada.send("GET", "databricks/registered-models/get", params={"name": model}).status_code == 403
