"""A candidate is compared with what holds the target, by the installed command against real servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.policy.file import parse_policy
from reconciler.registry.app import AppRegistry
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.tags import TagsRegistry
from reconciler.registry.transport import Transport
from tests.acceptance.conftest import Product, Server
from tests.acceptance.people import People

Name = Callable[[str], str]
POLICY = """\
version: 1
rules:
  - name: better
    targets: [Production, "@champion"]
    require:
      - compare: validation_accuracy
        min_relative_change: 0.01
        greater_is_better: true
        if_no_holder: {}
"""


def said(product: Product, model: str) -> list[tuple[str, str, str | None]]:
    rows = sorted(product.decisions("--model", model), key=lambda row: (row["decided_at"], row["version"]))
    return [(row["version"], row["verdict"], row["outcome"]) for row in rows]


def evidence(product: Product, model: str) -> dict[str, Any]:
    """Of the newest decision."""
    newest = max(product.decisions("--model", model), key=lambda row: row["decided_at"])
    whole = json.loads(product.ok("audit", "show", newest["decision_id"], "--format", "json"))
    return dict(whole["evidence"])


@pytest.mark.either_protocol
def test_only_what_is_better_than_the_holder_takes_its_place(server: Server, product: Product, name: Name) -> None:
    product.policy(POLICY.format("pass"))
    both = {target: People(server, name(f"m{number}")) for number, target in enumerate(("@champion", "Production"))}
    for accuracy in (0.80, 0.90, 0.901):
        for target, people in both.items():
            people.ask(people.version(accuracy), target)
        product.ok("once")
    for target, people in both.items():
        assert said(product, people.model) == [
            ("1", "approve", "applied"),
            ("2", "approve", "applied"),
            ("3", "reject", "applied"),
        ]
        assert people.holds("2", target)
        assert not people.holds("3", target)
        held = evidence(product, people.model)["holder"]
        assert (held["version"], held["arrival"]["began_by"]) == ("2", "decision")
        assert float(held["run"]["metrics"]["validation_accuracy"]["text"]) == 0.9


@pytest.mark.parametrize("target", ["@champion", "Production"])
def test_explain_says_what_the_holder_has_and_without_a_database_that_nothing_tells_how_it_came(
    product: Product, name: Name, target: str
) -> None:
    product.policy(POLICY.format("fail"))
    people = People(Server(product.uri), name("fraud"))
    people.move(people.version(0.80), target)
    candidate = people.version(0.90)
    product.ok("once")
    explained = product.run("explain", people.model, candidate, target)
    assert (explained.returncode, "it came there by baseline" in explained.stdout) == (0, True)
    # A data scientist has no audit database.
    product.variables["RECONCILER_AUDIT__URL"] = f"sqlite:///{product.place}/none.db"
    alone = product.run("explain", people.model, candidate, target, "--json")
    assert (alone.returncode, "holder_unapproved" in alone.stdout) == (3, True)
    assert "no audit database says how it came there" in alone.stdout
    assert not (product.place / "none.db").exists()
    # The version itself is never its own baseline.
    itself = product.run("explain", people.model, "1", target, "--json")
    assert (itself.returncode, "only version 1 itself holds" in itself.stdout) == (1, True)


# --- in this process -------------------------------------------------------------------------------------------


class Interrupted(Transport):
    """`before`: what somebody does right before the n-th call with this path."""

    path, number = "", 0

    def _send(self, method: str, path: str, ends: float, **arguments: Any) -> Any:
        if self.path and path.endswith(self.path):
            self.number -= 1
            if not self.number:
                self.path = ""
                self.meanwhile()
        return super()._send(method, path, ends, **arguments)

    def meanwhile(self) -> None:
        raise NotImplementedError


class Counting:
    """A daemon in this process, whose calls are counted."""

    def __init__(self, server: Server, url: str, keys: str = "pass") -> None:
        self.transport = Interrupted(Endpoint(server.uri))
        kind = TagsRegistry if server.protocol == "tags" else AppRegistry
        self.registry = kind(server.uri, "", self.transport, self.transport)
        schema.upgrade(url)
        self.engine = make_engine(url)
        self.govern(keys)
        self.cycle = Cycle(self.registry, SqlAuditLog(self.engine, "test:1", server.uri), everything_is_due=True)

    def govern(self, keys: str, text: str = POLICY) -> None:
        loaded = parse_policy(text.replace("{}", keys), "policy.yaml")
        self.policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)

    def cycles(self, count: int, mode: Mode = Mode.ENFORCE) -> None:
        for _ in range(count):
            self.cycle.run(self.policy, mode)

    def holder(self, model: str) -> dict[str, Any]:
        """As the newest decision about a model has it."""
        reader = AuditReader(self.engine)
        [newest, *_] = reader.decisions(DecisionFilter(model=model))
        return dict(reader.decision(newest["decision_id"])["evidence"]["holder"])

    def said(self, model: str) -> list[tuple[str, str, str | None]]:
        rows = AuditReader(self.engine).decisions(DecisionFilter(model=model))
        ordered = sorted(rows, key=lambda row: (row["decided_at"], row["version"], row["judgement"]))
        return [(row["version"], row["verdict"], row["outcome"]) for row in ordered]


def test_of_a_stage_the_newest_approved_version_is_compared_with_and_no_bypass(
    server: Server, audit_url: str, name: Name
) -> None:
    daemon = Counting(server, audit_url, "fail")
    people = People(server, name("fraud"))
    people.move(people.version(0.80), "Production")
    daemon.cycles(1)
    # A worse one is moved there by hand, so that any candidate is better than the newest.
    people.move(people.version(0.10), "Production")
    daemon.cycles(3)
    people.ask(people.version(0.50), "Production")
    daemon.cycles(1)
    assert daemon.said(people.model) == [("3", "reject", "applied")]
    assert daemon.holder(people.model)["version"] == "1"
    people.ask(people.version(0.85), "Production")
    daemon.cycles(1)
    assert daemon.said(people.model)[1:] == [("4", "approve", "applied")]
    daemon.engine.dispose()


def test_an_alias_that_was_moved_without_a_decision_is_no_baseline(server: Server, audit_url: str, name: Name) -> None:
    daemon = Counting(server, audit_url)
    people = People(server, name("fraud"))
    people.move(people.version(0.80), "@champion")
    daemon.cycles(1)
    people.move(people.version(0.10), "@champion")
    people.ask(people.version(0.50), "@champion")
    daemon.cycles(3)
    assert daemon.said(people.model) == []
    assert people.holds("2", "@champion")
    daemon.govern("pass\n        bypassed_holder: allow")
    daemon.cycles(1)
    assert daemon.said(people.model) == [("3", "approve", "applied")]
    assert daemon.holder(people.model)["arrival"]["began_by"] == "bypass"
    daemon.engine.dispose()


@pytest.mark.either_protocol
@pytest.mark.parametrize("target", ["@champion", "Production"])
def test_a_holder_that_a_plain_client_moves_between_judging_and_acting_is_seen(
    server: Server, tmp_path: Path, name: Name, target: str
) -> None:
    counting = Counting(server, f"sqlite:///{tmp_path}/audit.db")
    people = People(server, name("fraud"))
    people.ask(people.version(0.80), target)
    counting.cycle.run(counting.policy, Mode.ENFORCE)
    better, candidate = people.version(0.95), people.version(0.90)
    people.ask(candidate, target)

    def moved() -> None:
        if server.protocol == "tags":
            people.move(better, target)
        else:
            # The app protects the target: whoever it approves may move it.
            people.ask(better, target)
            body = {"name": people.model, "version": better, "stage": target}
            server.call("POST", "transition-requests/approve", json=body)

    counting.transport.meanwhile = moved  # type: ignore[method-assign]
    counting.transport.path, counting.transport.number = "registered-models/get", 2
    counting.cycle.run(counting.policy, Mode.ENFORCE)
    assert counting.said(people.model)[1] == (candidate, "approve", "lapsed")
    assert not people.holds(candidate, target)
    assert people.holds(better, target)
    counting.engine.dispose()
