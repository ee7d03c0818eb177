"""Exit codes, and the one line that is printed for each error."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable
from typing import Final

from reconciler.cli.common import Common, with_config
from reconciler.cli.written.signals import Ended, end_by
from reconciler.domain.errors import ExitCode, ReconcilerError

DONE: Final = ExitCode.DONE
NEGATIVE: Final = ExitCode.NEGATIVE
USAGE: Final = ExitCode.USAGE
ABSTAINED: Final = ExitCode.ABSTAINED
NO_SUCH: Final = ExitCode.NO_SUCH
UNREACHABLE: Final = ExitCode.UNREACHABLE
DEFECT: Final = ExitCode.DEFECT
INTERRUPTED: Final = ExitCode.INTERRUPTED

# Errors of an operating system that is out of a resource; none of them is a defect of ours.
_OUT_OF = {
    errno.ENOSPC: "free some space, then run this again",
    errno.EDQUOT: "the quota is used up: free some space, or have it raised",
    errno.EFBIG: "files may not grow larger: raise the limit (ulimit -f)",
    errno.EROFS: "the file system is read-only: was it remounted after an error?",
    errno.EIO: "the disk reports errors: see the kernel's log (dmesg)",
    errno.EMFILE: "too many files are open: raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this host",
}


def code_of(error: BaseException) -> ExitCode | None:
    """The exit code of an error that a user can cause; None for a defect of ours."""
    return error.exit_code if isinstance(error, ReconcilerError) else None


def is_out_of(error: OSError) -> bool:
    """Whether the operating system is out of a resource, such as disk space."""
    return error.errno in _OUT_OF


def say(sentence: str) -> None:
    """Prints a sentence for people, so to stderr."""
    print(with_config(sentence), file=sys.stderr)


def guarded(command: Callable[[], int]) -> int:
    """Runs a command, and answers every error with a sentence and a code."""
    code: int = DONE
    try:
        code = command()
        # A full disk shows only when what was printed is written.
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of our output went away (`| head`); nothing more can be written to it. What was found stays.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Ended as ended:
        return end_by(ended.number)
    except Exception as error:  # noqa: BLE001  the last resort, which loses nothing
        return _answer(error)


def _answer(error: Exception) -> int:
    code = code_of(error)
    if code is not None:
        say(f"{error}{_without_configuration(error)}")
        return code
    if isinstance(error, OSError) and is_out_of(error):
        return _answer_full(error, _OUT_OF[error.errno or 0])
    # Not its text: an error of a library may repeat a password.
    details = "for details, which may contain secrets, set RECONCILER_LOG__LEVEL=debug"
    say(f"a defect in mlflow-reconciler: {type(error).__name__}{_place(error)} ({details})")
    if os.environ.get("RECONCILER_LOG__LEVEL") == "debug":
        traceback.print_exception(error)
    return DEFECT


def _without_configuration(error: Exception) -> str:
    from reconciler.ports.errors import AuditUnavailable

    if not (isinstance(error, AuditUnavailable) and Common.default_database):
        return ""
    return "; this is the default, as no configuration names a database: use --config or RECONCILER_AUDIT__URL"


def _place(error: Exception) -> str:
    """` at reconciler/cli/app.py:7`: where our own code was when it happened."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/reconciler/" in frame.filename]
    if not ours:
        return ""
    return f" at reconciler/{ours[-1].filename.rpartition('/reconciler/')[2]}:{ours[-1].lineno}"


def _answer_full(error: OSError, remedy: str) -> int:
    named = f"{error.filename}: " if error.filename else ""
    say(f"{named}cannot be written: {(error.strerror or '').lower()}: {remedy}")
    # What is left in the buffer of stdout would fail again when the interpreter ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return UNREACHABLE
