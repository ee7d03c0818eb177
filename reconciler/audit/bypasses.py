"""Bypasses that stand: found from what holds a target now, however long history is."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, text

from reconciler.audit.statements import Served

_OPEN: Final = """
FROM holders h JOIN bypasses b ON b.tenure_id = h.tenure_id
WHERE h.cause = 'bypass' AND b.standing = 'open'
"""
_COUNT: Final = text(f"SELECT count(*) {_OPEN} AND h.registry = :registry AND h.workspace = :workspace")
_NEWEST: Final = text(f"""
SELECT b.tenure_id, b.registry, b.workspace, b.model, b.version, b.target, b.last_seen_without, b.first_seen_with
{_OPEN} ORDER BY b.tenure_id DESC LIMIT :most
""")


def open_bypasses(connection: Connection, served: Served) -> int:
    """How many bypasses of a registry are neither gone, nor approved since, nor acknowledged."""
    return connection.scalar(_COUNT, {"registry": served.registry, "workspace": served.workspace}) or 0


def newest_open_bypasses(connection: Connection, most: int) -> list[Any]:
    return list(connection.execute(_NEWEST, {"most": most}).mappings())
