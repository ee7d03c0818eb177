"""What may lie under or in front of a plain MLflow server: another database, a prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from reconciler.demo.server import mlflow_server
from tests.acceptance.conftest import DECISION, Product, Server
from tests.postgres import PostgresServer

Name = Callable[[str], str]


@pytest.fixture(params=["postgresql", "a static prefix"])
def unusual(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    if request.param == "postgresql":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        database = make_url(postgres.new_database()).set(drivername="postgresql+psycopg2").render_as_string(False)
        options = ["--backend-store-uri", database]
    else:
        options = ["--static-prefix", "/mlflow"]
    with mlflow_server(tmp_path / "unusual", *options) as uri:
        yield Server(uri + ("/mlflow" if "--static-prefix" in options else ""))


def test_requests_are_approved_and_rejected_there_too(unusual: Server, product: Product, name: Name) -> None:
    product.variables["RECONCILER_REGISTRY__URI"] = unusual.uri
    assert "FAIL" not in product.run("check").stdout
    for model, metric in (("good", 0.94), ("bad", 0.5)):
        unusual.version(name(model), metric=metric)
        unusual.ask(name(model))
    unusual.version(name("best"), metric=0.97)
    product.ok("request", "create", name("best"), "1", "@champion")
    done = product.run("once")
    assert done.returncode == 0, done.stderr
    assert {row["outcome"] for row in product.decisions()} == {"applied"}
    shown = {model: unusual.shown(name(model)) for model in ("good", "bad", "best")}
    assert (shown["good"]["current_stage"], shown["bad"]["current_stage"]) == ("Production", "None")
    assert shown["best"]["aliases"] == ["champion"]
    assert "Rejected" in shown["bad"]["tags"][DECISION]
