"""What a daemon decided on a real server is judged again, and by other policies; a plain second judge says the same."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.acceptance.conftest import Product, Server

Name = Callable[[str], str]
pytestmark = pytest.mark.either_protocol
VALUES = {"good": 0.95, "bad": 0.5, "edge": 0.9, "none": None}


def test_decisions_of_a_real_server_agree_until_somebody_flips_one(
    server: Server, product: Product, name: Name
) -> None:
    for model, value in VALUES.items():
        server.version(name(model), metric=value)
        server.ask(name(model))
    product.ok("once")
    done = json.loads(product.ok("audit", "reperform", "--format", "json"))
    assert done == {"rows": [], "decisions": 4, "agree": 4, "differ": 0, "unknown": 0}
    # By hand: at least 0.9, and what was not measured fails.
    said = {row["model"]: row["verdict"] for row in product.decisions()}
    assert said == {
        name(model): "approve" if value is not None and value >= 0.9 else "reject" for model, value in VALUES.items()
    }
    with closing(sqlite3.connect(product.place / "audit.db")) as owner, owner:
        owner.execute("DROP TRIGGER decisions_no_update")
        owner.execute("DROP TRIGGER decision_checks_no_update")
        owner.execute("UPDATE decisions SET verdict = 'approve' WHERE model = ?", (name("bad"),))
        check = "UPDATE decision_checks SET result = 'passed' WHERE decision_id = (SELECT decision_id FROM decisions"
        owner.execute(f"{check} WHERE model = ?)", (name("none"),))
    found = product.run("audit", "reperform", "--format", "json")
    rows = json.loads(found.stdout)["rows"]
    assert found.returncode == 1
    assert {(row["model"], row["what"], row["recorded"], row["judged_again"]) for row in rows} == {
        (name("bad"), "verdict", "approve", "reject"),
        (name("none"), "result", "passed", "failed"),
    }


def test_what_another_policy_would_have_made_of_it_is_what_a_plain_comparison_says(
    server: Server, product: Product, name: Name
) -> None:
    values = {f"m{number}": 0.86 + number / 50 for number in range(6)}
    for model, value in values.items():
        server.version(name(model), metric=value)
        if model in {"m3", "m4"}:
            server.tag(name(model), "team", "owner")
        server.ask(name(model))
    product.ok("once")
    new = product.place / "new.yaml"

    def would(least: float, *, owned: bool) -> dict[str, str]:
        checks = [f"{{metric: validation_accuracy, min: {least}}}"] + ["{tag: owner}"] * owned
        rule = 'name: other, targets: [Production, "@champion"], archive_existing: true'
        new.write_text(f"version: 1\nrules: [{{{rule}, require: [{', '.join(checks)}]}}]\n")
        found = json.loads(product.ok("policy", "replay", str(new), "--format", "json"))
        assert (found["decisions"], found["unknown"], found["differ"]) == (6, 0, len(found["rows"]))
        return {row["model"]: row["would"] for row in found["rows"]}

    def by_hand(least: float, *, owned: bool) -> dict[str, str]:
        said = {model: value >= least and (not owned or model in {"m3", "m4"}) for model, value in values.items()}
        return {
            name(model): "approve" if passes else "reject"
            for model, passes in said.items()
            if passes != (values[model] >= 0.9)
        }

    for least in (0.9, 0.93, 0.8):
        for owned in (False, True):
            assert would(least, owned=owned) == by_hand(least, owned=owned)
