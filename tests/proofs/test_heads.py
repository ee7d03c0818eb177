"""Heads of the log: when they leave the database, and what happens where they have no place."""

from __future__ import annotations

import fcntl
import logging
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from bench.costs import statements
from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.log.epochs import note_restored
from reconciler.audit.log.filling import take_in
from reconciler.audit.log.heads import HeadKeeper
from reconciler.audit.log.signing import PublicKey, Signer
from reconciler.audit.log.verifying import verify
from reconciler.audit.running.pauses import PAUSE, RESUME, note_pause
from reconciler.domain.decision import Mode
from reconciler.domain.proofs.checkpoint import Head, heads_in
from tests.history import key_pair
from tests.postgres import PostgresServer
from tests.roles import daemon_role
from tests.store.test_log import decide, forget_log, without_triggers
from tests.verifier import VERIFIER


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.heads"


def heads(path: Path) -> list[Head]:
    return list(heads_in(path.read_text()).heads)


def pause(engine: Engine, many: int = 1) -> None:
    """As many rows of history."""
    for _ in range(many):
        assert note_pause(engine, PAUSE, "a test", "me") or note_pause(engine, RESUME, "", "me")


# --- when ----------------------------------------------------------------------------------------------------


def test_a_head_is_appended_after_rows_were_added_and_none_where_none_was(engine: Engine, path: Path) -> None:
    keeper = HeadKeeper(engine, path)
    decide(engine, 2, Mode.OBSERVE)
    keeper.keep()
    keeper.keep()
    [head] = heads(path)
    found = verify(engine)
    assert (head.size, head.root.hex(), head.epoch) == (found.size, found.root, 1)
    pause(engine)
    keeper.keep()
    assert [head.size for head in heads(path)] == [found.size, found.size + 1]
    assert heads(path)[1].root.hex() == verify(engine).root


def test_a_cycle_that_adds_nothing_asks_for_the_size_of_the_log_only(engine: Engine, path: Path) -> None:
    keeper = HeadKeeper(engine, path)
    pause(engine)
    keeper.keep()
    assert len(statements(engine, keeper.keep)) == 1


def test_an_empty_log_has_no_head(engine: Engine, path: Path) -> None:
    HeadKeeper(engine, path).keep()
    assert not path.exists()


def test_a_start_appends_no_head_twice_and_what_a_crash_kept_from_being_appended(engine: Engine, path: Path) -> None:
    pause(engine)
    HeadKeeper(engine, path).keep()
    HeadKeeper(engine, path).keep()
    assert len(heads(path)) == 1
    pause(engine)  # the process dies before its head is kept
    HeadKeeper(engine, path).keep()
    assert [head.size for head in heads(path)] == [1, 2]


def test_an_epoch_is_named_by_the_heads_that_follow_it(engine: Engine, path: Path) -> None:
    keeper = HeadKeeper(engine, path)
    pause(engine)
    keeper.keep()
    note_restored(engine, "a test", "me")
    keeper.keep()
    assert [head.epoch for head in heads(path)] == [1, 2]


def test_the_journal_has_each_head_in_one_line_that_can_be_read_back(
    engine: Engine, path: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    pem, _ = key_pair(tmp_path)
    with caplog.at_level(logging.INFO, "reconciler"):
        pause(engine)
        HeadKeeper(engine, None, Signer.of(pem)).keep()
    [record] = [record for record in caplog.records if "log head: " in record.message]
    assert "\n" not in record.message
    line = f"2026-11-24T09:28:30.123Z INFO {record.message} [cycle 1f2e3d4c]\nanother line of the log\n"
    [head] = heads_in(line).heads
    assert head.root.hex() == verify(engine).root
    assert head.signatures


# --- signatures ----------------------------------------------------------------------------------------------


def test_openssl_accepts_the_signature_of_a_head_and_refuses_it_for_another(
    engine: Engine, path: Path, tmp_path: Path
) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on this machine")
    pem, public = key_pair(tmp_path)
    pause(engine)
    HeadKeeper(engine, path, Signer.of(pem)).keep()
    [head] = heads(path)
    [signature] = head.signatures
    assert signature.name == head.origin
    assert PublicKey.of(public.read_text()).signed(head)
    # What is signed is the text before the blank line, as a C2SP note has it.
    body, _, rest = path.read_text().partition("\n\n")
    assert rest.startswith(f"\N{EM DASH} {head.origin} ")
    assert _openssl(public, f"{body}\n".encode(), signature.content)
    assert not _openssl(public, f"{body}\n".replace("epoch 1", "epoch 2").encode(), signature.content)


def _openssl(public: Path, content: bytes, signature: bytes) -> bool:
    folder = public.parent
    (folder / "body").write_bytes(content)
    (folder / "signature").write_bytes(signature)
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin", "-in", "body"]
    return not subprocess.run([*command, "-sigfile", "signature"], cwd=folder, capture_output=True).returncode


# --- no place ------------------------------------------------------------------------------------------------


@contextmanager
def full_after(more: int, path: Path) -> Iterator[None]:
    """Files may not grow further than by as many bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("more", [0, 1, 40, 100])
def test_heads_that_a_full_disk_refused_are_appended_whole_and_in_order_later(
    engine: Engine, path: Path, more: int, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = HeadKeeper(engine, path)
    pause(engine)
    keeper.keep()
    for waiting in (1, 2, 3):
        pause(engine)
        # The database has a disk of its own here.
        with full_after(more, path):
            keeper.keep()
        assert keeper.waiting == waiting
        assert "audit.heads: " in str(keeper.problem)
        assert "acts go on" in str(keeper.problem)
    assert len([record for record in caplog.records if "cannot be written" in record.message]) == 3
    assert [head.size for head in heads(path)] == [1]
    assert path.read_text().endswith("\n\n")
    keeper.keep()
    assert ([head.size for head in heads(path)], keeper.waiting, keeper.problem) == ([1, 2, 3, 4], 0, None)


def test_a_file_that_only_grows_keeps_what_was_torn_and_the_next_head_begins_on_a_line_of_its_own(
    engine: Engine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(file: int, length: int) -> None:
        raise PermissionError("append only")  # chattr +a needs a file system that has it

    keeper = HeadKeeper(engine, path)
    pause(engine)
    keeper.keep()
    pause(engine)
    with monkeypatch.context() as patched, full_after(40, path):
        patched.setattr(os, "ftruncate", refused)
        keeper.keep()
    assert not path.read_text().endswith("\n\n")
    keeper.keep()
    found = heads_in(path.read_text())
    assert ([head.size for head in found.heads], found.torn) == ([1, 2], 1)


def test_a_folder_that_is_not_there_stops_nothing_and_loses_no_head(engine: Engine, path: Path) -> None:
    missing = path.parent / "missing" / "audit.heads"
    keeper = HeadKeeper(engine, missing)
    for _ in range(3):
        pause(engine)
        keeper.keep()
    assert keeper.waiting == 3
    missing.parent.mkdir()
    keeper.keep()
    assert [head.size for head in heads(missing)] == [1, 2, 3]


def test_a_pipe_that_nobody_reads_does_not_stop_the_daemon(engine: Engine, path: Path) -> None:
    os.mkfifo(path)
    keeper = HeadKeeper(engine, path)
    pause(engine)
    keeper.keep()
    assert "not a regular file" in str(keeper.problem) or "no such device" in str(keeper.problem)


def test_a_lock_that_another_program_holds_does_not_stop_the_daemon(engine: Engine, path: Path) -> None:
    keeper = HeadKeeper(engine, path)
    pause(engine)
    with path.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        keeper.keep()
        assert "another program has locked it" in str(keeper.problem)
    keeper.keep()
    assert (len(heads(path)), keeper.problem) == (1, None)


def test_of_heads_that_wait_for_long_every_second_one_is_dropped_and_never_the_first_or_last(
    engine: Engine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.audit.log.heads._MOST_WAITING", 8)
    missing = path.parent / "missing" / "audit.heads"
    keeper = HeadKeeper(engine, missing)
    for _ in range(40):
        pause(engine)
        keeper.keep()
        assert keeper.waiting <= 8
    missing.parent.mkdir()
    keeper.keep()
    sizes = [head.size for head in heads(missing)]
    assert (sizes[0], sizes[-1], sorted(set(sizes))) == (1, 40, sizes)


# --- looking back --------------------------------------------------------------------------------------------


def test_a_log_that_no_longer_extends_its_last_head_is_told_and_its_heads_are_kept_all_the_same(
    engine: Engine, path: Path
) -> None:
    pause(engine, 3)
    HeadKeeper(engine, path).keep()
    rebuilt(engine, 2)
    pause(engine, 2)
    keeper = HeadKeeper(engine, path)
    keeper.keep()
    assert "the log does not extend its head of 3 entries" in str(keeper.problem)
    assert [head.size for head in heads(path)] == [3, 4]


def test_a_log_that_was_rebuilt_from_its_first_entry_is_told_by_the_name_that_it_has_now(
    engine: Engine, path: Path
) -> None:
    pause(engine, 3)
    HeadKeeper(engine, path).keep()
    rewrite(engine, 1)
    keeper = HeadKeeper(engine, path)
    keeper.keep()
    assert "has heads of the log mlflow-reconciler/" in str(keeper.problem)
    assert "rebuilt from its first entry" in str(keeper.problem)
    assert len({head.origin for head in heads(path)}) == 2


def test_a_model_that_is_named_like_a_head_makes_none(engine: Engine, path: Path) -> None:
    pause(engine)
    HeadKeeper(engine, path).keep()
    note = heads(path)[0].note.replace("\n", "\\n")
    for line in (
        f"2026-11-24T09:28:30.123Z INFO approve log head: {note}",
        f"Nov 24 09:28:30 h x[1]: a log head: {note}",
    ):
        assert heads_in(line + "\n").heads == ()
    for line in (f"Nov 24 09:28:30 host mlflow-reconciler[12]: log head: {note}", f"log head: {note} [cycle 1f2e3d4c]"):
        assert len(heads_in(f"before\n{line}\nafter\n").heads) == 1
        assert len(VERIFIER.heads_in(f"before\n{line}\nafter\n")[0]) == 1


def rewrite(engine: Engine, id: int) -> None:
    """As who owns the database and knows the product: the row is changed, and the whole log built anew over it."""
    without_triggers(engine, "pause_events")
    with engine.begin() as connection:
        connection.execute(text("UPDATE pause_events SET person = 'nobody' WHERE id = :id"), {"id": id})
    forget_log(engine)
    take_in(engine)


def test_a_restore_on_record_is_not_told_as_that(engine: Engine, path: Path) -> None:
    pause(engine, 3)
    HeadKeeper(engine, path).keep()
    rebuilt(engine, 2)
    note_restored(engine, "the disk failed", "me")
    keeper = HeadKeeper(engine, path)
    keeper.keep()
    assert keeper.problem is None
    assert [(head.size, head.epoch) for head in heads(path)] == [(3, 1), (3, 2)]


def rebuilt(engine: Engine, size: int) -> None:
    """Cuts the log of pauses to so many entries, with all that belongs to it, as an earlier backup would have it."""
    for table in ("log_leaves", "log_nodes", "pause_events"):
        without_triggers(engine, table)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM log_leaves WHERE leaf >= :size"), {"size": size})
        connection.execute(text("DELETE FROM pause_events WHERE id > :size"), {"size": size})
        connection.execute(text("DELETE FROM log_nodes WHERE (position + 1) * (1 << level) > :size"), {"size": size})
        connection.execute(text("UPDATE log_state SET size = :size"), {"size": size})


# --- rights --------------------------------------------------------------------------------------------------


def test_the_rights_of_a_daemon_are_enough_and_what_is_missing_is_told(postgres: PostgresServer, path: Path) -> None:
    url = postgres.new_database()
    schema.upgrade(url)
    owner, daemon = make_engine(url), make_engine(daemon_role(url))
    keeper = HeadKeeper(daemon, path)
    pause(daemon)
    keeper.keep()
    assert len(heads(path)) == 1
    with owner.begin() as connection:
        connection.execute(text(f"REVOKE SELECT ON log_epochs FROM {owner.url.database}_daemon"))
    pause(daemon)
    keeper.keep()
    assert "no head of the log was taken: " in str(keeper.problem)
    with owner.begin() as connection:
        connection.execute(text(f"GRANT SELECT ON log_epochs TO {owner.url.database}_daemon"))
    keeper.keep()
    assert ([head.size for head in heads(path)], keeper.problem) == ([1, 2], None)
    for engine in (owner, daemon):
        engine.dispose()
