"""The errors that the registry and the audit database may raise.

Adapters translate their libraries' errors into these and raise nothing else on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.domain.errors import ExitCode, ReconcilerError


class RegistryError(ReconcilerError):
    """The registry did not do what was asked."""

    exit_code = ExitCode.UNREACHABLE


class Unavailable(RegistryError):
    """No usable answer: none at all, a broken one, or "later". A write may or may not have happened."""


class Refused(RegistryError):
    """Not allowed (401, 403)."""


class NotFound(RegistryError):
    """The registry says definitely that there is no such thing. `near`: names that may have been meant."""

    exit_code = ExitCode.NO_SUCH

    def __init__(self, message: str, near: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.near = tuple(near)


class Conflict(RegistryError):
    """The registry's state forbids it (409)."""

    exit_code = ExitCode.NEGATIVE


class Invalid(RegistryError):
    """The registry calls the request malformed (400); repeating it will not help."""

    exit_code = ExitCode.USAGE


class AuditUnavailable(ReconcilerError):
    """The audit database cannot be reached or cannot record. Nothing may be done without it."""

    exit_code = ExitCode.UNREACHABLE


class AuditLocked(AuditUnavailable):
    """Another program holds the database's lock; nothing was written, and trying again may help."""


class SchemaMismatch(ReconcilerError):
    """The audit database has another revision, or is not an audit database; the message names the remedy."""

    exit_code = ExitCode.MISCONFIGURED


class NoSuchDecision(ReconcilerError):
    """The audit holds no such decision."""

    exit_code = ExitCode.NO_SUCH


class NoSuchTenure(ReconcilerError):
    """The audit holds no such tenure, or nothing of it is to be accepted."""

    exit_code = ExitCode.NO_SUCH


class AmbiguousDecision(ReconcilerError):
    """More than one decision's id begins with the given text."""

    exit_code = ExitCode.USAGE


class NoSuchField(ReconcilerError):
    """The evidence of a decision has no such field that could be removed."""

    exit_code = ExitCode.NO_SUCH


class AlreadyServed(ReconcilerError):
    """Another daemon serves this SQLite file; the message names it."""

    exit_code = ExitCode.MISCONFIGURED
