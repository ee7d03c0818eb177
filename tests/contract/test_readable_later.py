"""What an account may read since a while, on the Databricks double. With the app: `tests/mlflow_app/test_held.py`."""

from __future__ import annotations

import time
from pathlib import Path

from tests.contract.conftest import Daemon, OnDatabricks
from tests.contract.test_resolutions import rows
from tests.databricks_double import Version, workspace

TEN_DAYS = 10 * 24 * 3600


def began(daemon: Daemon) -> list[tuple[str, str]]:
    return rows(daemon, "SELECT model, began_by FROM tenures ORDER BY model")


def test_a_model_of_databricks_that_may_be_read_since_a_while_was_there_when_it_was_first_looked_at(
    tmp_path: Path,
) -> None:
    """Another daemon finds it. What was made a moment ago was moved by somebody, who may have asked."""
    now = time.time()
    with workspace() as double:
        double.models["read before"] = {"1": Version(created=round((now - TEN_DAYS - 1) * 1000))}
        first = Daemon(OnDatabricks(double).registry, tmp_path)
        for _ in range(3):
            first.cycle()
        double.models["old"] = {"1": Version("Production", created=round((now - TEN_DAYS) * 1000))}
        double.models["new"] = {"1": Version("Production", created=round(now * 1000))}
        double.models["read before"]["1"].stage = "Production"
        then = Daemon(OnDatabricks(double).registry, tmp_path)
        for _ in range(3):
            then.cycle()
        assert began(then) == [("new", "undetermined"), ("old", "baseline"), ("read before", "undetermined")]
    for daemon in (first, then):
        daemon.engine.dispose()
