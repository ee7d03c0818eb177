"""Whoever asks for what no rule covers hears it at once, on the page and in the answer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from reconciler.demo.server import mlflow_server
from reconciler.domain.target import Target
from reconciler.mlflow_app import tables
from reconciler.mlflow_app.governed import Governed
from tests.acceptance.conftest import Product
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
TOLD = json.dumps([{"models": ["risk-*"], "targets": ["Production"]}])
DAEMON = {"User-Agent": "mlflow-reconciler"}
HOUR = 60 * 60 * 1000


@pytest.fixture(scope="module")
def somebody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    """On a server of their own: what a daemon told of its policy stays for hours."""
    with mlflow_server(tmp_path_factory.mktemp("told"), "--app-name", "transition-requests") as uri:
        yield Person(uri)


def test_the_app_learns_it_from_the_daemons_cycle(somebody: Person, name: Name, tmp_path: Path) -> None:
    product = Product(somebody.uri, tmp_path)
    product.policy(POLICY)
    product.ok("db", "upgrade")
    assert isinstance(product.run("once"), subprocess.CompletedProcess)
    inside, outside = somebody.model(f"risk-{name()}"), somebody.model(f"ads-{name()}")
    assert "warning" not in somebody.request("create", inside)
    said = somebody.request("create", outside)["warning"]
    assert outside in said
    assert "a person" in said
    rows = somebody.call("GET", "transition-requests/list")["requests"]
    assert {row["name"]: row.get("covered", True) for row in rows if row["name"] in {inside, outside}} == {
        inside: True, outside: False,
    }  # fmt: skip
    assert "covered === false" in somebody.send("GET", "/transition-requests").text


def test_the_command_line_says_it_too_where_it_knows_no_policy(somebody: Person, name: Name, tmp_path: Path) -> None:
    somebody.call("GET", "transition-requests/list", params={"governed": TOLD}, headers=DAEMON)
    outside, inside = somebody.model(f"ads-{name()}"), somebody.model(f"risk-{name()}")
    product = Product(somebody.uri, tmp_path)
    environment = {key: value for key, value in product.environment().items() if key != "RECONCILER_POLICY"}
    for model, said in ((outside, True), (inside, False)):
        command = [COMMAND, "request", "create", model, "1", "Production"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("no rule covers it" in done.stderr) is said
    command = [COMMAND, "request", "list", "--format", "json"]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    uncovered = {row["model"]: row["covered"] is False for row in json.loads(listed.stdout)}
    assert (uncovered[outside], uncovered[inside]) == (True, False)


def everybody(_teller: str, _model: str) -> bool:
    return True


@dataclass
class Clock:
    """Milliseconds, as the test says."""

    now: int = HOUR

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def governed(tmp_path: Path, clock: Clock) -> Governed:
    engine = create_engine(f"sqlite:///{tmp_path}/mlflow.db")
    tables.create(engine)
    return Governed(engine, clock)


def test_nothing_is_said_where_no_daemon_has_spoken_or_the_last_word_is_old(governed: Governed, clock: Clock) -> None:
    production = Target.parse("Production")
    assert governed.covers("", everybody)("ads", production) is None
    governed.hear("", "svc", TOLD)
    assert governed.covers("", everybody)("ads", production) is False
    assert governed.covers("", everybody)("risk-1", production) is True
    assert governed.covers("other", everybody)("risk-1", production) is None
    clock.now += 4 * HOUR
    assert governed.covers("", everybody)("ads", production) is None


@pytest.mark.parametrize(
    "told", ["", "7", "{}", "[7]", '[{"models": "x"}]', '[{"models": [1], "targets": []}]', "[" * 9000]
)
def test_what_is_not_understood_is_not_remembered(governed: Governed, told: str) -> None:
    governed.hear("", "svc", told)
    assert governed.covers("", everybody)("m", Target.parse("Production")) is None


def test_only_approvers_are_heard(auth_uri: str) -> None:
    ada, svc = Person(auth_uri, "ada"), Person(auth_uri, "svc")
    name = Person(auth_uri, "root").model("told-model")
    ada.call("GET", "transition-requests/list", params={"governed": TOLD}, headers=DAEMON)
    assert "warning" not in ada.request("create", name)
    svc.call("GET", "transition-requests/list", params={"governed": TOLD}, headers=DAEMON)
    assert "warning" in ada.request("create", name, "Staging")
