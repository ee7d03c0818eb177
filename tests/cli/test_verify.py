"""`audit verify` and `db restored`, as an auditor and an operator type them."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests import command

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A command on a database with three entries in its log."""
    environment = {**os.environ, "RECONCILER_AUDIT__URL": f"sqlite:///{tmp_path / 'audit.db'}"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command.run(*arguments, environment=environment)

    assert run("db", "upgrade").returncode == 0
    for _ in range(2):
        assert run("pause", "--reason", "a test", "--by", "ada").returncode == 0
        assert run("resume", "--by", "ada").returncode == 0
    return run


def test_an_untouched_database_is_intact_and_the_root_is_printed(run: Run) -> None:
    done = run("audit", "verify")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("intact: 4 entries, root ")
    assert len(done.stdout.split()[-1]) == 64


def test_a_changed_and_a_removed_row_are_named_with_exit_1(run: Run, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "audit.db")) as owner, owner:
        owner.execute("DROP TRIGGER pause_events_no_update")
        owner.execute("DROP TRIGGER pause_events_no_delete")
        owner.execute("UPDATE pause_events SET person = 'grace' WHERE id = 1")
        owner.execute("DELETE FROM pause_events WHERE id = 3")
    done = run("audit", "verify")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "pause_events 1 (entry 0 of the log): the row was changed",
        "pause_events 3 (entry 2 of the log): the row is missing",
    ]
    assert done.stderr.rstrip().endswith("is not as it was recorded: 2 differences")


def test_a_mistyped_path_is_not_intact(run: Run, tmp_path: Path) -> None:
    environment = {**os.environ, "RECONCILER_AUDIT__URL": f"sqlite:///{tmp_path / 'adit.db'}"}
    done = command.run("audit", "verify", environment=environment)
    assert (done.returncode, done.stdout) == (69, "")
    assert "adit.db: no such file" in done.stderr


def test_a_restore_is_put_on_record_as_an_entry_of_the_log(run: Run) -> None:
    done = run("db", "restored", "--reason", "the disk failed", "--by", "ada")
    assert done.returncode == 0
    assert done.stderr.rstrip().endswith("epoch 2 of its log begins")
    assert run("audit", "verify").stdout.startswith("intact: 5 entries")
    assert run("db", "restored", "--reason", " ").returncode == 2
