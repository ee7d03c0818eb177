"""A folder that a command writes: it takes the place of the one before as a whole, and of nothing that is not ours."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from reconciler.cli.exits import is_out_of
from reconciler.domain.text import visible


@contextlib.contextmanager
def put_folder(place: Path, manifest: str, format: str) -> Iterator[Path]:
    """A folder beside `place` that takes its place when the block ends, and is gone where it fails.

    Args:
        manifest: the name of the file in it that has its `format`, and names the `files` that are ours.

    Raises:
        SettingsError: it cannot be written there, or something is there that is not ours.
        OSError: the disk is full.
    """
    from reconciler.settings.errors import SettingsError

    place = Path(os.path.abspath(place))
    if reason := _not_ours(place, manifest, format):
        raise SettingsError([f"{place}: {reason}: name an empty directory, or one that is not there yet"])
    partial = place.with_name(f".{place.name}.partial-{os.getpid()}")
    try:
        _clear_after_the_killed(place)
        partial.mkdir()
        yield partial
        _swap(partial, place)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError) and not is_out_of(error):
            raise SettingsError([f"{place}: cannot be written: {error.strerror}"]) from None
        raise


def _not_ours(place: Path, manifest: str, format: str) -> str:
    """What is there that must not be replaced; "" where there is nothing."""
    if not place.exists():
        return ""
    if place.is_symlink() or not place.is_dir():
        return "is a symbolic link" if place.is_symlink() else "is not a directory"
    try:
        names = {entry.name for entry in place.iterdir()}
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    known = _files_of(place / manifest, format) | {manifest} if names else set()
    strange = sorted(names - known if known != {manifest} else names)
    return f"holds what is no part of a report ({visible(strange[0], 80)})" if strange else ""


def _files_of(manifest: Path, format: str) -> set[str]:
    try:
        told = json.loads(manifest.read_text(encoding="utf-8"))
        return set(told["files"]) if told["format"] == format else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _swap(partial: Path, place: Path) -> None:
    """A rename cannot replace a folder that is not empty: for a moment there is none, and at no time half of one."""
    before = place.with_name(f".{place.name}.before-{os.getpid()}")
    if not place.exists():
        partial.rename(place)
        return
    place.rename(before)
    try:
        partial.rename(place)
    except OSError:
        before.rename(place)
        raise
    shutil.rmtree(before, ignore_errors=True)


def _clear_after_the_killed(place: Path) -> None:
    """What a process left beside the folder that was killed; one of before comes back where nothing took its place."""
    for what in ("partial", "before"):
        for left in sorted(place.parent.glob(f".{_escaped(place.name)}.{what}-*")):
            if _is_running(left.name.rpartition("-")[2]):
                continue
            if what == "before" and not place.exists():
                left.rename(place)
            else:
                shutil.rmtree(left, ignore_errors=True)


def _escaped(name: str) -> str:
    import glob

    return glob.escape(name)


def _is_running(pid: str) -> bool:
    if not pid.isdigit():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
