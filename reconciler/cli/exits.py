"""Exit codes, and the one line that a person gets for each error."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

DONE = 0
NEGATIVE = 1
USAGE = 2
ABSTAINED = 3
UNREACHABLE = 69
DEFECT = 70
MISCONFIGURED = 78
INTERRUPTED = 130

# By name, so that `--help` need not import what raises them.
_CODES = {
    "SettingsError": MISCONFIGURED,
    "PolicyError": MISCONFIGURED,
    "SchemaMismatch": MISCONFIGURED,
    "AlreadyServed": MISCONFIGURED,
    "AuditUnavailable": UNREACHABLE,
    "NotFound": NEGATIVE,
    "Conflict": NEGATIVE,
    "Invalid": NEGATIVE,
    "LookupError": NEGATIVE,
    "Unavailable": UNREACHABLE,
    "Refused": UNREACHABLE,
}


def code_of(error: BaseException) -> int | None:
    """The exit code of an error that a user can cause; None for a defect of ours."""
    return next((_CODES[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in _CODES), None)


def say(sentence: str) -> None:
    """To people, so to stderr."""
    print(sentence, file=sys.stderr)


def guarded(command: Callable[[], int]) -> int:
    """Runs a command, and answers every error with a sentence and a code."""
    try:
        return command()
    except BrokenPipeError:
        # The reader of our output went away (`| head`); nothing more can be told to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  the last resort, which loses nothing
        return _answer(error)


def _answer(error: Exception) -> int:
    code = code_of(error)
    if code is not None:
        say(str(error))
        return code
    say(f"a defect in mlflow-reconciler: {type(error).__name__}: {error} (set RECONCILER_LOG__LEVEL=debug for more)")
    if os.environ.get("RECONCILER_LOG__LEVEL") == "debug":
        traceback.print_exception(error)
    return DEFECT
