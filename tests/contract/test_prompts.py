"""Prompts that rules govern are asked for, moved and observed like models, on real servers with and without the app.

What is said of a tenure is read from the audit database with SQL, what an alias names from MLflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.policy.file import parse_policy
from tests.acceptance.conftest import served
from tests.contract.conftest import POLICY, Daemon, OnDatabricks, OnMlflow
from tests.contract.test_resolutions import rows
from tests.databricks_double import workspace

MARK = {"key": "mlflow.prompt.is_prompt", "value": "true"}
WORDS = "Says when to hand over to a person."
MODELS = """\
  - name: models
    targets: ["@serving"]
    require: [{metric: validation_accuracy, min: 0.9}]
"""
PROMPTS = """\
  - name: prompts
    kind: prompt
    targets: ["@production"]
    require: [{commit_message: {min_length: 10}}]
"""


@dataclass
class People(OnMlflow):
    """They write prompts, ask for an alias, and move it. Neither alias is protected by the app."""

    def prompt(self, name: str, *, words: str = WORDS, versions: int = 2) -> None:
        self.server.call("POST", "registered-models/create", json={"name": name, "tags": [MARK]})
        tags = [MARK, {"key": "mlflow.prompt.text", "value": "hello"}]
        for _ in range(versions):
            body = {"name": name, "source": "prompt-template", "description": words, "tags": tags}
            self.server.call("POST", "model-versions/create", json=body)

    def ask(self, model: str, comment: str = "please") -> None:
        if self.server.protocol == "tags":
            self.server.tag(model, comment, "transition_request.alias.production")
            return
        body = {"name": model, "version": "1", "stage": "@production", "comment": comment}
        self.server.call("POST", "transition-requests/create", json=body)

    def move(self, name: str, version: str, alias: str = "production") -> None:
        body = {"name": name, "alias": alias, "version": version}
        self.server.call("POST", "registered-models/alias", json=body)

    def named_by(self, name: str) -> dict[str, str]:
        shown = self.server.call("GET", "registered-models/get", params={"name": name})["registered_model"]
        return {row["alias"]: row["version"] for row in shown.get("aliases", [])}


@pytest.fixture(params=["tags", "app"])
def people(request: pytest.FixtureRequest) -> Iterator[People]:
    protocol, uri = ("tags", "mlflow_uri") if request.param == "tags" else ("transition-requests", "app_uri")
    for server in served(request.getfixturevalue(uri), protocol):
        yield People(server)


@pytest.fixture
def daemon(people: People, tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(people.registry, tmp_path, f"version: 1\nrules:\n{PROMPTS}{MODELS}")
    yield daemon
    daemon.engine.dispose()


def cycles(daemon: Daemon, number: int = 2) -> None:
    for _ in range(number):
        assert daemon.cycle().unavailable is None


def tenures(daemon: Daemon, name: str) -> list[tuple[Any, ...]]:
    query = "SELECT version, target, began_by, ended_by FROM tenures WHERE model = :model ORDER BY tenure_id"
    return rows(daemon, query, model=name)


def test_a_prompt_that_is_asked_for_is_judged_by_the_rules_for_prompts_and_held_by_that_decision(
    people: People, daemon: Daemon, model: str
) -> None:
    cycles(daemon)
    people.prompt(model)
    people.ask(model)
    cycles(daemon)
    assert people.named_by(model) == {"production": "1"}
    assert tenures(daemon, model) == [("1", "@production", "decision", None)]
    query = "SELECT d.decision_id = t.decision_id FROM decisions d JOIN tenures t USING (model) WHERE model = :model"
    assert rows(daemon, query, model=model) == [(True,)]


def test_a_prompt_that_fails_a_rule_is_refused_and_its_alias_stays(people: People, daemon: Daemon, model: str) -> None:
    people.prompt(model, words="")
    people.ask(model)
    cycles(daemon)
    assert people.named_by(model) == {}
    assert [row["verdict"] for row in daemon.rows() if row["model"] == model] == ["reject"]


def test_an_alias_of_a_prompt_that_is_moved_by_hand_is_a_bypass_from_the_second_look_on(
    people: People, daemon: Daemon, model: str
) -> None:
    people.prompt(model)
    people.move(model, "1")
    cycles(daemon)
    people.move(model, "2")
    cycles(daemon)
    assert tenures(daemon, model) == [
        ("1", "@production", "baseline", "unrecorded"),
        ("2", "@production", "bypass", None),
    ]
    assert rows(daemon, "SELECT standing FROM bypasses WHERE model = :model", model=model) == [("open",)]


def test_rules_for_prompts_govern_no_model_and_rules_for_models_no_prompt(
    people: People, daemon: Daemon, model: str
) -> None:
    people.prompt(model)
    people.version(f"{model}-m", 0.95)
    for name in (model, f"{model}-m"):
        for alias in ("production", "serving"):
            people.move(name, "1", alias)
    cycles(daemon)
    assert tenures(daemon, model) == [("1", "@production", "baseline", None)]
    assert tenures(daemon, f"{model}-m") == [("1", "@serving", "baseline", None)]


def test_a_daemon_that_takes_over_knows_a_prompt_for_one(people: People, daemon: Daemon, model: str) -> None:
    """What is on record does not say which it is; where no rule governs it any more, its tenure ends."""
    people.prompt(model)
    people.move(model, "1")
    cycles(daemon)
    everywhere = MODELS.replace("@serving", "@production")
    for rules, ended in ((PROMPTS + MODELS, None), (everywhere, "ungoverned")):
        loaded = parse_policy(f"version: 1\nrules:\n{rules}", "policy.yaml")
        daemon.policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
        with daemon.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE looks SET leased_until = '2026-01-01T00:00:00.000Z'")
        audit = SqlAuditLog(daemon.engine, f"test:{ended}", people.registry.uri)
        daemon._cycle = Cycle(OnMlflow(people.server).registry, audit, everything_is_due=True)
        cycles(daemon)
        assert tenures(daemon, model) == [("1", "@production", "baseline", ended)]


def test_a_prompt_that_is_deleted_ends_its_tenure(people: People, daemon: Daemon, model: str) -> None:
    people.prompt(model)
    people.move(model, "1")
    cycles(daemon)
    people.server.call("DELETE", "registered-models/delete", json={"name": model})
    cycles(daemon)
    daemon.full_look()
    assert tenures(daemon, model) == [("1", "@production", "baseline", "deleted")]


@pytest.mark.parametrize("people", ["tags"], indirect=True)
def test_a_misspelt_tag_on_a_prompt_is_told_what_can_be_requested_of_prompts(
    people: People, daemon: Daemon, model: str
) -> None:
    people.prompt(model)
    people.server.tag(model, "please", "transition_request.alias.Production")
    cycles(daemon)
    told = people.server.shown(model)["tags"]["transition_decision.alias.Production"]
    assert told.endswith("name it transition_request.alias.production, or ask the policy's owner for a rule")


def test_what_changed_of_an_approved_prompt_is_told(people: People, daemon: Daemon, model: str) -> None:
    people.prompt(model)
    people.ask(model)
    cycles(daemon, 3)
    body = {"name": model, "version": "1", "description": "Says nothing any more."}
    people.server.call("PATCH", "model-versions/update", json=body)
    daemon.full_look()
    daemon.cycle()
    query = "SELECT d.field FROM drifts d JOIN tenures t ON t.tenure_id = d.tenure_id WHERE t.model = :model"
    assert rows(daemon, query, model=model) == [("version.description",)]


def test_a_workspace_registry_has_neither_prompts_nor_aliases_and_is_watched_for_the_rest(
    tmp_path: Path, model: str
) -> None:
    with workspace() as double:
        world = OnDatabricks(double)
        daemon = Daemon(world.registry, tmp_path, POLICY.replace("rules:\n", f"rules:\n{PROMPTS}"))
        cycles(daemon)
        world.version(model, 0.95)
        world.ask(model)
        cycles(daemon, 3)
        query = "SELECT target, began_by FROM tenures WHERE model = :model"
        assert rows(daemon, query, model=model) == [("Production", "decision")]
        assert rows(daemon, "SELECT everything_as_of IS NOT NULL FROM looks") == [(True,)]
        daemon.engine.dispose()


@pytest.mark.parametrize("people", ["tags"], indirect=True)
@pytest.mark.parametrize("decoy", [False, True])
def test_marking_a_model_as_a_prompt_hides_no_move_of_what_was_known_to_hold(
    people: People, daemon: Daemon, model: str, decoy: bool
) -> None:
    """MLflow leaves it out of its lists then, and still loads `models:/NAME@serving`."""
    people.version(model, 0.95)
    body: dict[str, Any] = {"name": model, "source": "s3://bucket/model"}
    people.server.call("POST", "model-versions/create", json=body)
    people.move(model, "1", "serving")
    cycles(daemon)
    if decoy:
        body |= {"source": "prompt-template", "tags": [MARK]}
        people.server.call("POST", "model-versions/create", json=body)
    people.server.call("POST", "registered-models/set-tag", json={"name": model, **MARK})
    people.move(model, "2", "serving")
    cycles(daemon, 3)
    assert tenures(daemon, model) == [("1", "@serving", "baseline", "unrecorded"), ("2", "@serving", "bypass", None)]
