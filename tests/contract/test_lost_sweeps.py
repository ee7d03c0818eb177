"""What a sweep of a workspace has passed is looked at again where no look kept it. The double is the witness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.cycle.observing import Observing
from reconciler.ports import Unavailable
from reconciler.registry.budget import Budget
from reconciler.registry.databricks import DatabricksRegistry, Looked, SweepTiming
from tests.contract.conftest import Daemon, OnDatabricks
from tests.contract.test_resolutions import rows
from tests.databricks_double import Version, workspace

MODEL = "fraud"


class Scene:
    """Version 1 is the newest of no stage, so that only a list of all versions shows it, every 15 minutes."""

    def __init__(self, world: OnDatabricks, place: Path) -> None:
        self.world, self.place, self.now, self.fails = world, place, 0.0, False
        self.versions = world.workspace.models[MODEL] = {"1": Version(), "2": Version("Production")}
        self.daemon = self.begin()

    def begin(self) -> Daemon:
        timing = SweepTiming(timedelta(minutes=15), timedelta(seconds=5), lambda: self.now)
        one, uri = self.world.transport, self.world.workspace.uri
        self.registry = DatabricksRegistry(uri, [one], one, Budget(500), timing, self.requests)
        return Daemon(self.registry, self.place, name="test:1")

    def requests(self, places: Sequence[tuple[str, str]]) -> Iterator[Looked]:
        for place in places:
            no_answer = Unavailable("no answer") if self.fails else None
            yield place, no_answer or self.registry.requests_on(self.world.transport, place)

    def held(self) -> list[tuple[str, ...]]:
        return rows(self.daemon, "SELECT version FROM tenures WHERE first_seen_without IS NULL ORDER BY version")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with workspace() as double:
        scene = Scene(OnDatabricks(double), tmp_path)
        for _ in range(2):
            scene.daemon.cycle()
        assert scene.held() == [("2",)]
        scene.now += timedelta(minutes=16).total_seconds()
        scene.versions["1"].stage = "Production"
        yield scene
        scene.daemon.engine.dispose()


def test_a_sweep_that_fails_after_the_versions_were_listed(scene: Scene) -> None:
    scene.fails = True
    assert scene.daemon.cycle().unavailable is not None
    scene.fails = False
    scene.now += 60
    scene.daemon.cycle()
    assert scene.held() == [("1",), ("2",)]


def lost(*_: object) -> None:
    raise OSError("lost")


def test_a_look_that_could_not_be_recorded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Observing, "_keep", lost)
        with pytest.raises(OSError, match="lost"):
            scene.daemon.cycle()
    for _ in range(2):
        scene.now += 60
        scene.daemon.cycle()
    assert scene.held() == [("1",), ("2",)]
