"""No candidate is approved against a holder that is gone since it was judged: deleted, archived, renamed, replaced.

On a real server; what holds the target is asked of it by MLflow's own client.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from reconciler.domain.decision import Mode
from tests.acceptance.conftest import Server, served
from tests.acceptance.people import People
from tests.acceptance.test_compared import Counting

Name = Callable[[str], str]


@pytest.fixture
def server(mlflow_uri: str) -> Iterator[Server]:
    yield from served(mlflow_uri, "tags")


def renamed(people: People) -> None:
    people.client.rename_registered_model(people.model, f"{people.model}-before")


def replaced(people: People) -> None:
    """Another model takes the name, with a worse version under the same number."""
    renamed(people)
    people.client.create_registered_model(people.model)
    people.move(people.version(0.10), "Production")


WAYS: dict[str, Callable[[People], object]] = {
    "the version is deleted": lambda people: people.client.delete_model_version(people.model, "1"),
    "the version is archived": lambda people: people.move("1", "Archived"),
    "the alias is taken away": lambda people: people.client.delete_registered_model_alias(people.model, "champion"),
    "the model is renamed": renamed,
    "another model has its name": replaced,
}


def holds(people: People, candidate: str, target: str) -> list[str]:
    """The names of the model under which the candidate holds the target."""
    found = []
    for model in (people.model, f"{people.model}-before"):
        people.model, before = model, people.model
        with contextlib.suppress(MlflowException):
            found += [model] if people.holds(candidate, target) else []
        people.model = before
    return found


@pytest.mark.parametrize("way", WAYS)
def test_a_candidate_is_not_approved_against_a_holder_that_is_gone(
    server: Server, tmp_path: Path, name: Name, way: str
) -> None:
    target = "@champion" if "alias" in way else "Production"
    counting = Counting(server, f"sqlite:///{tmp_path}/audit.db", "pass")
    people = People(server, name("fraud"))
    people.ask(people.version(0.80), target)
    counting.cycle.run(counting.policy, Mode.ENFORCE)
    assert people.holds("1", target)
    counting.govern("fail")
    candidate = people.version(0.95)
    people.ask(candidate, target)
    done: list[str] = []

    def meanwhile() -> None:
        WAYS[way](people)
        done.append(way)

    counting.transport.meanwhile = meanwhile  # type: ignore[method-assign]
    # The first reading is for the judgement, the second right before the act.
    counting.transport.path, counting.transport.number = "registered-models/get", 2
    counting.cycle.run(counting.policy, Mode.ENFORCE)
    assert done == [way]
    assert (candidate, "approve", "applied") not in counting.said(people.model)
    assert holds(people, candidate, target) == []
    counting.engine.dispose()
