"""What stands without a decision, and how old the looks are: found from what holds now, however long history is."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, func, select, text

from reconciler.audit.holding.tables import AcknowledgementRow, HolderRow, LookRow, StrayTagRow
from reconciler.audit.statements import Served
from reconciler.audit.tables import UtcMillis, db_now
from reconciler.domain.holding.causes import Cause

SHOWN: Final = 20

_OPEN: Final = """
FROM holders h JOIN bypasses b ON b.tenure_id = h.tenure_id
WHERE h.cause IN ('bypass', 'rename') AND b.standing = 'open'
"""
_COUNT: Final = text(f"SELECT count(*) {_OPEN} AND h.registry = :registry AND h.workspace = :workspace")
_NEWEST: Final = text(f"""
SELECT b.tenure_id, b.registry, b.workspace, b.model, b.version, b.target, b.last_seen_without, b.first_seen_with
{_OPEN} ORDER BY b.tenure_id DESC LIMIT :most
""").columns(last_seen_without=UtcMillis(), first_seen_with=UtcMillis())
_ALL: Final = text(f"SELECT count(*) {_OPEN}")


def open_bypasses(connection: Connection, served: Served) -> int:
    """How many bypasses of a registry are neither gone, nor approved since, nor acknowledged."""
    return connection.scalar(_COUNT, served.columns) or 0


def holding(connection: Connection) -> dict[str, Any]:
    """What `status` shows of what holds a target: bypasses, baselines, stray tags, and how old the looks are."""
    accepted = select(AcknowledgementRow.id).where(AcknowledgementRow.observation_id == HolderRow.tenure_id).exists()
    baseline = HolderRow.cause == str(Cause.BASELINE)
    unaccepted = select(func.count()).select_from(HolderRow).where(baseline, ~accepted)
    return {
        "bypasses": [dict(row) for row in connection.execute(_NEWEST, {"most": SHOWN}).mappings()],
        "bypass_count": connection.scalar(_ALL) or 0,
        "baselines": connection.scalar(unaccepted) or 0,
        "stray_tags": _rows(connection, select(StrayTagRow.__table__).order_by(StrayTagRow.first_seen_at).limit(SHOWN)),
        "stray_tag_count": connection.scalar(select(func.count()).select_from(StrayTagRow)) or 0,
        "looks": [_look(row) for row in _rows(connection, select(LookRow.__table__, db_now().label("now")))],
    }


def _rows(connection: Connection, query: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(query).mappings()]


def _look(row: dict[str, Any]) -> dict[str, Any]:
    """How many seconds ago everything of a kind was seen at least once; None: never yet.

    `newest_change_ahead_seconds`: by how much the registry's time of the newest change of a version is ahead of now.
    """
    ages = {
        f"{kind}_age_seconds": _age(row["now"], row[f"{kind}_as_of"]) for kind in ("stages", "aliases", "everything")
    }
    take = row["aliases_take_ms"]
    kept = {name: row[name] for name in ("registry", "workspace", "leased_by", "problem")}
    newest = row["watermark_ms"]
    ahead = None if newest is None else round(newest / 1000 - row["now"].timestamp(), 3)
    times = {"aliases_take_seconds": None if take is None else take / 1000, "newest_change_ahead_seconds": ahead}
    return kept | ages | times


def _age(now: datetime, as_of: datetime | None) -> float | None:
    return None if as_of is None else round((now - as_of).total_seconds(), 3)
