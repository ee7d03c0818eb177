"""Real processes that are killed, and what must hold afterwards, looked at from outside."""

from __future__ import annotations

import ast
import itertools
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import text

import reconciler
from reconciler.audit import schema
from reconciler.audit.database import make_engine
from tests.acceptance.conftest import DECISION, Server, served
from tests.builders import accuracy_policy
from tests.crash.record import says_nothing_false
from tests.databricks_double import Workspace, workspace

LONG = bool(os.environ.get("LONG_TESTS"))
POLICY = accuracy_policy()
_DECISION_ID = re.compile(r"\(decision ([0-9a-f-]{36}),")


def failpoints() -> list[str]:
    """Every name in the code, so that a new one cannot be forgotten."""
    names = []
    for path in Path(reconciler.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "failpoint":
                assert isinstance(node.args[0], ast.Constant), path
                names.append(str(node.args[0].value))
    assert len(names) == len(set(names)), "two failpoints share a name"
    return sorted(names)


class Zygote:
    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def cycle(self, variables: dict[str, str], die_at: tuple[str, int] | None = None) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"variables": variables, "die_at": die_at}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.stop()


class Registry(Protocol):
    """A registry with a good, a bad and an obstinate version, each asked for."""

    uri: str
    good: str
    bad: str

    def ask(self) -> None: ...
    def measure(self, model: str, accuracy: str) -> None: ...
    def refuse_to_move(self, refuses: bool) -> None: ...
    def stage(self, model: str) -> str: ...
    def acts(self) -> list[tuple[str, str]]: ...
    def is_open(self, model: str) -> bool: ...


_numbers = itertools.count(1)


@dataclass
class RealMlflow:
    server: Server
    good: str = ""
    bad: str = ""
    runs: dict[str, str] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        return self.server.uri

    def ask(self) -> None:
        unique = f"{uuid.uuid4().hex[:6]}-{next(_numbers)}"
        self.good, self.bad = f"good-{unique}", f"bad-{unique}"
        for model, accuracy in ((self.good, 0.95), (self.bad, 0.5)):
            self.runs[model] = self.server.version(model, metric=accuracy)
            self.server.ask(model)

    def measure(self, model: str, accuracy: str) -> None:
        body = {"run_id": self.runs[model], "key": "validation_accuracy", "value": float(accuracy), "step": 1}
        self.server.call("POST", "runs/log-metric", json=body | {"timestamp": 3})

    def refuse_to_move(self, refuses: bool) -> None:
        """A real server does not."""

    def stage(self, model: str) -> str:
        return str(self.server.shown(model)["current_stage"])

    def acts(self) -> list[tuple[str, str]]:
        """(model, decision id) of what the registry shows to have been done."""
        told = [(model, self.server.shown(model)["tags"].get(DECISION, "")) for model in (self.good, self.bad)]
        return [(model, found.group(1)) for model, text in told if (found := _DECISION_ID.search(text))]

    def is_open(self, model: str) -> bool:
        return self.server.asked(model) is not None


@dataclass
class Double:
    held: Workspace
    good: str = "good"
    bad: str = "bad"
    # Which of the lists of a version's requests are refused, counted from 1.
    refused_lists: tuple[int, ...] = ()

    @property
    def uri(self) -> str:
        return self.held.uri

    def ask(self) -> None:
        """The good version's first approval fails, as if the server were restarted."""
        for model, accuracy in ((self.good, "0.95"), (self.bad, "0.5")):
            self.held.version(model, accuracy)
            self.held.ask(model)
        refusals = iter([(500, {"error_code": "INTERNAL_ERROR", "message": "restarting"})])
        lists = itertools.count(1)

        def before(method: str, path: str) -> tuple[int, dict[str, str]] | None:
            if path.endswith("/approve"):
                return next(refusals, None)
            if path.endswith("/list") and next(lists) in self.refused_lists:
                return 403, {"error_code": "PERMISSION_DENIED", "message": "hidden for a while"}
            return None

        self.held.before = before

    def measure(self, model: str, accuracy: str) -> None:
        self.held.runs[self.held.models[model]["1"].run_id] = accuracy

    def take_away(self) -> None:
        """Somebody moves the good version away."""
        self.held.models[self.good]["1"].stage = "None"

    def refuse_to_move(self, refuses: bool) -> None:
        """Approvals get no answer, and nothing is done."""
        answer = (500, {"error_code": "INTERNAL_ERROR", "message": "restarting"}) if refuses else None
        self.held.before = lambda method, path: answer if path.endswith("/approve") else None

    def stage(self, model: str) -> str:
        return self.held.models[model]["1"].stage

    def acts(self) -> list[tuple[str, str]]:
        told = [(arguments["name"], _DECISION_ID.search(arguments["comment"])) for _, arguments in self.held.acts]
        return [(model, found.group(1)) for model, found in told if found]

    def is_open(self, model: str) -> bool:
        return any(one.model == model for one in self.held.requests)


@dataclass
class Case:
    """One registry, one audit database, and cycles that may die."""

    zygote: Zygote
    registry: Registry
    url: str
    place: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.place / "policy.yaml").write_text(POLICY)
        self.variables = {
            "RECONCILER_REGISTRY__URI": self.registry.uri,
            "RECONCILER_AUDIT__URL": self.url,
            "RECONCILER_POLICY": str(self.place / "policy.yaml"),
            "RECONCILER_MODE": "enforce",
            "RECONCILER_REGISTRY__BUDGET": "500",
        }
        schema.upgrade(self.url)
        self.registry.ask()

    def cycle(self, die_at: tuple[str, int] | None = None) -> dict[str, Any]:
        self._let_leases_end()
        return self.zygote.cycle(self.variables, die_at)

    def settle(self) -> None:
        """As many cycles as the promise allows."""
        for _ in range(3):
            assert not self.cycle()["died"]

    def judged_again(self, die_at: tuple[str, int] | None = None) -> set[str]:
        """Observed, acted on without an answer, measured again, lapsed. Each cycle may die; returns what was reached.

        Whatever died, the same happens once more, so that nothing is left to chance.
        """
        reached: set[str] = set()
        steps: list[Callable[[], None]] = [
            lambda: self.variables.update(RECONCILER_MODE="observe"),
            self._acts_get_no_answer,
            self._measured_again,
            lambda: None,
        ]
        for step in steps:
            step()
            for die in (die_at, None):
                reached |= set(self.cycle(die)["reached"])
        return reached

    def _acts_get_no_answer(self) -> None:
        self.registry.refuse_to_move(True)
        self.variables["RECONCILER_MODE"] = "enforce"

    def _measured_again(self) -> None:
        """When the act that got no answer can no longer take effect."""
        self.registry.refuse_to_move(False)
        self.registry.measure(self.registry.good, "0.1")
        long_ago = "'2000-01-01T00:00:00.000Z'"
        self.query(f"UPDATE pending_acts SET answer_by = {long_ago} WHERE answer_by IS NOT NULL RETURNING 1")

    def verify_judged_again(self) -> None:
        """Whatever died where: one effect for a request, and it is the one that the registry shows."""
        rows = self.query("SELECT d.*, decisions.request_key FROM decision_register d "
                          "JOIN decisions USING (decision_id) ORDER BY judgement")  # fmt: skip
        assert all(row.outcome for row in rows), rows
        ended = {row.decision_id: row.outcome for row in rows}
        assert {ended[row.replaces] for row in rows if row.replaces} <= {"lapsed", "failed"}
        keys = [(row.request_key, row.judgement) for row in rows]
        assert len(keys) == len(set(keys))
        for model in (self.registry.good, self.registry.bad):
            done = [row for row in rows if row.model == model and row.outcome in {"applied", "unattributed"}]
            assert len(done) == 1, rows
            moved = "Production" if done[0].verdict == "approve" else "None"
            assert (self.registry.stage(model), self.registry.is_open(model)) == (moved, False)
        says_nothing_false(self.url)

    def _let_leases_end(self) -> None:
        if not self.url.startswith("sqlite"):
            self.query("UPDATE pending_acts SET leased_until = clock_timestamp() - interval '1 second' RETURNING 1")

    def query(self, statement: str) -> list[Any]:
        engine = make_engine(self.url)
        with engine.begin() as connection:
            rows = list(connection.execute(text(statement)))
        engine.dispose()
        return rows

    def verify(self) -> None:
        """Promises 1 to 3, from the registry's own record and the audit database."""
        decisions = self.query("SELECT decision_id, request_key, model, verdict, outcome FROM decision_register d "
                               "JOIN decisions USING (decision_id, model, verdict) WHERE decisions.acts")  # fmt: skip
        known = {row.decision_id: row for row in decisions}
        for model, decision_id in self.registry.acts():
            assert decision_id in known, f"an act on {model} without a decision"
            assert known[decision_id].model == model
        assert len({row.request_key for row in decisions}) == len(decisions), "two decisions for one request"
        verdicts = {row.model: row.verdict for row in decisions}
        assert verdicts == {self.registry.good: "approve", self.registry.bad: "reject"}
        assert all(row.outcome in {"applied", "unattributed"} for row in decisions), decisions
        assert self.query("SELECT count(*) FROM outcomes")[0][0] == len(decisions), "an outcome twice"
        assert self.registry.stage(self.registry.good) == "Production"
        assert self.registry.stage(self.registry.bad) == "None"
        assert not self.registry.is_open(self.registry.good)
        assert not self.registry.is_open(self.registry.bad)
        for row in decisions:
            if row.outcome == "applied":
                assert (row.model, row.decision_id) in self.registry.acts(), (
                    "called applied, and the registry knows nothing"
                )
        says_nothing_false(self.url)


def make_case(
    request: pytest.FixtureRequest, zygote: Zygote, tmp_path: Path, protocol: str, database: str
) -> Iterator[Case]:
    url = f"sqlite:///{tmp_path}/audit.db"
    if database == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    if protocol == "databricks double":
        with workspace() as held:
            yield Case(zygote, Double(held), url, tmp_path)
        return
    if protocol == "hiding double":
        with workspace() as held:
            # Two are listed; the next read is of both before the act, the one after it of the first by itself.
            yield Case(zygote, Double(held, refused_lists=(3, 4)), url, tmp_path)
        return
    name, uri = ("tags", "mlflow_uri") if protocol == "tags" else ("transition-requests", "app_uri")
    for server in served(request.getfixturevalue(uri), name):
        yield Case(zygote, RealMlflow(server), url, tmp_path)
