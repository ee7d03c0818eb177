"""One world, three registries: tags and the app on real MLflow servers, Databricks as the worst double."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import text

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, CycleSummary, PolicyInForce, Times
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from reconciler.ports import Unavailable
from reconciler.registry.app import AppRegistry
from reconciler.registry.budget import Budget
from reconciler.registry.databricks import DatabricksRegistry, SweepTiming
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.speaking import Speaking
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Limits, Transport
from tests.acceptance.conftest import Server, served
from tests.builders import accuracy_policy
from tests.databricks_double import Asked, Workspace, workspace

POLICY = accuracy_policy(keys="archive_existing: true")
ALIAS_POLICY = accuracy_policy(targets='"@champion"')
ALIAS_REQUEST = "transition_request.alias.champion"
ACTS = ("transition-requests/approve", "transition-requests/reject", "model-versions/transition-stage",
        "model-versions/set-tag", "model-versions/delete-tag")  # fmt: skip


class Faulty(Transport):
    """A transport whose network fails on demand, before the server hears of a call or after it has answered.

    `meanwhile` is done once, after the next call has been answered: what somebody else does between two calls.
    """

    fail_before: str = ""
    fail_after: str = ""
    meanwhile: Callable[[], None] | None = None
    sent: list[str]
    read: set[str]

    def _send(self, method: str, path: str, ends: float, **arguments: Any) -> Any:
        if self.fail_before and path.endswith(self.fail_before):
            self.fail_before = ""
            raise Unavailable(f"{method} {path}: connection refused")
        self.__dict__.setdefault("sent", []).append(path)
        if not path.endswith(ACTS):
            self.__dict__.setdefault("read", set()).add(kind_of_call(method, path, arguments))
        answer = super()._send(method, path, ends, **arguments)
        if self.fail_after and path.endswith(self.fail_after):
            self.fail_after = ""
            raise Unavailable(f"{method} {path}: connection reset")
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return answer

    @property
    def acts(self) -> list[str]:
        return [path for path in self.__dict__.get("sent", []) if path.endswith(ACTS)]


def kind_of_call(method: str, path: str, arguments: dict[str, Any]) -> str:
    """Which call it is, by what is asked and by what filter, whatever names and numbers are asked for."""
    asked = arguments.get("params") or arguments.get("json") or {}
    filters = re.sub(r"'[^']*'(, '[^']*')*", "'…'", str(asked.get("filter", "")))
    place = re.sub(r"logged-models/m-.*", "logged-models/…", path)
    return f"{method} {place} {sorted(set(asked) - {'page_token'})} {filters}"


class World(Protocol):
    """What people do, and what they then see."""

    registry: Speaking
    transport: Faulty
    tells_who: bool
    act: str

    def version(self, model: str, accuracy: float) -> None: ...
    def ask(self, model: str, comment: str = "please") -> None: ...
    def withdraw(self, model: str) -> None: ...
    def approve_by_hand(self, model: str) -> None: ...
    def delete(self, model: str) -> None: ...
    def stage(self, model: str) -> str: ...


@dataclass
class OnMlflow:
    server: Server
    transport: Faulty = field(init=False)
    registry: Speaking = field(init=False)
    tells_who: bool = True

    def __post_init__(self) -> None:
        self.transport = Faulty(Endpoint(self.server.uri), Limits(retries=0))
        kind = TagsRegistry if self.server.protocol == "tags" else AppRegistry
        self.registry = kind(self.server.uri, "", self.transport, self.transport)

    @property
    def act(self) -> str:
        return "delete-tag" if self.server.protocol == "tags" else "transition-requests/approve"

    def version(self, model: str, accuracy: float) -> None:
        self.server.version(model, metric=accuracy)

    def ask(self, model: str, comment: str = "please") -> None:
        self.server.ask(model, comment)

    def withdraw(self, model: str) -> None:
        where = {"name": model, "version": "1"}
        if self.server.protocol == "tags":
            body = {**where, "key": "transition_request.stage.Production"}
            self.server.call("DELETE", "model-versions/delete-tag", json=body)
        else:
            self.server.call("DELETE", "transition-requests/delete", json={**where, "stage": "Production"})

    def approve_by_hand(self, model: str) -> None:
        body = {"name": model, "version": "1", "stage": "Production"}
        if self.server.protocol == "tags":
            self.server.call("POST", "model-versions/transition-stage", json=body)
            self.withdraw(model)
        else:
            self.server.call("POST", "transition-requests/approve", json=body)

    def delete(self, model: str) -> None:
        self.server.call("DELETE", "model-versions/delete", json={"name": model, "version": "1"})

    def stage(self, model: str) -> str:
        return str(self.server.shown(model)["current_stage"])


@dataclass
class ToAnAlias(OnMlflow):
    """The same people on a server without the app, who ask for an alias. `stage`: `champion` or `None`."""

    policy: str = ALIAS_POLICY

    def ask(self, model: str, comment: str = "please") -> None:
        self.server.tag(model, comment, ALIAS_REQUEST)

    def withdraw(self, model: str) -> None:
        where = {"name": model, "version": "1", "key": ALIAS_REQUEST}
        self.server.call("DELETE", "model-versions/delete-tag", json=where)

    def approve_by_hand(self, model: str) -> None:
        where = {"name": model, "alias": "champion", "version": "1"}
        self.server.call("POST", "registered-models/alias", json=where)
        self.withdraw(model)

    def stage(self, model: str) -> str:
        return "champion" if "champion" in self.server.shown(model).get("aliases", []) else "None"


@dataclass
class OnDatabricks:
    workspace: Workspace
    transport: Faulty = field(init=False)
    registry: Speaking = field(init=False)
    tells_who: bool = False
    act: str = "transition-requests/approve"
    asked: dict[str, Asked] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.transport = Faulty(Endpoint(self.workspace.uri), Limits(retries=0))
        others = [Transport(Endpoint(self.workspace.uri)) for _ in range(2)]
        self.registry = DatabricksRegistry(
            self.workspace.uri, [self.transport, *others], self.transport, Budget(500),
            SweepTiming(timedelta(minutes=15), sweep_for=timedelta(seconds=5)),
        )  # fmt: skip

    def version(self, model: str, accuracy: float) -> None:
        self.workspace.version(model, str(accuracy))

    def ask(self, model: str, comment: str = "please") -> None:
        self.asked[model] = self.workspace.ask(model, comment=comment)

    def withdraw(self, model: str) -> None:
        self.workspace.withdraw(self.asked[model])

    def approve_by_hand(self, model: str) -> None:
        body = {"name": model, "version": "1", "stage": "Production", "archive_existing_versions": False}
        assert self.workspace.approve(body)[0] == 200

    def delete(self, model: str) -> None:
        del self.workspace.models[model]["1"]

    def stage(self, model: str) -> str:
        return self.workspace.models[model]["1"].stage


@pytest.fixture(params=["tags", "app", "databricks"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "databricks":
        with workspace() as double:
            yield OnDatabricks(double)
        return
    protocol, uri = ("tags", "mlflow_uri") if request.param != "app" else ("transition-requests", "app_uri")
    for server in served(request.getfixturevalue(uri), protocol):
        yield ToAnAlias(server) if request.param == "alias" else OnMlflow(server)


_numbers = itertools.count(1)


@pytest.fixture
def model() -> str:
    return f"m-{uuid.uuid4().hex[:8]}-{next(_numbers)}"


class Daemon:
    """Cycles over one registry, and what the audit then says."""

    def __init__(
        self, registry: Speaking, place: Path, policy: str = POLICY, times: Times | None = None, name: str = "test:1"
    ) -> None:
        url = f"sqlite:///{place}/audit.db"
        schema.upgrade(url)
        self.engine = make_engine(url)
        loaded = parse_policy(policy, "policy.yaml")
        self.policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
        log = SqlAuditLog(self.engine, name, registry.uri)
        self._cycle = Cycle(registry, log, times=times or Times(), everything_is_due=True)

    def cycle(self) -> CycleSummary:
        return self._cycle.run(self.policy, Mode.ENFORCE)

    def full_look(self) -> CycleSummary:
        """A cycle in which everything is looked at, as one is every hour."""
        with self.engine.begin() as connection:
            connection.execute(text("UPDATE looks SET everything_as_of = '2026-01-01T00:00:00.000Z'"))
        return self.cycle()

    def decisions(self) -> list[tuple[str, str | None]]:
        """Verdict and outcome of each, the oldest first."""
        rows = AuditReader(self.engine).decisions(DecisionFilter(), None)
        return [(row["verdict"], row["outcome"]) for row in reversed(rows)]

    def rows(self) -> list[dict[str, Any]]:
        return AuditReader(self.engine).decisions(DecisionFilter(), None)


@pytest.fixture
def daemon(world: World, tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(world.registry, tmp_path, getattr(world, "policy", POLICY))
    yield daemon
    daemon.engine.dispose()
