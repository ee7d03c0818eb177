"""Errors that only the registries distinguish; all other code sees those of the ports."""

from __future__ import annotations

from reconciler.ports import Refused, Unavailable


class TooLarge(Unavailable):
    """The reply is larger than the limit."""


class NoEndpoint(Unavailable):
    """The server does not know this path at all: a 404 that is not MLflow's own."""


class PlainlyRefused(Refused):
    """A 403 that is not MLflow's own JSON: basic-auth answers it also for paths that do not exist."""
