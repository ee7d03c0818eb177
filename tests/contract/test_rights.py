"""What an account may not read, and may read later, on a real server with basic-auth; triggers tell what was held when.

The daemon is no administrator. MLflow refuses it what it may not read and what is not there in the same words.
"""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from requests.auth import HTTPBasicAuth
from sqlalchemy import Engine, text

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce, Times, appearing
from reconciler.demo.server import mlflow_server
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Transport
from tests.builders import accuracy_policy
from tests.contract.test_tenures_at_random import WITNESS
from tests.mlflow_app.conftest import PASSWORD, Person

TARGETS = ("Production", "@champion")
_numbers = itertools.count(1)


@dataclass
class Scene:
    """`root` may do everything, the daemon is `svc`. Rights are of one model."""

    uri: str
    database: Path
    root: Person

    def deny(self, model: str) -> None:
        self._permit("grant", model, permission="DENY")

    def allow(self, model: str) -> None:
        self._permit("revoke", model)

    def _permit(self, what: str, model: str, **more: str) -> None:
        body = {"username": "svc", "resource_type": "registered_model", "resource_id": model, **more}
        self.root.call("POST", f"/api/3.0/mlflow/users/permissions/{what}", json=body)

    def move(self, model: str, target: str) -> None:
        if target.startswith("@"):
            body = {"name": model, "alias": target[1:], "version": "1"}
            self.root.call("POST", "registered-models/alias", json=body)
        else:
            body = {"name": model, "version": "1", "stage": target}
            self.root.call("POST", "model-versions/transition-stage", json=body)

    def taken(self, model: str) -> list[tuple[Any, ...]]:
        """As MLflow's database says."""
        with closing(sqlite3.connect(self.database, timeout=30)) as connection:
            query = "SELECT target FROM witness WHERE name = ? AND held = 1 ORDER BY seq"
            return connection.execute(query, (model,)).fetchall()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("rights")
    config = directory / "basic_auth.ini"
    config.write_text(
        f"[mlflow]\ndefault_permission = MANAGE\ndatabase_uri = sqlite:///{directory}/auth.db\n"
        "admin_username = root\nadmin_password =\nauth_cache_ttl_seconds = 3600\n"
    )
    variables = {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a secret of this test",
    }
    with mlflow_server(directory, "--app-name", "basic-auth", variables=variables) as uri:
        root = Person(uri, "root")
        root.call("POST", "users/create", json={"username": "svc", "password": PASSWORD})
        with closing(sqlite3.connect(directory / "mlflow.db", timeout=30)) as connection:
            connection.executescript(WITNESS)
        yield Scene(uri, directory / "mlflow.db", root)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    engine = make_engine(url)
    yield engine
    engine.dispose()


class Daemon:
    """It looks at everything in each cycle."""

    def __init__(self, scene: Scene, engine: Engine) -> None:
        self.engine = engine
        transport = Transport(Endpoint(scene.uri, HTTPBasicAuth("svc", PASSWORD)))
        registry = TagsRegistry(scene.uri, "", transport, transport)
        times = Times(full_look=timedelta(0))
        self._cycle = Cycle(registry, SqlAuditLog(engine, "test:1", scene.uri), times=times, everything_is_due=True)
        loaded = parse_policy(accuracy_policy(targets='Production, "@champion"'), "policy.yaml")
        self._policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)

    def cycles(self, many: int = 2) -> None:
        for _ in range(many):
            self._cycle.run(self._policy, Mode.ENFORCE)

    def tenures(self, model: str) -> list[tuple[Any, ...]]:
        query = "SELECT target, began_by, last_seen_without, ended_by FROM tenures WHERE model = :model ORDER BY target"
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(query), {"model": model})]


@pytest.fixture
def daemon(scene: Scene, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    # Tests take seconds, and clocks are told in whole seconds.
    monkeypatch.setattr(appearing, "_CLOSE", timedelta(0))
    return Daemon(scene, engine)


@pytest.fixture
def model(scene: Scene) -> str:
    return f"rights-{next(_numbers)}"


def test_what_held_before_the_account_may_read_it_was_there_when_first_looked_at(
    scene: Scene, daemon: Daemon, model: str
) -> None:
    scene.root.model(model)
    scene.deny(model)
    for target in TARGETS:
        scene.move(model, target)
    wait()
    daemon.cycles()
    assert daemon.tenures(model) == []
    scene.allow(model)
    daemon.cycles()
    assert daemon.tenures(model) == [(target, "baseline", None, None) for target in sorted(TARGETS)]
    assert scene.taken(model) == [(target,) for target in TARGETS]


def test_a_model_that_was_made_since_and_hidden_for_a_while_is_no_baseline(
    scene: Scene, daemon: Daemon, model: str
) -> None:
    daemon.cycles()
    wait()
    scene.root.model(model)
    scene.deny(model)
    for target in TARGETS:
        scene.move(model, target)
    scene.allow(model)
    daemon.cycles()
    assert [row[:2] for row in daemon.tenures(model)] == [(target, "bypass") for target in sorted(TARGETS)]


def test_a_right_that_is_withdrawn_for_a_while_hides_no_move(scene: Scene, daemon: Daemon, model: str) -> None:
    scene.root.model(model)
    wait()
    daemon.cycles()
    scene.deny(model)
    daemon.cycles()
    for target in TARGETS:
        scene.move(model, target)
    daemon.cycles()
    scene.allow(model)
    daemon.cycles()
    assert [row[:2] for row in daemon.tenures(model)] == [(target, "bypass") for target in sorted(TARGETS)]


def test_what_is_moved_after_the_account_may_read_its_model_is_a_bypass(
    scene: Scene, daemon: Daemon, model: str
) -> None:
    scene.root.model(model)
    scene.deny(model)
    wait()
    daemon.cycles()
    scene.allow(model)
    daemon.cycles(1)
    for target in TARGETS:
        scene.move(model, target)
    daemon.cycles()
    assert [row[:2] for row in daemon.tenures(model)] == [(target, "bypass") for target in sorted(TARGETS)]


def test_a_new_name_is_recognised_where_the_account_is_refused_the_old_one(
    scene: Scene, daemon: Daemon, model: str
) -> None:
    scene.root.model(model)
    for target in TARGETS:
        scene.move(model, target)
    daemon.cycles()
    new = f"{model}-new"
    scene.root.call("POST", "registered-models/rename", json={"name": model, "new_name": new})
    seen = Person(scene.uri, "svc").send("GET", "model-versions/get", params={"name": model, "version": "1"})
    assert seen.status_code == 403
    daemon.cycles()
    assert [row[1] for row in daemon.tenures(new)] == ["rename", "rename"]
    assert [(row[1], row[3]) for row in daemon.tenures(model)] == [("baseline", "rename")] * 2


def wait() -> None:
    """Two seconds: an answer's `Date` has whole ones."""
    time.sleep(2)
