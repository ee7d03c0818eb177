"""What the commands that check something found, for programs: the same as for people, with the same exit code."""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import command
from tests.cli.test_completing import decided

POLICY = "version: 1\nrules:\n  - {name: r, models: [fraud], targets: [Production], require: [{metric: a, min: 0.5}]}\n"
CASES = """\
cases:
  - {name: good, model: fraud, target: Production, given: {run: {metrics: {a: 0.9}}}, expect: approve}
  - {name: bad, model: fraud, target: Production, given: {run: {metrics: {a: 0.1}}}, expect: approve}
"""


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return command.run(*words, environment={**os.environ, **variables})


def read(done: subprocess.CompletedProcess[str], code: int) -> Any:
    assert done.returncode == code, (done.stdout, done.stderr)
    return json.loads(done.stdout)


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    decided(f"sqlite:///{tmp_path}/audit.db", ["fraud", "churn"])
    return tmp_path / "audit.db"


def damaged(audit: Path) -> None:
    """Somebody who owns the database changes a row of history."""
    with sqlite3.connect(audit) as owner:
        owner.executescript(
            "DROP TRIGGER decisions_no_update; UPDATE decisions SET reason = 'fine' WHERE model = 'fraud'"
        )
    owner.close()


@pytest.mark.parametrize("words", [("audit", "verify"), ("db", "check")], ids=" ".join)
def test_what_is_wrong_with_a_database_is_a_row_each(audit: Path, words: tuple[str, str]) -> None:
    here = {"RECONCILER_AUDIT__URL": f"sqlite:///{audit}"}
    whole = read(run(*words, "--format", "json", **here), 0)
    assert (whole["rows"], whole.get("intact", whole.get("in_order"))) == ([], True)
    assert whole["entries"] > 4
    damaged(audit)
    for_people = run(*words, **here)
    assert for_people.returncode == 1
    whole = read(run(*words, "--format", "json", **here), 1)
    told = [next(reversed(row.values())) for row in whole["rows"]]
    assert told == for_people.stdout.splitlines()
    assert whole.get("intact", whole.get("in_order")) is False
    for format in ("jsonl", "csv"):
        done = run(*words, "--format", format, **here)
        rows = (
            map(json.loads, done.stdout.splitlines()) if format == "jsonl" else csv.DictReader(io.StringIO(done.stdout))
        )
        assert (done.returncode, list(rows)) == (1, whole["rows"])
        assert done.stderr == for_people.stderr
    assert len(run(*words, "--no-headers", **here).stdout.splitlines()) == len(told)


def test_what_was_copied_is_a_row_each(audit: Path, tmp_path: Path) -> None:
    urls = ["--from", f"sqlite:///{audit}", "--to", f"sqlite:///{tmp_path}/copy.db"]
    assert run("db", "upgrade", RECONCILER_AUDIT__URL=urls[-1]).returncode == 0
    rows = read(run("db", "copy", *urls, "--format", "json"), 0)
    [decisions] = [row for row in rows if row["table"] == "decisions"]
    with sqlite3.connect(audit) as owner:
        assert [(decisions["rows"],)] == owner.execute("SELECT count(*) FROM decisions").fetchall()
    owner.close()
    assert len(decisions["sha256"]) == 64


def test_mistakes_of_a_policy_are_rows_with_their_place(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    whole = read(run("policy", "validate", str(policy), "--format", "json"), 0)
    assert (whole["valid"], whole["rules"], len(whole["digest"])) == (True, 1, 64)
    policy.write_text(POLICY.replace("Production", "Prod").replace("0.5", "much"))
    for_people = run("policy", "validate", str(policy))
    whole = read(run("policy", "validate", str(policy), "--format", "json"), 78)
    assert whole["valid"] is False
    assert [
        f"{row['file']}:{row['line']}:{row['column']}: {row['where']}: {row['message']}" for row in whole["rows"]
    ] == for_people.stderr.splitlines()
    assert {row["level"] for row in whole["rows"]} == {"error"}
    done = run("policy", "validate", str(policy), "--format", "csv")
    assert (done.returncode, len(done.stdout.splitlines())) == (78, 3)
    assert done.stderr == f"{policy}: 2 mistakes\n"


def test_what_differs_between_policies_is_a_row_each(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(POLICY)
    new.write_text(POLICY.replace("0.5", "0.6"))
    rows = read(run("policy", "diff", str(old), str(new), "--format", "json"), 1)
    assert [row["difference"] for row in rows] == run("policy", "diff", str(old), str(new)).stdout.splitlines()
    assert read(run("policy", "diff", str(old), str(old), "--format", "json"), 0) == []


def test_each_case_of_a_policy_is_a_row(tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    policy.with_suffix(".test.yaml").write_text(CASES)
    whole = read(run("policy", "test", str(policy), "--format", "json"), 1)
    assert [(row["case"], row["result"], bool(row["failures"])) for row in whole["rows"]] == [
        ("good", "passed", False), ("bad", "failed", True),
    ]  # fmt: skip
    assert (whole["cases"], whole["failed"], whole["rules_without_a_case"]) == (2, 1, [])
