"""What a daemon decided on a real server is judged again, and a plain second judge says the same."""

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
