"""A folder that a command writes: it takes the place of the one before as a whole, and of nothing that is not ours."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.cli.exits import is_out_of
from reconciler.cli.written.files import Unwritable, is_running, keep_mode, lock
from reconciler.cli.written.signals import ended_in_order
from reconciler.domain.text import visible

# Earlier releases gave the process's number only.
_WHOSE: Final = re.compile(r"-([0-9]+)(?:-[0-9a-f]{6})?")


@dataclass(frozen=True, slots=True)
class Kind:
    """By what a folder is known as ours: the file of this name in it has the `format`, and names the other `files`."""

    manifest: str
    format: str

    def opening(self) -> str:
        """The manifest of a folder that nothing is in yet."""
        return json.dumps({"format": self.format, "files": {}})

    def files_of(self, folder: Path) -> set[str] | None:
        """What its manifest names, and itself; None where it has none of this kind."""
        try:
            told = json.loads((folder / self.manifest).read_text(encoding="utf-8"))
            return {self.manifest, *told["files"]} if told["format"] == self.format else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


@contextlib.contextmanager
def put_folder(place: Path, kind: Kind) -> Iterator[Path]:
    """A folder beside `place` that takes its place when the block ends, and is gone where it fails.

    Raises:
        Unwritable: it cannot be written there, or something is there that is not ours.
        OSError: the disk is full.
    """
    place = Path(os.path.abspath(place))
    if reason := _not_ours(place, kind):
        raise Unwritable(f"{place}: {reason}: name an empty directory, or one that does not exist yet")
    partial = _beside(place, "partial", f"{os.getpid()}-{secrets.token_hex(3)}")
    with ended_in_order() as no_signal_now:
        try:
            _clear_after_the_killed(place, kind)
            with _begun(partial, kind) as mode:
                yield partial
                no_signal_now()
                partial.chmod(mode)
                keep_mode(place, partial)
                _swap(partial, place, kind)
        except BaseException as error:
            no_signal_now()
            _remove(partial, kind)
            if isinstance(error, OSError) and not is_out_of(error):
                raise Unwritable(f"{place}: cannot be written: {error.strerror}") from None
            raise


def _beside(place: Path, what: str, whose: str) -> Path:
    return place.with_name(f".{place.name}.{what}-{whose}")


@contextlib.contextmanager
def _begun(partial: Path, kind: Kind) -> Iterator[int]:
    """The folder, for nobody else's eyes while it is not whole, and known as ours from its beginning.

    Yields the mode that the umask gives it.
    """
    partial.mkdir()
    mode = stat.S_IMODE(partial.stat().st_mode)
    partial.chmod(stat.S_IRWXU)
    with _opened(partial) as descriptor:
        lock(descriptor)
        (partial / kind.manifest).write_text(kind.opening(), encoding="utf-8")
        yield mode


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _not_ours(place: Path, kind: Kind) -> str:
    """What is there that must not be replaced; "" where there is nothing."""
    if not place.exists():
        return ""
    if place.is_symlink() or not place.is_dir():
        return "is a symbolic link" if place.is_symlink() else "is not a directory"
    try:
        names = {entry.name for entry in place.iterdir()}
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    strange = sorted(names - (kind.files_of(place) or set()))
    return f"has a file that is not part of a report ({visible(strange[0], 80)})" if strange else ""


def _swap(partial: Path, place: Path, kind: Kind) -> None:
    """A rename cannot replace a folder that is not empty: for a moment there is none, and at no time half of one."""
    if not place.exists():
        partial.rename(place)
        return
    before = _beside(place, "before", partial.name.rpartition("partial-")[2])
    place.rename(before)
    try:
        partial.rename(place)
    except OSError:
        before.rename(place)
        raise
    _remove(before, kind)


def _remove(folder: Path, kind: Kind) -> None:
    """The manifest last: what a kill in between leaves is known as ours by it."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name != kind.manifest:
                os.unlink(entry)
    shutil.rmtree(folder, ignore_errors=True)


# --- what was left ----------------------------------------------------------------------------------------------


def _clear_after_the_killed(place: Path, kind: Kind) -> None:
    """What a process left beside the folder that was killed; one of before comes back where nothing took its place."""
    for what in ("partial", "before"):
        for left in sorted(entry for entry in place.parent.iterdir() if _was_of_the_killed(entry, place, what)):
            if not _is_ours(left, kind):
                continue
            if what == "before" and not place.exists():
                left.rename(place)
            else:
                _remove(left, kind)


def _was_of_the_killed(entry: Path, place: Path, what: str) -> bool:
    """Whether its name is one that we give, and no process has the number in it."""
    begins = _beside(place, what, "").name
    whose = _WHOSE.fullmatch(entry.name.removeprefix(begins[:-1])) if entry.name.startswith(begins) else None
    return whose is not None and not is_running(int(whose[1]))


def _is_ours(folder: Path, kind: Kind) -> bool:
    """Whether this account made it, nobody is writing it, and it holds nothing but pages, whole or in part."""
    try:
        with _opened(folder) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            entries = list(os.scandir(descriptor))
            if os.fstat(descriptor).st_uid != os.geteuid():
                return False
            return not entries or (kind.files_of(folder) is not None and all(map(_is_file, entries)))
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)
