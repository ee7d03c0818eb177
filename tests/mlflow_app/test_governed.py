"""A requester of what no rule covers is warned at once, on the page and in the answer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from reconciler.demo.server import mlflow_server
from reconciler.domain.request import Request
from reconciler.domain.scope import Names, Part, Scope
from reconciler.domain.target import Target
from reconciler.mlflow_app import creating
from reconciler.mlflow_app.governed import Governed
from reconciler.registry.app import governed_statement
from tests.acceptance.conftest import Product
from tests.builders import a_request
from tests.command import COMMAND
from tests.mlflow_app.conftest import Person

Name = Callable[[], str]
POLICY = """\
version: 1
rules:
  - name: teams
    models: ["risk-*"]
    targets: [Production]
    require: [{metric: accuracy, min: 0.9}]
"""
STATEMENT = json.dumps([{"models": ["risk-*"], "targets": ["Production"]}])
DAEMON = {"User-Agent": "mlflow-reconciler"}
HOUR = 60 * 60 * 1000


@pytest.fixture(scope="module")
def somebody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """On a server of its own: what a daemon states about its policy stays for hours."""
    with mlflow_server(tmp_path_factory.mktemp("told"), "--app-name", "transition-requests") as uri:
        yield Person(uri)


def test_the_app_learns_it_from_the_daemons_cycle(somebody: Person, name: Name, tmp_path: Path) -> None:
    product = Product(somebody.uri, tmp_path)
    product.policy(POLICY)
    product.ok("db", "upgrade")
    assert isinstance(product.run("once"), subprocess.CompletedProcess)
    inside, outside = somebody.model(f"risk-{name()}"), somebody.model(f"ads-{name()}")
    assert "warning" not in somebody.request("create", inside)
    warning = somebody.request("create", outside)["warning"]
    assert outside in warning
    assert "a person" in warning
    rows = somebody.call("GET", "transition-requests/list")["requests"]
    assert {row["name"]: row.get("covered", True) for row in rows if row["name"] in {inside, outside}} == {
        inside: True, outside: False,
    }  # fmt: skip
    assert "covered === false" in somebody.send("GET", "/transition-requests").text


def test_the_command_line_warns_too_if_it_has_no_policy(somebody: Person, name: Name, tmp_path: Path) -> None:
    somebody.call("GET", "transition-requests/list", params={"governed": STATEMENT}, headers=DAEMON)
    outside, inside = somebody.model(f"ads-{name()}"), somebody.model(f"risk-{name()}")
    product = Product(somebody.uri, tmp_path)
    environment = {key: value for key, value in product.environment().items() if key != "RECONCILER_POLICY"}
    for model, warned in ((outside, True), (inside, False)):
        command = [COMMAND, "request", "create", model, "1", "Production"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("no rule covers it" in done.stderr) is warned
    command = [COMMAND, "request", "list", "--format", "json"]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    uncovered = {row["model"]: row["covered"] is False for row in json.loads(listed.stdout)}
    assert (uncovered[outside], uncovered[inside]) == (True, False)


def believe_all(_daemon: str, _model: str) -> bool:
    return True


@dataclass
class Clock:
    """Milliseconds, set by the test."""

    now: int = HOUR

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def governed(tmp_path: Path, clock: Clock) -> Governed:
    engine = create_engine(f"sqlite:///{tmp_path}/mlflow.db")
    creating.create(engine)
    return Governed(engine, clock)


def asking(name: str, *, is_prompt: bool = False) -> Request:
    return replace(a_request(name, datetime(2026, 1, 1, tzinfo=UTC)), is_prompt=is_prompt)


def test_what_a_rule_leaves_out_and_what_lies_outside_of_an_include_is_warned_about(governed: Governed) -> None:
    credit = Part(Names(("*",), ("credit-sandbox-*",), (("credit-*",),)), frozenset({Target.parse("Production")}))
    prompts = Part(Names(("summary*",)), frozenset({Target.parse("Production")}), of_prompts=True)
    governed.hear("", "svc", governed_statement(Scope((credit, prompts), governed=True))["governed"])
    covers = governed.covers("", believe_all)
    names = ("credit-cards", "credit-sandbox-1", "ads", "summary")
    assert [covers(asking(name)) for name in names] == [True, False, False, False]
    assert [covers(asking(name, is_prompt=True)) for name in names] == [False, False, False, True]


def test_there_is_no_warning_without_a_recent_statement_of_a_daemon(governed: Governed, clock: Clock) -> None:
    assert governed.covers("", believe_all)(asking("ads")) is None
    governed.hear("", "svc", STATEMENT)
    assert governed.covers("", believe_all)(asking("ads")) is False
    assert governed.covers("", believe_all)(asking("risk-1")) is True
    assert governed.covers("other", believe_all)(asking("risk-1")) is None
    clock.now += 4 * HOUR
    assert governed.covers("", believe_all)(asking("ads")) is None


@pytest.mark.parametrize(
    "statement", ["", "7", "{}", "[7]", '[{"models": "x"}]', '[{"models": [1], "targets": []}]', "[" * 9000]
)
def test_a_statement_that_cannot_be_parsed_is_ignored(governed: Governed, statement: str) -> None:
    governed.hear("", "svc", statement)
    assert governed.covers("", believe_all)(asking("m")) is None


def test_only_statements_of_approvers_count(auth_uri: str) -> None:
    ada, svc = Person(auth_uri, "ada"), Person(auth_uri, "svc")
    name = Person(auth_uri, "root").model("told-model")
    ada.call("GET", "transition-requests/list", params={"governed": STATEMENT}, headers=DAEMON)
    assert "warning" not in ada.request("create", name)
    svc.call("GET", "transition-requests/list", params={"governed": STATEMENT}, headers=DAEMON)
    assert "warning" in ada.request("create", name, "Staging")
