"""`policy replay`, as the owner of a policy types it."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.evidence.redacting import redact
from reconciler.domain.evidence.evidence import RunFacts
from reconciler.policy.file import parse_policy
from tests import command
from tests.builders import a_request, accuracy_policy, with_changed
from tests.store.test_reperforming import record
from tests.whole_evidence import NOW, reading, whole

Run = Callable[..., "subprocess.CompletedProcess[str]"]
OLD, NEW = accuracy_policy(0.9), accuracy_policy(0.95)
ACCURACIES = {"low": 0.85, "middle": 0.93, "high": 0.97}


@pytest.fixture
def ids(audit_url: str) -> dict[str, str]:
    """Three decisions by a policy that asks for 0.9, by their models."""
    schema.upgrade(audit_url)
    engine = make_engine(audit_url)
    given = [
        (a_request(name, NOW), with_changed(whole(), RunFacts, metrics={"validation_accuracy": reading(value)}))
        for name, value in ACCURACIES.items()
    ]
    found = dict(zip(ACCURACIES, record(engine, parse_policy(OLD, "p"), *given), strict=True))
    engine.dispose()
    return found


@pytest.fixture
def run(audit_url: str, ids: dict[str, str], tmp_path: Path) -> Run:
    environment = {**os.environ, "RECONCILER_AUDIT__URL": audit_url}

    def run(policy: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "new.yaml"
        path.write_text(policy)
        return command.run("policy", "replay", str(path), *arguments, environment=environment)

    return run


def test_it_says_how_many_would_differ_which_and_why(run: Run, ids: dict[str, str]) -> None:
    done = run(NEW)
    assert done.returncode == 0
    first, check, last = done.stdout.splitlines()
    assert first.startswith(f"{ids['middle']} middle version 1 to Production, decided ")
    assert first.endswith(": approve, would reject (checks_failed), by the policy")
    assert check == (
        "  accuracy/metric validation_accuracy: recorded passed, would be failed: "
        "validation_accuracy 0.93, at least 0.95 required"
    )
    assert last == "of 3 decisions 1 would differ (1 by the policy), 0 cannot be judged"


def test_a_pipeline_fails_where_the_policy_changes_one(run: Run) -> None:
    assert run(NEW, "--fail-on-change").returncode == 1
    assert run(OLD, "--fail-on-change").returncode == 0
    assert run(OLD + "# said otherwise\n", "--fail-on-change").stdout == (
        "of 3 decisions 0 would differ, 0 cannot be judged\n"
    )
    assert run(NEW, "--fail-on-change", "--until", "2020-01-01").returncode == 0


def test_what_cannot_be_told_is_no_pass(run: Run, ids: dict[str, str], audit_url: str) -> None:
    engine = make_engine(audit_url)
    redact(engine, ids["high"], ["run.metrics.validation_accuracy"], "ticket", "ada")
    engine.dispose()
    done = run(OLD, "--fail-on-change")
    assert done.returncode == 3
    assert done.stdout.splitlines()[0].endswith(
        "approve, cannot be judged: accuracy/metric validation_accuracy: run.metrics.validation_accuracy was redacted"
    )
    assert run(NEW, "--fail-on-change").returncode == 1


def test_every_format_has_the_same_rows(run: Run, ids: dict[str, str]) -> None:
    whole = json.loads(run(NEW, "--format", "json").stdout)
    [row] = whole.pop("rows")
    assert whole == {
        "policy": parse_policy(NEW, "p").digest, "decisions": 3, "same": 2, "differ": 1, "unknown": 0, "by_policy": 1,
        "by_engine": 0, "by_both": 0, "by_unclear": 0,
    }  # fmt: skip
    assert (row["decision_id"], row["change"], row["cause"], row["recorded"], row["would"]) == (
        ids["middle"], "differs", "policy", "approve", "reject",
    )  # fmt: skip
    assert [check["would"] for check in row["checks"]] == ["failed"]
    [line] = run(NEW, "--format", "jsonl").stdout.splitlines()
    assert json.loads(line) == row
    [cells] = csv.DictReader(io.StringIO(run(NEW, "--format", "csv").stdout))
    assert {**cells, "checks": json.loads(cells["checks"])} == row


def test_a_policy_with_mistakes_is_refused_with_their_places(run: Run) -> None:
    done = run(NEW.replace("min", "mn"))
    assert (done.returncode, done.stdout) == (78, "")
    assert "new.yaml:5:" in done.stderr


def test_a_policy_of_several_files_is_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text(NEW)
    including = "version: 1\ninclude: [{file: team.yaml, models: [middle]}]\n"
    assert run(including + OLD.partition("\n")[2]).returncode == 78  # one name for two rules
    (tmp_path / "team.yaml").write_text(NEW.replace("name: accuracy", "name: team"))
    done = run(including + OLD.partition("\n")[2])
    assert done.stdout.splitlines()[-1] == "of 3 decisions 1 would differ (1 by the policy), 0 cannot be judged"
