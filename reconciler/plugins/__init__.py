"""Checks of your own: the names that a package with a check imports. docs/checks-of-your-own.md shows how.

What is named here stays as it is within a major version. Nothing here imports the rest of the product: a check runs in
a process of its own, which holds neither the daemon's credentials nor its connections.
"""

from __future__ import annotations

from reconciler.plugins.check import Check, Finding, Mistake, Needs, failed, missing, passed
from reconciler.plugins.evidence import Evidence, Holder, LoggedModel, Named, RegisteredModel, Run, Version
from reconciler.plugins.values import Absent, CannotTell, NotAsked, Reading, Text

__all__ = [
    "Absent",
    "CannotTell",
    "Check",
    "Evidence",
    "Finding",
    "Holder",
    "LoggedModel",
    "Mistake",
    "Named",
    "Needs",
    "NotAsked",
    "Reading",
    "RegisteredModel",
    "Run",
    "Text",
    "Version",
    "failed",
    "missing",
    "passed",
]
