"""Each way to serve the app, each database, several workers, and a server without the app beside one with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from reconciler.demo.server import ServerFailed, mlflow_server
from reconciler.mlflow_app.options import OptionsError, read_options
from tests import forker
from tests.mlflow_app.conftest import Person
from tests.postgres import PostgresServer

APP = ("--app-name", "transition-requests")


@pytest.fixture(
    params=["uvicorn with 4 workers", "uvicorn with 4 workers on PostgreSQL", "gunicorn with 4 workers", "waitress"]
)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Person]:
    options = {"gunicorn with 4 workers": ["--gunicorn-opts="], "waitress": ["--waitress-opts="]}
    arguments = [*APP, *options.get(request.param, []), "--workers", "4"]
    if "PostgreSQL" in request.param:
        server: PostgresServer = request.getfixturevalue("postgres")
        arguments += ["--backend-store-uri", server.new_database()]
    with mlflow_server(tmp_path, *arguments) as uri:
        yield Person(uri)


def test_of_concurrent_approvals_one_succeeds_and_the_others_find_nothing_open(served: Person) -> None:
    place = {"name": "fraud", "version": "1", "stage": "Production"}
    body = {**place, "archive_existing_versions": False}
    served.model("fraud")
    with ThreadPoolExecutor(4) as people:
        for _ in range(5):
            created = [people.submit(served.send, "POST", "transition-requests/create", json=place) for _ in range(4)]
            assert sorted(future.result().status_code for future in created) == [200, 409, 409, 409]
            done = [people.submit(served.send, "POST", "transition-requests/approve", json=body) for _ in range(4)]
            assert sorted(future.result().status_code for future in done) == [200, 404, 404, 404]
    assert served.shown("fraud")["current_stage"] == "Production"
    assert served.call("GET", "transition-requests/list")["requests"] == []


def test_what_is_not_protected_behaves_as_on_a_server_without_the_app(mlflow_uri: str, tmp_path: Path) -> None:
    with mlflow_server(tmp_path, *APP, variables={"TRANSITION_REQUESTS_TARGETS": "Production"}) as uri:
        assert a_day_in_the_registry(MlflowClient(uri, uri)) == a_day_in_the_registry(
            MlflowClient(mlflow_uri, mlflow_uri)
        )


def a_day_in_the_registry(client: MlflowClient) -> list[Any]:
    """What MlflowClient's registry calls answer, without times."""
    seen: list[Any] = []

    def note(call: str, *arguments: Any, **named: Any) -> Any:
        try:
            answer = getattr(client, call)(*arguments, **named)
        except MlflowException as error:
            seen.append((call, error.error_code))
            return None
        seen.append((call, _without_times(answer)))
        return answer

    note("create_registered_model", "day", {"team": "risk"}, "a model")
    note("create_registered_model", "day")
    for _ in range(3):
        note("create_model_version", "day", "s3://bucket/model", tags={"k": "v"})
    note("update_model_version", "day", "1", "described")
    note("set_model_version_tag", "day", "1", "note", "x")
    note("delete_model_version_tag", "day", "1", "note")
    note("set_registered_model_tag", "day", "team", "fraud")
    note("delete_registered_model_tag", "day", "team")
    note("update_registered_model", "day", "another")
    note("transition_model_version_stage", "day", "1", "Staging")
    note("transition_model_version_stage", "day", "2", "Staging", archive_existing_versions=True)
    note("transition_model_version_stage", "day", "9", "Staging")
    note("transition_model_version_stage", "day", "1", "Nowhere")
    note("set_registered_model_alias", "day", "challenger", "2")
    note("get_model_version_by_alias", "day", "challenger")
    note("delete_registered_model_alias", "day", "challenger")
    note("get_latest_versions", "day")
    note("search_model_versions", "name='day'")
    note("search_registered_models", "name='day'")
    note("rename_registered_model", "day", "night")
    note("delete_model_version", "night", "3")
    note("get_model_version", "night", "3")
    note("delete_registered_model", "night")
    note("get_registered_model", "night")
    return seen


def _without_times(answer: Any) -> Any:
    if isinstance(answer, list):
        return [_without_times(item) for item in answer]
    if not hasattr(answer, "__dict__"):
        return answer
    shown = {key: value for key, value in vars(answer).items() if "time" not in key}
    return {key: _without_times(value) if isinstance(value, list) else repr(value) for key, value in shown.items()}


def test_without_authentication_the_start_warns_once_that_anyone_can_approve(tmp_path: Path) -> None:
    with mlflow_server(tmp_path, *APP, "--workers", "3") as uri:
        Person(uri).call("GET", "transition-requests/list")
    log = (tmp_path / "mlflow-server.log").read_text()
    assert log.count("Production protected; no authentication: anyone can approve") == 1


def test_a_static_prefix_is_kept(tmp_path: Path) -> None:
    with mlflow_server(tmp_path, *APP, "--static-prefix", "/ml") as uri:
        assert Person(uri).call("GET", "/ml/api/2.0/mlflow/transition-requests/list") == {"requests": []}
        assert (
            '"/ml/ajax-api/2.0/mlflow/transition-requests/"' in Person(uri).send("GET", "/ml/transition-requests").text
        )


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TRANSITION_REQUESTS_TARGETS", "Prod", "TRANSITION_REQUESTS_TARGETS: 'Prod' is not a target"),
        ("TRANSITION_REQUESTS_AUTH", "basic-auth", "basic-auth needs MLFLOW_FLASK_SERVER_SECRET_KEY"),
    ],
)
def test_a_wrong_option_ends_the_command_with_one_sentence(
    variable: str, value: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ServerFailed), mlflow_server(tmp_path, *APP, variables={variable: value}):
        pass
    log = (tmp_path / "mlflow-server.log").read_text()
    assert "Traceback" not in log
    assert [line for line in log.splitlines() if said in line] == [log.splitlines()[-1]]
    assert log.splitlines()[-1].startswith(f"Error: {said}")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"TRANSITION_REQUESTS_TARGET": "Production"}, "did you mean TRANSITION_REQUESTS_TARGETS"),
        ({"TRANSITION_REQUESTS_AUTH": "oidc"}, "unknown value 'oidc'"),
        ({"TRANSITION_REQUESTS_APPROVERS": "svc"}, "set TRANSITION_REQUESTS_AUTH=basic-auth too"),
        ({"TRANSITION_REQUESTS_SELF_APPROVAL": "yes"}, "use allow or deny"),
        ({"TRANSITION_REQUESTS_TARGETS": "@latest"}, "is reserved by MLflow"),
    ],
)
def test_each_wrong_option_is_named(variables: dict[str, str], message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        read_options(variables)


def test_loading_the_entry_point_serves_nothing() -> None:
    """`mlflow server` loads it only to see whether it is a function."""
    code = "from reconciler.mlflow_app import app; print(type(app.application).__name__)"
    done = forker.run(forker.MLFLOW, "-c", code, environment=os.environ)
    assert done.stdout.strip() == "str"
