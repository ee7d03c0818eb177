"""`status`, `audit acknowledge` and `audit baseline`, as people type and read them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.domain.target import Target
from tests import command
from tests.store.test_observations import Looking

Run = Callable[..., "subprocess.CompletedProcess[str]"]
PRODUCTION = Target.parse("Production")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A database in which version 1 of `churn` held Production first, and version 2 of `fraud` was moved there."""
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    schema.upgrade(url)
    engine = make_engine(url)
    looking = Looking(engine)
    looking.registry.accuracy["churn", "1"] = "0.9"
    looking.registry.holders["churn", PRODUCTION] = "1"
    looking.cycles(2)
    looking.move("2")
    looking.cycles(2)
    engine.dispose()
    environment = {**os.environ, "RECONCILER_AUDIT__URL": url}
    return lambda *arguments: command.run(*arguments, environment=environment)


def number_of_the_bypass(run: Run) -> str:
    [row] = json.loads(run("status", "--json").stdout)["bypasses"]
    assert (row["model"], row["version"], row["target"]) == ("fraud", "2", "Production")
    return str(row["tenure_id"])


def test_status_names_a_bypass_and_the_command_that_accepts_it(run: Run) -> None:
    shown = run("status").stdout
    number = number_of_the_bypass(run)
    assert f"bypass {number}: fraud version 2 holds Production without a decision, first seen at 20" in shown
    assert "mlflow-reconciler audit acknowledge NUMBER --reason TEXT" in shown
    assert "1 version held a target when first looked at: mlflow-reconciler audit baseline" in shown
    assert "holders looked at: stages " in shown
    accepted = run("audit", "acknowledge", number, "--reason", "ticket 71", "--by", "mia")
    assert (accepted.returncode, accepted.stdout) == (
        0, f"acknowledged: fraud version 2 at Production (tenure {number})\n"
    )  # fmt: skip
    assert f"bypass {number}" not in run("status").stdout
    again = run("audit", "acknowledge", number, "--reason", "ticket 72", "--by", "bob")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == f"tenure {number} was acknowledged already, by mia; this call changed nothing\n"


def test_a_baseline_is_listed_and_accepted(run: Run) -> None:
    listed = run("audit", "baseline", "--format", "json")
    [row] = json.loads(listed.stdout)
    assert (row["model"], row["version"], row["target"]) == ("churn", "1", "Production")
    accepted = run("audit", "baseline", "--model", "ch*", "--reason", "reviewed", "--by", "mia")
    assert (accepted.returncode, accepted.stderr) == (0, "accepted 1 tenure\n")
    assert "audit baseline" not in run("status").stdout
    assert run("audit", "baseline").stderr == "no baseline waits to be accepted\n"
    nothing = run("audit", "baseline", "--reason", "reviewed")
    assert (nothing.returncode, nothing.stderr) == (1, "nothing to accept\n")


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (("audit", "acknowledge", "999", "--reason", "x"), 4, "there is no tenure 999: see `mlflow-reconciler status`"),
        (("audit", "acknowledge", "1", "--reason", "x"), 4, "tenure 1 began by baseline: only a bypass can be"),
        (("audit", "acknowledge", "1", "--reason", " "), 2, "is empty: say why it is accepted"),
        (("audit", "acknowledge", "1"), 2, "--reason"),
        (("audit", "acknowledge", "fraud", "--reason", "x"), 2, "fraud"),
        (("audit", "acknowledge", "0", "--reason", "x"), 2, "0"),
        (("audit", "baseline", "--target", "Prod"), 2, "Prod"),
        (("audit", "baseline", "--reason", ""), 2, "is empty: say why it is accepted"),
    ],
)
def test_what_cannot_be_accepted_is_said_in_a_sentence(run: Run, typed: tuple[str, ...], code: int, said: str) -> None:
    answer = run(*typed)
    assert (answer.returncode, answer.stdout) == (code, "")
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
