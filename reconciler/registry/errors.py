"""Errors that only the registries tell apart; to everybody else they are those of the ports."""

from __future__ import annotations

from reconciler.ports import Refused, Unavailable


class TooLarge(Unavailable):
    """The reply is larger than is read."""


class NoEndpoint(Unavailable):
    """The server does not know this path at all: a 404 that is not MLflow's own."""


class PlainlyRefused(Refused):
    """A 403 that is not MLflow's own JSON: basic-auth says so also to paths that nobody serves."""
