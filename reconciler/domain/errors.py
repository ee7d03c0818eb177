"""What every error that a user can cause has in common; any other error is a defect of ours."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """How a command ends. 64 and above are those of sysexits.h."""

    DONE = 0
    NEGATIVE = 1
    USAGE = 2
    ABSTAINED = 3
    NO_SUCH = 4
    UNREACHABLE = 69
    DEFECT = 70
    MISCONFIGURED = 78
    INTERRUPTED = 130


class ReconcilerError(Exception):
    """The message is one line for people: what is wrong, where, what to do."""

    exit_code: ClassVar[ExitCode]
