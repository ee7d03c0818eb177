"""Where the files come from that a policy includes: its folder, or the one text that was kept of all of them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Protocol

from reconciler.policy.bundle import ITSELF

MAX_BYTES = 4 * 1024 * 1024
_DEEPEST_FOLDER = 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe must not keep the daemon waiting.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class CannotInclude(ValueError):
    """The file cannot be included; the message says why."""


class Source(Protocol):
    """Files by their label: the path from the policy's folder, with /."""

    def name_of(self, label: str) -> str:
        """How messages name the file."""

    def read(self, label: str) -> str:
        """Raises CannotInclude."""


def label_of(file: str, included_by: str) -> str:
    """The label of the file that another one names.

    Raises:
        CannotInclude: it may lie outside of the policy's folder.
    """
    parts = file.split("/")
    if file.startswith("/") or "\\" in file or ".." in parts:
        raise CannotInclude("outside the policy's folder: use a path below the file that includes it, without ..")
    if not file.isprintable() or "" in parts or "." in parts or file == ITSELF:
        raise CannotInclude("not a path such as teams/credit.yaml")
    folder = included_by.rpartition("/")[0]
    label = f"{folder}/{file}" if folder else file
    if label.count("/") > _DEEPEST_FOLDER or len(label) > 1000:
        raise CannotInclude("the path is too long")
    return label


class Folder:
    """The folder in which the policy itself lies, wherever a link to it lies. No other link is followed.

    Args:
        path: of the policy itself.
    """

    def __init__(self, path: Path) -> None:
        self._named = path.parent
        itself = Path(os.path.realpath(path))
        self._folder, self._own = itself.parent, {itself.name, path.name}
        self.paths: list[str] = []

    def name_of(self, label: str) -> str:
        return str(self._named / label)

    def read(self, label: str) -> str:
        if label in self._own:
            raise CannotInclude("the policy includes itself")
        self.paths.append(str(self._folder / label))
        try:
            return self._read(label).decode("utf-8")
        except UnicodeDecodeError as error:
            raise CannotInclude(f"the file is not UTF-8: invalid byte at offset {error.start}") from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise CannotInclude("a link, or no folder, is on its way: name the file itself") from None
            raise CannotInclude(f"cannot read the file: {error.strerror}") from None

    def _read(self, label: str) -> bytes:
        """Opened from folder to folder, so that nobody can put a link there meanwhile."""
        *folders, file = label.split("/")
        at = os.open(self._folder, _FOLDER)
        try:
            for folder in folders:
                below = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
                os.close(at)
                at = below
            opened = os.open(file, _FILE, dir_fd=at)
            try:
                if not stat.S_ISREG(os.fstat(opened).st_mode):
                    raise CannotInclude("not a file")
                raw = b"".join(iter(partial(os.read, opened, MAX_BYTES), b""))[: MAX_BYTES + 1]
            finally:
                os.close(opened)
        finally:
            os.close(at)
        if len(raw) > MAX_BYTES:
            raise CannotInclude("the file is larger than 4 MiB")
        return raw


class Kept:
    """The files of one text that holds all. Args: name: of that text. files: by label; without any, none is there."""

    def __init__(self, name: str, files: Mapping[str, str]) -> None:
        self._name = name
        self._files = files

    def name_of(self, label: str) -> str:
        return f"{self._name}#{label}"

    def read(self, label: str) -> str:
        if label not in self._files:
            raise CannotInclude("the text does not hold this file: read the policy from its folder")
        return self._files[label]
