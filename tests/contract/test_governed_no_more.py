"""A policy that stops to govern aliases: nothing is said of aliases any more, as if nobody looked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.audit.holding.bypasses import holding
from reconciler.cli.shown.status_holding import show_holding
from reconciler.cycle import PolicyInForce
from reconciler.policy.file import parse_policy
from tests.acceptance.conftest import served
from tests.builders import accuracy_policy
from tests.contract.conftest import Daemon, OnMlflow, World
from tests.contract.test_resolutions import rows

BOTH = accuracy_policy(targets='Production, "@champion"')


@pytest.fixture(params=["tags", "app"])
def world(request: pytest.FixtureRequest) -> Any:
    protocol, uri = ("tags", "mlflow_uri") if request.param == "tags" else ("transition-requests", "app_uri")
    for server in served(request.getfixturevalue(uri), protocol):
        yield OnMlflow(server)


def test_aliases_have_no_age_when_no_rule_governs_them_any_more(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon(world.registry, tmp_path, BOTH)
    daemon.cycle()
    daemon.cycle()
    known = "SELECT stages_as_of IS NULL, aliases_as_of IS NULL FROM looks"
    assert rows(daemon, known) == [(False, False)]
    loaded = parse_policy(accuracy_policy(), "policy.yaml")
    daemon.policy = PolicyInForce(loaded.policy, loaded.digest, loaded.text)
    daemon.cycle()
    daemon.cycle()
    assert rows(daemon, known) == [(False, True)]
    with daemon.engine.connect() as connection:
        show_holding(holding(connection), None)
    assert "aliases" not in capsys.readouterr().out
    daemon.engine.dispose()
