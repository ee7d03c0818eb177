"""Lists that shift while they are read: pages are offsets, and what is deleted from one that was read hides a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.domain.times import iso
from reconciler.registry import rotation
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Limits, Transport
from tests.acceptance.conftest import Server
from tests.contract.conftest import Daemon
from tests.contract.test_resolutions import rows

POLICY = """\
version: 1
rules:
  - name: accuracy
    models: ["{prefix}-*"]
    targets: [Production, "@champion"]
    require: [{{metric: validation_accuracy, min: 0.9}}]
"""
LISTS = {"Production": "model-versions/search", "@champion": "registered-models/search"}


class Paged(Transport):
    """Does something once, when the first page of a round over a list has been answered."""

    list_of: str = ""
    meanwhile: Callable[[], None] | None = None

    def _send(self, method: str, path: str, ends: float, **arguments: Any) -> Any:
        answer = super()._send(method, path, ends, **arguments)
        by_name = "name ASC" in (arguments.get("params") or {}).get("order_by", [])
        if self.meanwhile is not None and path.endswith(self.list_of) and by_name:
            meanwhile, self.__dict__["meanwhile"] = self.meanwhile, None
            meanwhile()
        return answer


class Shifting:
    """Models a to f, each with a version, in a registry whose pages have two rows."""

    def __init__(self, uri: str, prefix: str, place: Path) -> None:
        self.server, self.prefix = Server(uri), prefix
        for letter in "abcdef":
            self.server.version(self.of(letter), metric=0.95)
        self.transport = Paged(Endpoint(uri), Limits(retries=0))
        registry = TagsRegistry(uri, "", self.transport, self.transport)
        self.daemon = Daemon(registry, place, POLICY.format(prefix=prefix))

    def of(self, letter: str) -> str:
        return f"{self.prefix}-{letter}"

    def move(self, letter: str, target: str) -> None:
        if target == "Production":
            body = {"name": self.of(letter), "version": "1", "stage": target, "archive_existing_versions": False}
            self.server.call("POST", "model-versions/transition-stage", json=body)
        else:
            body = {"name": self.of(letter), "alias": target[1:], "version": "1"}
            self.server.call("POST", "registered-models/alias", json=body)

    def delete(self, letter: str) -> None:
        self.server.call("DELETE", "registered-models/delete", json={"name": self.of(letter)})

    def create(self, letter: str) -> None:
        self.server.version(self.of(letter), metric=0.95)

    def full_look_in_which(self, target: str, act: Callable[[], None]) -> None:
        """`act` happens between its first and its second page."""
        self.transport.__dict__.update(list_of=LISTS[target], meanwhile=act)
        self.daemon.full_look()
        assert self.transport.meanwhile is None

    def tenures(self) -> list[tuple[str, str | None, str | None]]:
        query = "SELECT model, began_by, ended_by FROM tenures ORDER BY tenure_id"
        return [(model[-1], began, ended) for model, began, ended in rows(self.daemon, query)]


@pytest.fixture
def shifting(mlflow_uri: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shifting]:
    monkeypatch.setattr(rotation, "_SIZES", (2, 1))
    shifting = Shifting(mlflow_uri, model, tmp_path)
    yield shifting
    shifting.daemon.engine.dispose()


@pytest.mark.parametrize("target", LISTS)
def test_a_holder_that_a_shifted_page_hides_holds_on(shifting: Shifting, target: str) -> None:
    shifting.daemon.cycle()
    shifting.move("c", target)
    shifting.daemon.cycle()
    shifting.daemon.cycle()
    shifting.full_look_in_which(target, lambda: shifting.delete("a"))
    shifting.daemon.full_look()
    assert shifting.tenures() == [("c", "bypass", None)]


@pytest.mark.parametrize("target", LISTS)
def test_a_row_that_two_pages_show_is_one_tenure(shifting: Shifting, target: str) -> None:
    shifting.daemon.cycle()
    shifting.move("b", target)
    # What is before it in the list moves it to the second page.
    shifting.full_look_in_which(target, lambda: shifting.create("A"))
    shifting.daemon.full_look()
    assert shifting.tenures() == [("b", "bypass", None)]


@pytest.mark.parametrize("target", LISTS)
def test_what_a_shifted_page_hid_was_not_seen_to_be_empty_then(shifting: Shifting, target: str) -> None:
    shifting.daemon.cycle()
    shifting.daemon.cycle()
    shifting.move("c", target)
    moved = iso(datetime.now(UTC))
    shifting.full_look_in_which(target, lambda: shifting.delete("a"))
    shifting.daemon.full_look()
    shifting.daemon.full_look()
    assert shifting.tenures() == [("c", "bypass", None)]
    [(without, first)] = rows(shifting.daemon, "SELECT last_seen_without, first_seen_with FROM tenures")
    assert without <= moved <= first


@pytest.mark.parametrize("target", LISTS)
def test_a_version_that_a_decision_moved_is_held_by_it_though_a_shifted_page_hid_it(
    shifting: Shifting, target: str
) -> None:
    shifting.daemon.cycle()
    kind = "alias.champion" if target.startswith("@") else "stage.Production"
    shifting.server.tag(shifting.of("c"), "please", f"transition_request.{kind}")
    shifting.daemon.cycle()
    shifting.full_look_in_which(target, lambda: shifting.delete("a"))
    shifting.daemon.full_look()
    shifting.daemon.full_look()
    assert shifting.tenures() == [("c", "decision", None)]
