"""What holds a governed target now, judged by a policy, on real servers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.acceptance.conftest import Product, Server

Name = Callable[[str], str]
pytestmark = pytest.mark.either_protocol


def fleet(product: Product, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = product.run("fleet", "--format", "json", *arguments)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def policy_for(name: Name, *checks: str) -> str:
    """A policy about the models of one test: others may be on the server."""
    rule = {"name": "fleet", "models": [name("*")], "targets": ["Production"]}
    return f"version: 1\nrules: [{json.dumps(rule)[:-1]}, require: [{', '.join(checks)}]}}]\n"


ACCURATE = "{metric: validation_accuracy, min: 0.9}"


def put(server: Server, model: str, stage: str = "Production") -> None:
    """Version 1 there, as an administrator of MLflow can; with the app only an approval may."""
    body = {"name": model, "version": "1", "stage": stage, "archive_existing_versions": False}
    server.call("POST", "model-versions/transition-stage", json=body)


def test_each_holder_is_judged_and_those_that_hold_nothing_are_not(
    server: Server, product: Product, name: Name
) -> None:
    product.policy(policy_for(name, ACCURATE))
    for model, value in {"good": 0.95, "waits": 0.97}.items():
        server.version(name(model), metric=value)
    server.ask(name("good"))
    product.ok("once")
    code, whole = fleet(product)
    [row] = whole.pop("rows")
    assert (code, row["model"], row["version"], row["target"], row["result"]) == (
        0, name("good"), "1", "Production", "passes",
    )  # fmt: skip
    assert (whole["holders"], whole["passes"], whole["fails"], whole["unknown"]) == (1, 1, 0, 0)
    assert 0 < whole["calls"] < 20
    # A stricter policy, and one that asks for more.
    stricter = product.place / "stricter.yaml"
    stricter.write_text(policy_for(name, ACCURATE.replace("0.9", "0.96")))
    code, whole = fleet(product, "--policy", str(stricter))
    assert (code, whole["fails"]) == (1, 1)
    assert [(check["check"], check["code"]) for check in whole["rows"][0]["checks"]] == [
        ("fleet/metric validation_accuracy", "below_min")
    ]


def test_since_when_and_by_which_decision_where_the_database_knows(
    server: Server, product: Product, name: Name
) -> None:
    product.policy(policy_for(name, ACCURATE))
    server.version(name("good"), metric=0.95)
    server.ask(name("good"))
    for _ in range(3):
        product.ok("once")
    [decided] = product.decisions("--model", name("good"))
    _, whole = fleet(product)
    [row] = whole["rows"]
    assert (row["began_by"], row["decision_id"]) == ("decision", decided["decision_id"])
    assert row["since"] >= decided["decided_at"]
    # Without a database the rest is told all the same.
    product.variables["RECONCILER_AUDIT__URL"] = f"sqlite:///{product.place}/none.db"
    done = product.run("fleet", "--format", "json")
    [row] = json.loads(done.stdout)["rows"]
    assert (done.returncode, row["result"], row["since"], row["began_by"]) == (0, "passes", "", "")
    assert "none.db: no such file" in done.stderr


def test_nothing_is_written_anywhere(server: Server, product: Product, name: Name) -> None:
    product.policy(policy_for(name, ACCURATE))
    server.version(name("good"), metric=0.95)
    server.ask(name("good"))
    product.ok("once")
    before = server.shown(name("good")), (product.place / "audit.db").read_bytes()
    server.ask(name("good"), "again")
    open_now = server.asked(name("good")) if server.protocol == "tags" else None
    fleet(product)
    if server.protocol == "tags":
        assert server.asked(name("good")) == open_now
    assert (product.place / "audit.db").read_bytes() == before[1]
    assert server.shown(name("good"))["current_stage"] == "Production"


def test_who_asked_is_known_of_what_was_decided_and_unknown_of_the_rest(
    server: Server, product: Product, name: Name
) -> None:
    if server.protocol != "tags":
        pytest.skip("with the app nobody but an administrator moves a version without a request")
    product.policy(policy_for(name, ACCURATE))
    server.version(name("moved"), metric=0.95)
    put(server, name("moved"))
    server.version(name("bad"), metric=0.5)
    put(server, name("bad"))
    asking = product.place / "asking.yaml"
    asking.write_text(policy_for(name, ACCURATE, "{requester: {assurance: asserted, allow: [ada]}}"))
    code, whole = fleet(product, "--policy", str(asking))
    found = {row["model"]: (row["result"], [check["code"] for check in row["checks"]]) for row in whole["rows"]}
    assert code == 1
    assert found == {
        name("moved"): ("unknown", ["requester_unsure"]),
        name("bad"): ("fails", ["below_min"]),
    }
    put(server, name("bad"), "Archived")
    assert fleet(product, "--policy", str(asking))[0] == 3


def test_aliases_are_held_too_and_a_closed_window_says_nothing_about_a_holder(
    server: Server, product: Product, name: Name
) -> None:
    if server.protocol != "tags":
        pytest.skip("with the app nobody but an administrator moves a version without a request")
    server.version(name("named"), metric=0.95)
    alias = {"name": name("named"), "alias": "champion", "version": "1"}
    server.call("POST", "registered-models/alias", json=alias)
    text = policy_for(name, ACCURATE, "{window: {freezes: [{from: 2020-01-01, until: 2100-01-01}]}}")
    product.policy(text.replace('["Production"]', '["@champion"]'))
    code, whole = fleet(product)
    assert (code, [(row["target"], row["result"]) for row in whole["rows"]]) == (0, [("@champion", "passes")])
    # As of a later time: what was measured a day ago is too old then.
    aged = text.replace('["Production"]', '["@champion"]').replace("min: 0.9}", "min: 0.9, max_age: 30d}")
    product.policy(aged)
    assert fleet(product, "--at", "2035-01-01")[0] == 1


OF_CHANGES = [
    "{compare: validation_accuracy, min_absolute_change: 0.1, greater_is_better: true, if_no_holder: fail}",
    "{stage: Staging}",
    "{window: {freezes: [{from: 2020-01-01, until: 2100-01-01}]}}",
]


@pytest.mark.parametrize("about", OF_CHANGES)
def test_what_is_about_changes_does_not_count_among_alternatives(
    server: Server, product: Product, name: Name, about: str
) -> None:
    """What came there by a comparison is not worse because it is compared with nothing now, and not good by that."""
    if server.protocol != "tags":
        pytest.skip("with the app nobody but an administrator moves a version without a request")
    server.version(name("good"), metric=0.95)
    put(server, name("good"))
    for others, result in (
        (f"[[{about}], [{{tag: waiver}}]]", "unknown"),
        (f"[[{about}, {ACCURATE}], [{{tag: waiver}}]]", "passes"),
        (f"[[{about}, {{tag: review}}], [{{tag: waiver}}]]", "fails"),
        (f"[[{about}, {{metric: none, min: 1, on_missing: abstain}}], [{{tag: waiver}}]]", "unknown"),
        (f"[[{about}, {{requester: {{allow: [ada]}}}}], [{{tag: waiver}}]]", "unknown"),
    ):
        product.policy(policy_for(name, f"{{any_of: {others}}}"))
        _, whole = fleet(product)
        assert (others, whole["rows"][0]["result"]) == (others, result)


def test_the_table_and_the_csv_say_the_same(server: Server, product: Product, name: Name) -> None:
    product.policy(policy_for(name, ACCURATE))
    server.version(name("good"), metric=0.95)
    server.ask(name("good"))
    product.ok("once")
    table = product.run("fleet")
    assert table.stdout.splitlines()[0].startswith(f"{name('good')} version 1 at Production")
    assert table.stdout.splitlines()[-1] == "1 holder: 1 pass, 0 fail, 0 cannot be judged"
    assert "calls of the registry" in table.stderr
    [row] = csv.DictReader(io.StringIO(product.ok("fleet", "--format", "csv")))
    assert (row["model"], row["result"]) == (name("good"), "passes")


def test_a_server_that_is_not_there_is_not_reached(product: Product) -> None:
    product.variables["RECONCILER_REGISTRY__URI"] = "http://127.0.0.1:9"
    done = product.run("fleet")
    assert (done.returncode, done.stdout) == (69, "")
