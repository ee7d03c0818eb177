"""Files that a command writes: each is replaced as a whole, so that nobody reads half of one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from reconciler.cli.exits import is_out_of


@contextlib.contextmanager
def put(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when the block ends, and is gone where it fails.

    Raises:
        SettingsError: it cannot be written there.
        OSError: the disk is full.
    """
    from reconciler.settings.errors import SettingsError

    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and not is_out_of(error):
            raise SettingsError([f"{path}: cannot be written: {error.strerror}"]) from None
        raise
