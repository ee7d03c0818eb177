"""The hostile calls of the fuzz test against real servers: several workers, each kind of server, each database."""

from __future__ import annotations

import dataclasses
import http.client
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from reconciler.demo.server import mlflow_server
from tests.mariadb import mariadb, on_mariadb
from tests.mlflow_app.fuzz_calls import Call, Scene, make_calls
from tests.mlflow_app.fuzz_driver import (
    PREFIX,
    Mode,
    Outcome,
    Trial,
    authorization,
    careful,
    operator_variables,
)
from tests.mlflow_app.fuzz_routes import Route, routes_of
from tests.mlflow_app.fuzz_world import World, build
from tests.mlflow_app.test_fuzz import SEED, findings
from tests.postgres import PostgresServer

CALLS = 80
pytestmark = pytest.mark.timeout(600)

MODES = {
    "uvicorn with 4 workers": Mode("basic-auth"),
    "uvicorn with 4 workers on PostgreSQL": Mode("basic-auth with workspaces", workspaces=True),
    "gunicorn": Mode("nobody logs in, a prefix", "gunicorn", login=False, workspaces=True, prefix=PREFIX),
    "gunicorn on PostgreSQL": Mode("managers approve", "gunicorn", managers_approve=True),
}


@pytest.mark.parametrize("name", MODES)
def test_no_call_to_a_real_server_makes_an_unauthorized_change(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    mode, uri = MODES[name], f"sqlite:///{tmp_path}/mlflow.db"
    if "PostgreSQL" in name:
        postgres: PostgresServer = request.getfixturevalue("postgres")
        uri = postgres.new_database()
    outcome = besieged(mode, tmp_path, uri)
    assert len(outcome.statuses) == CALLS
    assert not outcome.wrong, findings([outcome], "wrong")
    assert Counter(status // 100 for status in outcome.statuses)[2] >= 5


@on_mariadb
def test_no_call_to_a_server_on_mariadb_makes_an_unauthorized_change(tmp_path: Path) -> None:
    """MariaDB compares names without case, and its triggers do not see cascades."""
    with mariadb(tmp_path / "mariadb") as uri:
        outcome = besieged(Mode("basic-auth with workspaces", workspaces=True), tmp_path, uri)
    assert not outcome.wrong, findings([outcome], "wrong")


def besieged(mode: Mode, directory: Path, uri: str) -> Outcome:
    """Starts a server on a world of its own and sends it calls."""
    world = build(uri, directory, workspaces=mode.workspaces, auth=mode.login, direct="file")
    arguments = [
        "--app-name",
        "transition-requests",
        "--workers",
        "4" if mode.server == "uvicorn" else "2",
        "--backend-store-uri",
        uri,
    ]
    arguments += ["--gunicorn-opts="] if mode.server == "gunicorn" else []
    arguments += ["--static-prefix", mode.prefix] if mode.prefix else []
    variables = operator_variables(mode, directory, uri)
    calls = made(mode, world)
    outcome = Outcome(mode.name, SEED, [])
    with mlflow_server(directory, *arguments, variables=variables) as address:
        trial = Trial(mode, directory, uri, world)
        for seen in trial.run(calls, careful(http_sender(address))):
            outcome.add(seen)
    return outcome


def made(mode: Mode, world: World) -> list[Call]:
    scene = Scene(world, mode.login, mode.workspaces, dangerous_only=True, share=0.15)
    return make_calls(routes(mode), scene, SEED)[:CALLS]


def routes(mode: Mode) -> list[Route]:
    """MLflow's tables as this process has them, and the app's own routes, as the server has them."""
    from mlflow.server import app as flask_app
    from mlflow.server.fastapi_app import app as fastapi_app

    known = {(route.method, route.rule): route for route in routes_of(flask_app, None)}
    for way, (method, call, endpoint) in itertools.product(("/api/2.0", "/ajax-api/2.0"), _OWN):
        family = "registry" if "stage" in endpoint else "requests"
        known[method, f"{way}/mlflow/{call}"] = Route(method, f"{way}/mlflow/{call}", endpoint, family, False)
    flask = [dataclasses.replace(route, rule=mode.prefix + route.rule) for route in known.values()]
    native = [route for route in routes_of(flask_app, fastapi_app) if route.native] if mode.server == "uvicorn" else []
    return [*flask, *native]


_OWN = (
    ("POST", "transition-requests/create", "transition_requests_create"),
    ("POST", "transition-requests/approve", "transition_requests_approve"),
    ("POST", "transition-requests/reject", "transition_requests_reject"),
    ("DELETE", "transition-requests/delete", "transition_requests_delete"),
    ("POST", "databricks/model-versions/transition-stage", "transition_requests_transition_stage"),
)


def http_sender(address: str) -> Callable[[Call], tuple[int, str]]:
    """Sends the path as it is spelled; each call on a connection of its own, so that every worker gets some."""
    at = urlsplit(address)

    def send(call: Call) -> tuple[int, str]:
        connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=60)
        try:
            headers = call.headers | authorization(call.identity)
            connection.request(call.method, call.path, call.body, headers)
            reply = connection.getresponse()
            return reply.status, reply.read().decode("utf-8", "replace")
        finally:
            connection.close()

    return send
