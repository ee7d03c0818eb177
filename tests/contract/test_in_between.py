"""Two daemons on one PostgreSQL, one of which is held up after any call, while the other makes its whole cycle.

What the first has read by then is old: its list, its look, its evidence. The lease to look may be lost meanwhile, as
by a process that is stopped and goes on. MLflow itself is the witness of what is held.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce, Times
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Limits, Transport
from tests.acceptance.conftest import Server
from tests.crash.conftest import LONG
from tests.crash.record import says_nothing_false
from tests.postgres import PostgresServer

POLICY = """\
version: 1
rules:
  - name: accuracy
    models: ["{model}"]
    targets: ["{target}"]
{archives}    require: [{{metric: validation_accuracy, min: 0.9}}]
"""
TARGETS = ("Production", "@champion")
ACTS = ("nothing", "withdraw", "move", "delete")


class HeldUp(Transport):
    """Counts calls, and does something once, after so many of them have been answered."""

    calls_so_far: int = 0
    after: int = 0
    meanwhile: Callable[[], None] = lambda: None

    def _send(self, method: str, path: str, ends: float, **arguments: Any) -> Any:
        answer = super()._send(method, path, ends, **arguments)
        self.__dict__["calls_so_far"] = self.calls_so_far + 1
        if self.calls_so_far == self.after:
            self.meanwhile()
        return answer


@dataclass
class Daemon:
    transport: HeldUp
    cycles: Cycle


class World:
    """A model with two good versions, and two daemons."""

    def __init__(self, server: Server, url: str, target: str) -> None:
        self.server, self.url, self.target = server, url, target
        self.model = f"between-{uuid.uuid4().hex[:8]}"
        self.uri = f"{server.uri}/{self.model}"
        self.engine = make_engine(url)
        server.version(self.model, metric=0.95)
        run = server._run(0.96)
        server.call(
            "POST", "model-versions/create", json={"name": self.model, "source": f"runs:/{run}/model", "run_id": run}
        )
        archives = "" if target.startswith("@") else "    archive_existing: true\n"
        loaded = parse_policy(POLICY.format(model=self.model, target=target, archives=archives), "policy.yaml")
        self.policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
        self.one, self.other = self._daemon("test:1"), self._daemon("test:2")

    def _daemon(self, name: str) -> Daemon:
        transport = HeldUp(Endpoint(self.server.uri), Limits(retries=0))
        registry = TagsRegistry(self.uri, "", transport, transport)
        log = SqlAuditLog(self.engine, name, self.uri)
        return Daemon(transport, Cycle(registry, log, times=Times(full_look=timedelta(0)), everything_is_due=True))

    def cycle(self, daemon: Daemon) -> None:
        daemon.cycles.run(self.policy, Mode.ENFORCE)

    @property
    def tag(self) -> str:
        return f"transition_request.{'alias' if self.target[0] == '@' else 'stage'}.{self.target.lstrip('@')}"

    def ask(self) -> None:
        self.server.tag(self.model, "please", self.tag)

    # --- what happens meanwhile --------------------------------------------------------------------------------

    def nothing(self) -> None:
        pass

    def withdraw(self) -> None:
        body = {"name": self.model, "version": "1", "key": self.tag}
        self.server.call("DELETE", "model-versions/delete-tag", json=body)

    def move(self) -> None:
        """The other version, without asking."""
        if self.target[0] == "@":
            body = {"name": self.model, "alias": self.target[1:], "version": "2"}
            self.server.call("POST", "registered-models/alias", json=body)
            return
        body = {"name": self.model, "version": "2", "stage": self.target, "archive_existing_versions": True}
        self.server.call("POST", "model-versions/transition-stage", json=body)

    def delete(self) -> None:
        """The version that was asked for."""
        self.server.call("DELETE", "model-versions/delete", json={"name": self.model, "version": "1"})

    def take_over(self) -> None:
        """The lease to look of a daemon that is not heard of."""
        with self.engine.begin() as connection:
            long_ago = text("UPDATE looks SET leased_until = now() - interval '1 hour' WHERE registry = :registry")
            connection.execute(long_ago, {"registry": self.uri})

    # --- what must be so ---------------------------------------------------------------------------------------

    def held(self) -> set[str]:
        model = self.server.call("GET", "registered-models/get", params={"name": self.model})["registered_model"]
        if self.target[0] == "@":
            return {one["version"] for one in model.get("aliases", []) if f"@{one['alias']}" == self.target}
        found = self.server.call("GET", "model-versions/search", params={"filter": f"name = '{self.model}'"})
        return {one["version"] for one in found["model_versions"] if one["current_stage"] == self.target}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        auditor = create_engine(self.engine.url)
        with auditor.connect() as connection:
            found = [tuple(row) for row in connection.execute(text(query), {"registry": self.uri})]
        auditor.dispose()
        return found

    def agrees(self) -> None:
        query = "SELECT version, began_by, ended_by, first_seen_without IS NULL FROM tenures WHERE registry = :registry"
        tenures = self.rows(query)
        assert {version for version, _, _, is_open in tenures if is_open} == self.held(), tenures
        causes = [(version, began) for version, began, _, _ in tenures]
        assert set(causes) <= {("1", "decision"), ("2", "bypass")}, tenures
        assert len(causes) == len(set(causes)), tenures
        assert self.rows("SELECT observation_id FROM unattributed WHERE registry = :registry") == []
        says_nothing_false(self.url)


def is_held_up(world: World, after: int, act: str, *, takes_over: bool) -> bool:
    """Whether the first daemon made that many calls."""

    def meanwhile() -> None:
        if act != "nothing":
            getattr(world, act)()
        if takes_over:
            world.take_over()
        world.cycle(world.other)

    world.cycle(world.one)
    world.cycle(world.other)
    world.ask()
    transport = world.one.transport
    transport.__dict__.update(calls_so_far=0, after=after, meanwhile=meanwhile)
    world.cycle(world.one)
    was_held_up = transport.calls_so_far >= after
    transport.__dict__.update(after=0)
    if was_held_up:
        # What the second look finds no decision for is a bypass.
        for daemon in (world.one, world.other) * 2:
            world.cycle(daemon)
        world.agrees()
    world.engine.dispose()
    return was_held_up


# The quick run has those in which both daemons have seen something else, and few calls after which it happens.
CASES = [(target, act, takes_over) for target in TARGETS for act in ACTS for takes_over in (True, False)]
QUICK = [("Production", "move", True), ("@champion", "withdraw", True)]


@pytest.mark.parametrize(("target", "act", "takes_over"), CASES if LONG else QUICK)
def test_a_daemon_that_is_held_up_after_any_call_says_nothing_false(
    mlflow_uri: str, url: str, target: str, act: str, takes_over: bool
) -> None:
    """In the quick run after every third call."""
    held_up = 0
    for after in itertools.count(1, 1 if LONG else 3):
        if not is_held_up(World(Server(mlflow_uri), url, target), after, act, takes_over=takes_over):
            break
        held_up += 1
    assert held_up > 2


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> str:
    """One database for all: each world is a registry of its own in it."""
    url = postgres.new_database()
    schema.upgrade(url)
    return url
