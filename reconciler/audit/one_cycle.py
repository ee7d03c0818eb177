"""The audit log of one cycle run by hand."""

from __future__ import annotations

from typing import ClassVar

from reconciler.audit.store import SqlAuditLog


class OneCycleLog(SqlAuditLog):
    """The log of one cycle run by hand. It is not a replica: no pause waits for it, and it takes no share of work."""

    resident: ClassVar[bool] = False
