"""Checks of your own: the names that a package with a check imports. docs/checks-of-your-own.md shows how.

What is named here stays as it is within a major version. Nothing here imports the rest of the product: a check runs in
a process of its own, which holds neither the daemon's credentials nor its connections.
"""

from __future__ import annotations

from reconciler.plugins.check import Check, Finding, Mistake, Needs, failed, missing, passed
from reconciler.plugins.evidence import Evidence
from reconciler.plugins.facts import Holder, LoggedModel, RegisteredModel, Run, Signature, Version
from reconciler.plugins.over_time import Held, History
from reconciler.plugins.seeing import Named
from reconciler.plugins.values import Absent, CannotTell, Column, NotAsked, Reading, Text

__all__ = [
    "Absent",
    "CannotTell",
    "Check",
    "Column",
    "Evidence",
    "Finding",
    "Held",
    "History",
    "Holder",
    "LoggedModel",
    "Mistake",
    "Named",
    "Needs",
    "NotAsked",
    "Reading",
    "RegisteredModel",
    "Run",
    "Signature",
    "Text",
    "Version",
    "failed",
    "missing",
    "passed",
]
