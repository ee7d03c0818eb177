"""Aliases of a registry that is too large for one look: people rename and delete models while a round goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from reconciler.registry import rotation
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Limits, Transport
from tests.acceptance.conftest import Server
from tests.contract.conftest import ALIAS_REQUEST
from tests.contract.test_shifting_pages import POLICY

PAGES = 4
QUERY = """
SELECT model, began_by, ended_by, last_seen_with, first_seen_without, first_seen_with
FROM tenures WHERE target = '@champion' ORDER BY tenure_id
"""


class Counted(Transport):
    """Counts the pages of a round that have been read."""

    page: int = 0

    def _send(self, method: str, path: str, ends: float, **arguments: Any) -> Any:
        answer = super()._send(method, path, ends, **arguments)
        if path.endswith("registered-models/search"):
            more = "page_token" in (arguments.get("params") or {})
            self.__dict__["page"] = self.page + 1 if more else 1
        return answer


class Scene:
    """Models b to h, of which h holds the alias by a decision. Each look reads one page, and a page has two of them."""

    def __init__(self, uri: str, prefix: str, engine: Engine) -> None:
        self.server, self.prefix, self.engine = Server(uri), prefix, engine
        for letter in "bcdefgh":
            self.server.version(self.of(letter), metric=0.95)
        self.transport = Counted(Endpoint(uri), Limits(retries=0))
        registry = TagsRegistry(uri, "", self.transport, self.transport, look_for=timedelta(0))
        self._cycle = Cycle(registry, SqlAuditLog(engine, "test:1", uri))
        loaded = parse_policy(POLICY.format(prefix=prefix), "policy.yaml")
        self._policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)

    def of(self, letter: str) -> str:
        return f"{self.prefix}-{letter}"

    def cycles(self, number: int) -> None:
        for _ in range(number):
            assert self._cycle.run(self._policy, Mode.ENFORCE).unavailable is None

    def in_the_middle_of_a_round(self) -> None:
        self.cycles(1)
        while self.transport.page != PAGES - 2:
            self.cycles(1)

    def tenures(self) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.exec_driver_sql(QUERY))


@pytest.fixture
def scene(mlflow_uri: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(rotation, "_SIZES", (2, 1, 1))
    schema.upgrade(url := f"sqlite:///{tmp_path}/audit.db")
    scene = Scene(mlflow_uri, model, make_engine(url))
    scene.cycles(2 * PAGES)
    scene.server.tag(scene.of("h"), "please", ALIAS_REQUEST)
    scene.cycles(3 * PAGES)
    assert [(row.model, row.began_by) for row in scene.tenures()] == [(scene.of("h"), "decision")]
    yield scene
    scene.engine.dispose()


def test_a_model_that_gets_a_name_which_the_round_has_passed_is_the_same_tenure(scene: Scene) -> None:
    scene.in_the_middle_of_a_round()
    scene.server.call("POST", "registered-models/rename", json={"name": scene.of("h"), "new_name": scene.of("a")})
    scene.cycles(3 * PAGES)
    found = [(row.model, row.began_by, row.ended_by) for row in scene.tenures()]
    assert found == [(scene.of("h"), "decision", "rename"), (scene.of("a"), "rename", None)]


def test_a_model_that_is_deleted_ends_its_tenure_and_was_last_seen_before(scene: Scene) -> None:
    scene.in_the_middle_of_a_round()
    with scene.engine.connect() as connection:
        before = connection.exec_driver_sql("SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now')").scalar()
    scene.server.call("DELETE", "registered-models/delete", json={"name": scene.of("h")})
    scene.cycles(3 * PAGES)
    (row,) = scene.tenures()
    assert (row.began_by, row.ended_by) == ("decision", "deleted")
    assert row.last_seen_with < before < row.first_seen_without
