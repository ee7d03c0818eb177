"""A command that is ended while it writes leaves what was there before; a killed one, what the next one removes."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from reconciler.cli.written.files import put
from reconciler.cli.written.folders import Kind, put_folder
from tests.command import COMMAND
from tests.html.conftest import Folder, report

ENDING: Final = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]


def code_after(number: int) -> int:
    """What a shell, systemd or cron sees; Ctrl-C has a code of its own."""
    return 130 if number == signal.SIGINT else -number


def partials(parent: Path) -> list[Path]:
    return sorted(parent.glob(".report.partial-*"))


def writing(folder: Folder, place: Path) -> subprocess.Popen[str]:
    """A command that has begun to write its pages."""
    environment = {**os.environ, "RECONCILER_AUDIT__URL": folder.url}
    arguments = [COMMAND, "audit", "report", "--html", str(place)]
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(len(list(partial.iterdir())) > 1 for partial in partials(place.parent)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


def contents(parent: Path) -> dict[str, int]:
    return {str(path.relative_to(parent)): path.stat().st_mtime_ns for path in parent.rglob("*") if path.is_file()}


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_leaves_what_was_there_and_ends_the_command_as_it_ever_did(
    folder: Folder, tmp_path: Path, number: int
) -> None:
    place = tmp_path / "report"
    if number != signal.SIGHUP:
        shutil.copytree(folder.place, place)
    before = contents(tmp_path)
    process = writing(folder, place)
    # Nobody else may read them while they are written.
    assert [stat.S_IMODE(partial.stat().st_mode) for partial in partials(tmp_path)] == [0o700]
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code_after(number), "", "")
    assert contents(tmp_path) == before
    assert partials(tmp_path) == []


def test_a_folder_that_was_closed_to_others_stays_so(folder: Folder, tmp_path: Path) -> None:
    closed = tmp_path / "report"
    closed.mkdir(mode=0o750)
    closed.chmod(0o750)
    for place in (closed, tmp_path / "new"):
        assert report(folder.url, "--html", str(place), "--since", "2d").returncode == 0
    umask = os.umask(0)
    os.umask(umask)
    assert [stat.S_IMODE(place.stat().st_mode) for place in (closed, tmp_path / "new")] == [0o750, 0o777 & ~umask]


def test_ignored_hangups_stay_ignored(folder: Folder, tmp_path: Path) -> None:
    """As `nohup` has it."""
    kept = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = writing(folder, tmp_path / "report")
    finally:
        signal.signal(signal.SIGHUP, kept)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.startswith("wrote ")) == (0, True)


STORM: Final = """
import sys
from pathlib import Path
from reconciler.cli.exits import guarded
from reconciler.cli.written.folders import Kind, put_folder

def work():
    with put_folder(Path(sys.argv[1]), Kind("manifest.json", "x")) as partial:
        for number in range(3000):
            (partial / f"{number}.html").write_text("x")
        print("written", flush=True)
        raise OSError(5, "now")
sys.exit(guarded(work))
"""


@pytest.mark.parametrize("number", ENDING)
def test_not_even_a_storm_of_signals_keeps_it_from_clearing_away(tmp_path: Path, number: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", STORM, str(tmp_path / "report")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"written\n"
    while process.poll() is None:
        process.send_signal(number)
        time.sleep(0.0005)
    process.stdout.close()
    # A second Ctrl-C may come when the interpreter has stopped to listen.
    assert process.returncode in {code_after(number), -number}
    assert list(tmp_path.iterdir()) == []


WRITES_A_FILE: Final = """
import os, sys
from pathlib import Path
from reconciler.cli.exits import guarded
from reconciler.cli.written.files import put

def work():
    with put(Path(sys.argv[1])) as file:
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), int(sys.argv[2]))
sys.exit(guarded(work))
"""


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_leaves_no_half_of_a_file(tmp_path: Path, number: int) -> None:
    place = tmp_path / "report.html"
    place.write_text("before")
    done = subprocess.run([sys.executable, "-c", WRITES_A_FILE, str(place), str(number)], check=False)
    assert done.returncode == code_after(number)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.html", "before")]


def test_a_file_that_was_closed_to_others_stays_so(folder: Folder, tmp_path: Path) -> None:
    place = tmp_path / "report.html"
    place.touch()
    place.chmod(0o600)
    assert report(folder.url, "as-of", "--format", "html", "--output", str(place)).returncode == 0
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


WRITES_IN_PARTS: Final = """
import sys
from pathlib import Path
from reconciler.cli.written.files import put

with put(Path(sys.argv[1])) as file:
    file.write(b"first half, ")
    file.flush()
    print("begun", flush=True)
    sys.stdin.readline()
    file.write(b"second half")
"""


def writing_a_file(place: Path) -> subprocess.Popen[str]:
    """A process that has written half of a file, and waits for a line to write the rest."""
    arguments = [sys.executable, "-c", WRITES_IN_PARTS, str(place)]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_two_commands_that_write_one_file_at_once_write_it_whole_each(tmp_path: Path) -> None:
    place = tmp_path / "report.json"
    slow = writing_a_file(place)
    with put(place) as file:
        file.write(b"by another")
    assert place.read_bytes() == b"by another"
    slow.communicate("\n", timeout=60)
    assert slow.returncode == 0
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
        ("report.json", "first half, second half")
    ]


def test_half_a_file_that_a_killed_command_left_goes_with_the_next_one(tmp_path: Path) -> None:
    place = tmp_path / "report.json"
    killed, running = writing_a_file(place), writing_a_file(place)
    killed.kill()
    killed.communicate(timeout=60)
    others = [
        tmp_path / name for name in ("report.json.partial-1-abcdef.txt", "report.json.partial", "b.partial-1-abcdef")
    ]
    for other in others:
        other.touch()
    with put(place) as file:
        file.write(b"whole")
    left = {path.name for path in tmp_path.iterdir()} - {other.name for other in others}
    assert len(left) == 2
    assert f"report.json.partial-{killed.pid}-" not in " ".join(left)
    running.communicate("\n", timeout=60)
    assert running.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"report.json", *(other.name for other in others)}


# --- after a kill -----------------------------------------------------------------------------------------------

KIND: Final = Kind("manifest.json", "pages")
WHOLE: Final = '{"format": "pages", "files": {"index.html": ""}}'


def again(place: Path) -> None:
    """Writes a folder like the one that was being written."""
    with put_folder(place, KIND) as partial:
        (partial / "manifest.json").write_text(WHOLE)
        (partial / "index.html").write_text("new")


@pytest.fixture(scope="module")
def free_number() -> int:
    """The number of a process that is no more."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


@pytest.fixture
def left(tmp_path: Path, free_number: int) -> Path:
    """What a command left that was killed."""
    left = tmp_path / f".report.partial-{free_number}-abcdef"
    left.mkdir()
    (left / "manifest.json").write_text(KIND.opening())
    (left / "index.html").write_text("half")
    return left


def test_what_a_killed_command_left_the_next_one_removes(folder: Folder, tmp_path: Path) -> None:
    process = writing(folder, tmp_path / "report")
    process.kill()
    process.communicate()
    assert len(partials(tmp_path)) == 1
    assert report(folder.url, "--html", str(tmp_path / "report"), "--since", "2d").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize("name", ["{}", "{}-abcdef"])
def test_a_folder_that_a_killed_command_had_moved_away_comes_back(tmp_path: Path, free_number: int, name: str) -> None:
    """The kill came between the two renames; and then the disk is full."""
    place = tmp_path / "report"
    again(place)
    place.rename(tmp_path / f".report.before-{name.format(free_number)}")
    with pytest.raises(OSError, match="full"), put_folder(place, KIND):
        raise OSError(errno.ENOSPC, "full")
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert (place / "index.html").read_text() == "new"


@pytest.mark.parametrize("what", ["as it was", "empty", "of an earlier release", "of our number"])
def test_what_is_surely_left_by_a_killed_command_goes(tmp_path: Path, left: Path, what: str) -> None:
    if what == "empty":
        for entry in left.iterdir():
            entry.unlink()
    elif what == "of an earlier release":
        left.rename(left.with_name(left.name.removesuffix("-abcdef")))
    elif what == "of our number":
        # Every command of a container may have the same one.
        left.rename(left.with_name(f".report.partial-{os.getpid()}-abcdef"))
    again(tmp_path / "report")
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize("what", ["another kind", "a folder in it", "a link in it", "no manifest", "locked", "running"])
def test_what_is_not_surely_left_by_a_killed_command_stays(tmp_path: Path, left: Path, what: str) -> None:
    if what == "another kind":
        (left / "manifest.json").write_text(WHOLE.replace("pages", "of somebody else"))
    elif what == "a folder in it":
        (left / "mine").mkdir()
    elif what == "a link in it":
        (left / "mine").symlink_to(tmp_path)
    elif what == "no manifest":
        (left / "manifest.json").unlink()
    elif what == "running":
        left = left.rename(left.with_name(f".report.partial-{os.getppid()}-abcdef"))
    descriptor = os.open(left, os.O_RDONLY)
    if what == "locked":
        # By a process of another container, whose number is free in this one.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    entries = sorted(path.name for path in left.iterdir())
    again(tmp_path / "report")
    os.close(descriptor)
    assert sorted(path.name for path in left.iterdir()) == entries


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_another_account_left_stays(tmp_path: Path, left: Path) -> None:
    os.chown(left, 4711, -1)
    again(tmp_path / "report")
    assert (left / "index.html").exists()


def test_a_name_that_is_only_like_one_of_ours_is_left_alone(tmp_path: Path, free_number: int) -> None:
    names = {f".report.partial-{free_number}-notes", ".report.partial-", ".report.partial-x-abcdef"}
    names |= {f".reports.partial-{free_number}", f"report.partial-{free_number}", f".report.partial-{10**40}"}
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f".report.partial-{free_number}-abcdef").symlink_to(tmp_path / "elsewhere")
    before = {path.name for path in tmp_path.iterdir()}
    again(tmp_path / "report")
    assert {path.name for path in tmp_path.iterdir()} == before | {"report"}
