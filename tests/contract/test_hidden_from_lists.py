"""What no look has shown since somebody hid it from the lists, on a server without the app that hides nothing itself.

A model may have a name that no rule governs, or a mark of prompts, for as long as it takes. When it can be seen,
what it holds is no baseline: nobody approved it. Models and aliases are as the test made them on a real server.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.cycle import Times, appearing
from reconciler.domain.target import Target
from reconciler.registry import looking
from tests.acceptance.conftest import Server
from tests.contract.conftest import Daemon, OnMlflow
from tests.contract.test_resolutions import rows

MARK = {"key": "mlflow.prompt.is_prompt", "value": "true"}
TARGETS = ("Production", "@champion")
METRIC = "metric: validation_accuracy, min: 0.9"


class Scene:
    def __init__(self, uri: str, place: Path) -> None:
        self.server, self.place = Server(uri), place

    def daemon(self, names: str, target: str, kind: str = "model", check: str = METRIC) -> Daemon:
        """It looks at everything in each cycle, and has done so for some seconds."""
        rule = f'{{name: r, kind: {kind}, models: ["{names}"], targets: ["{target}"], require: [{{{check}}}]}}'
        policy, registry = f"version: 1\nrules:\n  - {rule}\n", OnMlflow(self.server).registry
        daemon = Daemon(registry, self.place, policy, Times(full_look=timedelta(0)))
        self.looks(daemon)
        return daemon

    def looks(self, daemon: Daemon) -> None:
        """Twice, two seconds apart: an answer's `Date` has whole ones."""
        daemon.cycle()
        time.sleep(2)
        daemon.cycle()
        daemon.cycle()

    def move(self, model: str, target: str) -> None:
        name = Target.parse(target).name
        if target.startswith("@"):
            body = {"name": model, "alias": name, "version": "1"}
            self.server.call("POST", "registered-models/alias", json=body)
        else:
            body = {"name": model, "version": "1", "stage": name}
            self.server.call("POST", "model-versions/transition-stage", json=body)

    def mark(self, model: str) -> None:
        self.server.call("POST", "registered-models/set-tag", json={"name": model, **MARK})
        self.server.call("POST", "model-versions/set-tag", json={"name": model, "version": "1", **MARK})

    def take_the_mark(self, model: str) -> None:
        body = {"name": model, "key": MARK["key"]}
        self.server.call("DELETE", "registered-models/delete-tag", json=body)
        self.server.call("DELETE", "model-versions/delete-tag", json={**body, "version": "1"})


def held(daemon: Daemon) -> list[tuple[Any, ...]]:
    return rows(daemon, "SELECT model, target, began_by, first_seen_without FROM tenures ORDER BY tenure_id")


@pytest.fixture
def scene(mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    # What takes minutes and hours takes seconds here.
    monkeypatch.setattr(appearing, "_CLOSE", timedelta(0))
    monkeypatch.setattr(looking, "_OVERLAP_MS", 0)
    return Scene(mlflow_uri, tmp_path)


@pytest.mark.parametrize("target", TARGETS)
def test_a_model_that_gets_a_governed_name_when_it_holds_the_target_already_is_a_bypass(
    scene: Scene, model: str, target: str
) -> None:
    hidden, governed = f"outside-{model}", f"{model}-governed"
    for name in (hidden, f"{model}-other"):
        scene.server.version(name, metric=0.95)
    scene.move(hidden, target)
    # What changed last is read of all models, whatever their names.
    scene.move(f"{model}-other", "Staging")
    daemon = scene.daemon(f"{model}-*", target)
    scene.server.call("POST", "registered-models/rename", json={"name": hidden, "new_name": governed})
    daemon.cycle()
    daemon.cycle()
    assert held(daemon) == [(governed, target, "bypass", None)]
    daemon.engine.dispose()


@pytest.mark.parametrize("target", TARGETS)
def test_a_look_at_everything_sees_what_was_marked_as_a_prompt_before_it_took_its_first_target(
    scene: Scene, model: str, target: str
) -> None:
    scene.server.version(model, metric=0.95)
    scene.mark(model)
    daemon = scene.daemon(model, target)
    scene.move(model, target)
    scene.looks(daemon)
    assert held(daemon) == [(model, target, "bypass", None)]
    scene.take_the_mark(model)
    scene.looks(daemon)
    assert held(daemon) == [(model, target, "bypass", None)]
    daemon.engine.dispose()


def test_a_prompt_that_had_no_mark_while_its_alias_was_moved_is_a_bypass(scene: Scene, model: str) -> None:
    scene.server.call("POST", "registered-models/create", json={"name": model, "tags": [MARK]})
    body = {"name": model, "source": "prompt-template", "tags": [MARK]}
    scene.server.call("POST", "model-versions/create", json=body)
    scene.take_the_mark(model)
    daemon = scene.daemon(model, "@champion", "prompt", "tag: reviewed")
    scene.move(model, "@champion")
    scene.looks(daemon)
    scene.mark(model)
    scene.looks(daemon)
    assert held(daemon) == [(model, "@champion", "bypass", None)]
    daemon.engine.dispose()
