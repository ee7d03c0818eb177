"""The registry as a witness: what a real server shows of decisions against a database that its owner rewrote."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from sqlalchemy import text

from reconciler.audit.database import make_engine
from reconciler.audit.log.filling import take_in
from tests.acceptance.conftest import DECISION, Product, Server
from tests.store.test_log import forget_log, without_triggers

Name = Callable[[str], str]

pytestmark = pytest.mark.either_protocol


@pytest.fixture
def decided(server: Server, product: Product, name: Name) -> dict[str, str]:
    """The ids of two decisions about one version, which failed first, and of one about another."""
    server.version(name("fraud"), metric=0.5)
    server.version(name("churn"), metric=0.97)
    server.ask(name("fraud"))
    product.ok("once")
    server.ask(name("fraud"), "again")
    server.ask(name("churn"))
    product.ok("once")
    rows = product.decisions()[::-1]
    mine = [row["decision_id"] for row in rows if row["model"] == name("fraud")]
    return {"earlier": mine[0], "later": mine[1]}


def said(product: Product, name: Name) -> list[str]:
    """The differences about models of this test: other tests have decided on the same server."""
    done = product.run("audit", "verify", "--registry")
    assert done.returncode in {0, 1}, done.stderr
    return [line for line in done.stdout.splitlines() if name("fraud") in line or name("churn") in line]


def test_a_decision_is_told_with_its_entry_in_the_log(
    server: Server, product: Product, name: Name, decided: dict[str, str], tmp_path: Path
) -> None:
    told = server.shown(name("fraud"))["tags"][DECISION]
    url = product.environment()["RECONCILER_AUDIT__URL"]
    engine = make_engine(url)
    with engine.connect() as connection:
        query = text("SELECT leaf, hash FROM log_leaves WHERE entry = 'decisions' AND row_key = :id")
        [(leaf, hash_)] = connection.execute(query, {"id": decided["later"]}).all()
    engine.dispose()
    assert f", log entry {leaf} sha256:{bytes(hash_).hex()} (decision {decided['later']}, policy " in told
    # A sentence that a person reads: what and why come first, ids last.
    assert told.startswith("Rejected ")
    assert said(product, name) == []


def test_a_database_that_was_rewritten_with_its_log_is_found_by_what_the_registry_was_told(
    server: Server, product: Product, name: Name, decided: dict[str, str]
) -> None:
    engine = make_engine(product.environment()["RECONCILER_AUDIT__URL"])
    without_triggers(engine, "decisions")
    with engine.begin() as connection:
        change = text("UPDATE decisions SET requester = 'nobody' WHERE decision_id = :id")
        connection.execute(change, {"id": decided["later"]})
    forget_log(engine)
    take_in(engine)
    engine.dispose()
    assert product.run("audit", "verify").returncode == 0
    told = said(product, name)
    assert any(decided["later"] in line and "when it was written" in line for line in told)


def test_a_decision_that_is_gone_from_the_database_is_still_named_by_the_registry(
    server: Server, product: Product, name: Name, decided: dict[str, str], tmp_path: Path
) -> None:
    shutil.move(tmp_path / "audit.db", tmp_path / "away.db")
    for beside in tmp_path.glob("audit.db-*"):
        beside.unlink()
    product.ok("db", "upgrade")
    told = said(product, name)
    for id in decided.values():
        assert any(id in line and "is not in the database" in line for line in told)


def test_a_tag_that_somebody_edited_is_told_and_the_app_lets_nobody_edit_it(
    server: Server, product: Product, name: Name, decided: dict[str, str]
) -> None:
    told = server.shown(name("fraud"))["tags"][DECISION]
    hash_ = told.partition("sha256:")[2][:64]
    forged = told.replace(hash_, hash_[::-1])
    if server.protocol == "transition-requests":
        # The app's wall keeps it as it was told.
        with pytest.raises(requests.HTTPError, match="403"):
            server.tag(name("fraud"), forged, DECISION)
        assert said(product, name) == []
        return
    server.tag(name("fraud"), forged, DECISION)
    assert any("the database or that text was changed" in line for line in said(product, name))
    assert json.loads(product.ok("audit", "show", decided["later"], "--format", "json"))
