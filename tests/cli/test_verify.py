"""`audit verify` and `db restored`, as an auditor and an operator type them."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.audit.database import make_engine
from reconciler.audit.log.heads import HeadKeeper
from reconciler.audit.log.signing import Signer
from tests import command
from tests.history import key_pair
from tests.store.test_log import decide
from tests.verifier import TOOL

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
    root = json.loads(run("audit", "report", "bypasses", "--format", "json").stdout)["log"]["root"]
    assert done.stdout.startswith(f"intact: 4 entries, root {root}\n")
    assert json.loads(run("audit", "verify", "--format", "json").stdout)["root"] == root


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


def test_the_answer_stays_where_nobody_reads_it_to_its_end(run: Run, tmp_path: Path) -> None:
    def unread(*arguments: str) -> int:
        reader, writer = os.pipe()
        os.close(reader)
        environment = {**os.environ, "RECONCILER_AUDIT__URL": f"sqlite:///{tmp_path / 'audit.db'}"}
        with open(writer, "wb") as stdout:
            return subprocess.run([command.COMMAND, *arguments], env=environment, stdout=stdout, check=False).returncode

    assert (unread("audit", "verify"), unread("audit", "report", "decisions", "--format", "json")) == (0, 0)
    with closing(sqlite3.connect(tmp_path / "audit.db")) as owner, owner:
        owner.execute("DROP TRIGGER pause_events_no_delete")
        owner.execute("DELETE FROM pause_events WHERE id = 2")
    assert unread("audit", "verify") == 1


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


# --- heads ---------------------------------------------------------------------------------------------------


@pytest.fixture
def heads(run: Run, tmp_path: Path) -> Path:
    """The heads that a daemon appended, and then one row more."""
    engine, path = make_engine(f"sqlite:///{tmp_path / 'audit.db'}"), tmp_path / "kept.heads"
    pem, _ = key_pair(tmp_path)
    HeadKeeper(engine, path, Signer.of(pem)).keep()
    engine.dispose()
    assert run("pause", "--reason", "a test", "--by", "ada").returncode == 0
    return path


def test_heads_are_compared_and_without_a_key_they_are_trusted_on_first_use(
    run: Run, heads: Path, tmp_path: Path
) -> None:
    done = run("audit", "verify", "--head", str(heads))
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 head agrees, the latest over 4 of these entries; trust on first use: the key" in done.stdout
    assert "verified" not in done.stdout
    done = run("audit", "verify", "--head", str(heads), "--key", str(tmp_path / "audit.pub"))
    assert done.stdout.rstrip().endswith("signed by the key that you named")
    done = run("audit", "verify", "--since", str(heads))
    assert done.stdout.startswith("intact: 5 entries (those before entry 4 were verified before")


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_heads_that_another_program_saved_are_the_same(run: Run, heads: Path, tmp_path: Path, ends: bytes) -> None:
    saved = tmp_path / "saved.heads"
    saved.write_bytes(b"\xef\xbb\xbf" + heads.read_bytes().replace(b"\n", ends))
    done = run("audit", "verify", "--head", str(saved))
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 head agrees" in done.stdout
    checked = [sys.executable, "-I", str(TOOL), str(tmp_path / "audit.db"), "--head", str(saved)]
    assert subprocess.run(checked, capture_output=True).returncode == 0


def test_a_log_that_was_cut_off_is_told_by_a_head_with_exit_1(run: Run, heads: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "audit.db")) as owner, owner:
        for table in ("pause_events", "log_leaves", "log_nodes"):
            owner.execute(f"DROP TRIGGER {table}_no_delete")
        owner.executescript(
            "DELETE FROM log_leaves WHERE leaf > 2; DELETE FROM pause_events WHERE id > 3;"
            "DELETE FROM log_nodes WHERE (position + 1) * (1 << level) > 3; UPDATE log_state SET size = 3"
        )
    assert run("audit", "verify").stdout.startswith("intact: 3 entries")
    done = run("audit", "verify", "--head", str(heads))
    assert done.returncode == 1
    assert done.stdout.startswith("the log is shorter than the head of ")
    assert done.stderr.rstrip().endswith("is not as it was recorded: 1 difference")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--head", "missing.heads"], 2, "cannot be read: no such file or directory"),
        (["--head", "empty"], 2, "has no head of a log"),
        (["--key", "audit.pub"], 2, "name a file of them with --head"),
        (["--head", "kept.heads", "--key", "nonsense"], 2, "neither a public key in PEM nor a verifier key"),
        (["--head", "kept.heads", "--key", "empty"], 2, "neither a public key in PEM nor a verifier key"),
    ],
)
def test_what_is_no_head_and_what_is_no_key_is_one_sentence(
    run: Run, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    (tmp_path / "empty").touch()
    monkeypatch.chdir(tmp_path)
    done = run("audit", "verify", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_dossier_and_a_sample_are_written_as_a_whole_or_not_at_all(run: Run, tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'audit.db'}")
    decide(engine, 3)
    HeadKeeper(engine, tmp_path / "audit.heads").keep()
    engine.dispose()
    [id, *_] = [row["decision_id"] for row in json.loads(run("audit", "list", "--format", "json").stdout)]
    done = run("audit", "dossier", id[:8])
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["decision_id"] == id
    (tmp_path / "dossier.json").write_text(done.stdout)
    checked = [sys.executable, "-I", str(TOOL), str(tmp_path / "dossier.json"), "--head", str(tmp_path / "audit.heads")]
    assert subprocess.run(checked, capture_output=True).returncode == 0
    zip_file = tmp_path / "sample.zip"
    done = run("audit", "sample", "--seed", "s", "--output", str(zip_file), "--since", "1d")
    assert (done.returncode, done.stderr) == (0, f"wrote {zip_file}: 3 decisions of 3\n")
    assert run("audit", "dossier", "ffffffff-nothing").returncode == 4
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "named.json")
    with subprocess.Popen(["timeout", "60", "cat", pipe], stdout=subprocess.PIPE) as reader:
        assert run("audit", "dossier", id, "--output", str(pipe)).returncode == 0
        assert json.loads(reader.communicate()[0])["decision_id"] == id
    assert run("audit", "dossier", id, "--output", str(link)).returncode == 0
    assert (pipe.is_fifo(), link.is_symlink(), (tmp_path / "named.json").is_file()) == (True, True, True)
    done = run("audit", "sample", "--seed", "s", "--output", str(tmp_path / "no" / "sample.zip"))
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    done = run(
        "audit", "sample", "--seed", "s", "--output", str(zip_file), "--since", "2026-02-01", "--until", "2026-01-01"
    )
    assert done.returncode == 2
    assert run("audit", "sample", "--seed", "s", "--output", str(zip_file), "--report", "other").returncode == 2
    with closing(sqlite3.connect(tmp_path / "audit.db")) as owner, owner:
        owner.execute("DROP TRIGGER outcomes_no_update")
        owner.execute("UPDATE outcomes SET detail = 'another'")
    (tmp_path / "second").mkdir()
    done = run("audit", "sample", "--seed", "s", "--output", str(tmp_path / "second" / "sample.zip"))
    assert done.returncode == 1
    assert "is not as it was recorded" in done.stderr
    assert list((tmp_path / "second").iterdir()) == []
