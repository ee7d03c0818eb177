"""What the app tells of holders, to whom, and what the daemon makes of it: read from the audit database with SQL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from requests.auth import HTTPBasicAuth

from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, Times, appearing
from reconciler.demo.server import mlflow_server
from reconciler.domain.decision import Mode
from reconciler.domain.holding.looks import Wanted
from reconciler.domain.place import Place
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.registry.app import AppRegistry
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.transport import Transport
from tests.contract.conftest import Daemon
from tests.contract.test_resolutions import rows
from tests.mlflow_app.conftest import PASSWORD, Person

SCOPE = Scope.of_all_models([Target.parse("Production"), Target.parse("@champion")])


def registry_of(uri: str, user: str = "") -> AppRegistry:
    auth = HTTPBasicAuth(user, PASSWORD) if user else None
    transport = Transport(Endpoint(uri, auth))
    return AppRegistry(uri, "", transport, transport)


def move(person: Person, name: str, stage: str) -> None:
    body = {"name": name, "version": "1", "stage": stage}
    person.call("POST", "model-versions/transition-stage", json=body)


def test_holders_of_models_that_the_caller_may_not_read_are_not_told(auth_uri: str) -> None:
    root, name = Person(auth_uri, "root"), "hidden-from-bob"
    root.model(name)
    move(root, name, "Production")
    denied = {"username": "bob", "resource_type": "registered_model", "resource_id": name}
    path = "/api/3.0/mlflow/users/permissions/grant"
    root.call("POST", path, json={**denied, "permission": "DENY"})

    def held_as(user: str) -> set[str]:
        registry = registry_of(auth_uri, user)
        registry.open_requests(SCOPE, with_holders=True)
        return {seen.model for seen in registry.look(Wanted(SCOPE)).versions}

    assert name in held_as("svc")
    assert name not in held_as("bob")


def test_an_administrators_move_is_told_with_the_name(auth_uri: str, tmp_path: Path) -> None:
    daemon = Daemon(registry_of(auth_uri, "svc"), tmp_path)
    daemon.cycle()
    root = Person(auth_uri, "root")
    root.model("moved-by-root")
    for stage in ("Production", "Archived"):
        move(root, "moved-by-root", stage)
        daemon.cycle()
        daemon.cycle()
    found = rows(
        daemon,
        "SELECT began_by, ended_by, person, person_assurance, ended_by_person FROM tenures WHERE model = :model",
        model="moved-by-root",
    )
    assert found == [("administrator", "administrator", "root", "authenticated", "root")]
    daemon.engine.dispose()


def test_an_approver_is_named_where_the_app_authenticates(auth_uri: str, tmp_path: Path) -> None:
    daemon = Daemon(registry_of(auth_uri, "svc"), tmp_path)
    daemon.cycle()
    Person(auth_uri, "ada").model("approved-by-mia")
    Person(auth_uri, "ada").request("create", "approved-by-mia")
    Person(auth_uri, "mia").request("approve", "approved-by-mia")
    daemon.cycle()
    found = rows(
        daemon,
        "SELECT began_by, person, person_assurance FROM tenures WHERE model = :model",
        model="approved-by-mia",
    )
    assert found == [("person", "mia", "authenticated")]
    daemon.engine.dispose()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    targets = {"TRANSITION_REQUESTS_TARGETS": "Production,@champion"}
    directory = tmp_path_factory.mktemp("held")
    with mlflow_server(directory, "--app-name", "transition-requests", variables=targets) as uri:
        yield uri, directory / "mlflow.db"


def test_a_move_past_the_app_is_a_bypass(own_server: tuple[str, Path], tmp_path: Path) -> None:
    """Somebody writes into MLflow's database, where no wall stands."""
    uri, database = own_server
    daemon = Daemon(registry_of(uri), tmp_path)
    daemon.cycle()
    Person(uri).model("smuggled")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE model_versions SET current_stage = 'Production' WHERE name = 'smuggled'")
        connection.execute(
            "INSERT INTO registered_model_aliases (workspace, name, alias, version) "
            "SELECT workspace, name, 'champion', version FROM model_versions WHERE name = 'smuggled'"
        )
        connection.commit()
    daemon.cycle()
    daemon.cycle()
    found: list[tuple[Any, ...]] = rows(daemon, "SELECT target, began_by FROM tenures WHERE model = 'smuggled'")
    assert found == [("Production", "bypass")]
    daemon.engine.dispose()


def test_a_move_past_the_app_is_a_bypass_even_while_a_request_for_it_is_open(
    own_server: tuple[str, Path], tmp_path: Path
) -> None:
    """Whoever may read may ask; an approval would have left an entry in the app's history."""
    uri, database = own_server
    daemon = Daemon(registry_of(uri), tmp_path)
    run = daemon._cycle.run
    run(daemon.policy, Mode.OBSERVE)
    Person(uri).model("asked-and-smuggled")
    Person(uri).request("create", "asked-and-smuggled")
    run(daemon.policy, Mode.OBSERVE)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE model_versions SET current_stage = 'Production' WHERE name = 'asked-and-smuggled'")
        connection.commit()
    for _ in range(3):
        run(daemon.policy, Mode.OBSERVE)
    assert rows(daemon, "SELECT began_by FROM tenures WHERE model = 'asked-and-smuggled'") == [("bypass",)]
    daemon.engine.dispose()


def test_a_model_that_was_deleted_is_gone_for_an_account_that_administers_nothing(auth_uri: str) -> None:
    """basic-auth refuses to show versions of such a model, as it does those that the account may not read."""
    root = Person(auth_uri, "root")
    places = [Place(root.model(name), "1", Target.parse("Production")) for name in ("deleted-by-root", "still-there")]
    root.call("DELETE", "registered-models/delete", json={"name": "deleted-by-root"})
    denied = {"username": "svc", "resource_type": "registered_model", "resource_id": "still-there"}
    root.call("POST", "/api/3.0/mlflow/users/permissions/grant", json={**denied, "permission": "DENY"})
    seen = registry_of(auth_uri, "svc").look_at(places)
    assert (seen.gone, seen.refused) == (frozenset(places[:1]), frozenset(places[1:]))


def test_what_the_account_may_read_since_a_while_was_there_when_it_was_first_looked_at(
    auth_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another daemon finds it. A model that was read before, and moved while it could not be, is no baseline."""
    # Tests take seconds, and clocks are told in whole seconds.
    monkeypatch.setattr(appearing, "_CLOSE", timedelta(0))
    root, models = Person(auth_uri, "root"), ("old-to-bob", "known-to-bob")
    for model in models:
        root.model(model)
    permit(root, "grant", models[0], permission="DENY")
    time.sleep(2)
    first = daemon_of_bob(auth_uri, tmp_path)
    cycles(first)
    permit(root, "grant", models[1], permission="DENY")
    for model in models:
        move(root, model, "Production")
    time.sleep(2)
    cycles(first)
    for model in models:
        permit(root, "revoke", model)
    then = daemon_of_bob(auth_uri, tmp_path)
    cycles(then)
    found = rows(then, "SELECT model, began_by FROM tenures WHERE model LIKE '%-to-bob' ORDER BY model")
    assert found == [("known-to-bob", "bypass"), ("old-to-bob", "baseline")]
    for daemon in (first, then):
        daemon.engine.dispose()


def permit(root: Person, what: str, model: str, **more: str) -> None:
    body = {"username": "bob", "resource_type": "registered_model", "resource_id": model, **more}
    root.call("POST", f"/api/3.0/mlflow/users/permissions/{what}", json=body)


def daemon_of_bob(uri: str, place: Path) -> Daemon:
    """It looks at everything in each cycle."""
    daemon = Daemon(registry_of(uri, "bob"), place)
    log = SqlAuditLog(daemon.engine, "test:1", uri)
    times = Times(full_look=timedelta(0))
    daemon._cycle = Cycle(registry_of(uri, "bob"), log, times=times, everything_is_due=True)
    return daemon


def cycles(daemon: Daemon) -> None:
    """The app tells everything anew in every second one."""
    for _ in range(4):
        daemon._cycle.run(daemon.policy, Mode.OBSERVE)
