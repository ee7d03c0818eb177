"""The daemon reads what became of its decisions in the app's history, on a real MLflow server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import Daemon, Faulty, World
from tests.contract.test_prefixes import killed_at

pytestmark = pytest.mark.parametrize("world", ["app"], indirect=True)
READS_ONE = "model-versions/get"


def rename(world: Any, model: str) -> None:
    body = {"name": model, "new_name": f"{model}-renamed"}
    world.server.call("POST", "registered-models/rename", json=body)


def delete(world: Any, model: str) -> None:
    world.delete(model)


@pytest.mark.parametrize("then", [rename, delete])
def test_a_rejection_stays_applied_whatever_becomes_of_its_version(
    world: World, daemon: Daemon, model: str, then: Any
) -> None:
    world.version(model, 0.5)
    world.ask(model)
    killed_at("acted", daemon.cycle)
    then(world, model)
    daemon.cycle()
    assert daemon.decisions() == [("reject", "applied")]


def test_decisions_that_the_history_does_not_know_are_settled_without_a_call_for_each(
    world: World, daemon: Daemon, model: str
) -> None:
    names = [f"{model}-{number}" for number in range(6)]
    for name in names:
        world.version(name, 0.95)
        world.ask(name)
    killed_at("about to act", daemon.cycle)
    for name in names:
        world.withdraw(name)
    before = len(world.transport.sent)
    daemon.cycle()
    assert daemon.decisions() == [("approve", "superseded")] * 6
    sent = [path for path in world.transport.sent[before:] if path.endswith((READS_ONE, "transition-requests/list"))]
    # The cycle's own list of open requests, and one for all six decisions.
    assert [path.rpartition("/")[2] for path in sent] == ["list", "list"]


def test_an_app_without_a_history_is_read_as_before(
    world: World, daemon: Daemon, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = Faulty._send

    def of_the_first_release(self: Faulty, *asked: Any, **arguments: Any) -> Any:
        answer = send(self, *asked, **arguments)
        return {key: value for key, value in answer.items() if key != "decided"} if isinstance(answer, dict) else answer

    monkeypatch.setattr(Faulty, "_send", of_the_first_release)
    world.version(model, 0.95)
    world.ask(model)
    killed_at("acted", daemon.cycle)
    daemon.cycle()
    assert daemon.decisions() == [("approve", "applied")]


def test_an_id_in_the_comment_about_another_version_proves_nothing(world: Any, daemon: Daemon, model: str) -> None:
    other = f"{model}-other"
    for name in (model, other):
        world.version(name, 0.95)
    world.ask(model)
    killed_at("about to act", daemon.cycle)
    [row] = daemon.rows()
    world.withdraw(model)
    world.ask(other)
    comment = f"Approved it. (decision {row['decision_id']}, policy abc)"
    body = {"name": other, "version": "1", "stage": "Production", "comment": comment}
    world.server.call("POST", "transition-requests/approve", json=body)
    daemon.cycle()
    assert daemon.decisions() == [("approve", "superseded")]
