"""What `status` shows: daemons, open requests by age and by what they wait for, pauses, and unfinished decisions."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from reconciler.audit.reader import AuditReader
from reconciler.audit.running.pauses import ALIVE
from reconciler.domain.times import iso, parse_iso

_HOUR, _DAY = 3600.0, 86400.0

Row = dict[str, Any]


def picture_of(reader: AuditReader, here: tuple[str, str] | None = None) -> Row:
    """The data of `status --json`. Ages are in seconds, by the database's clock where a daemon is known, else by ours.

    `here`: the registry and workspace whose daemons and open requests are listed; others are only summarized. None:
    all are listed. What is paused, unfinished or stuck concerns the whole database.
    """
    daemons, their_daemons = _parted(reader.daemons(), here)
    open_requests, their_requests = _parted(reader.open_requests(), here)
    since = reader.policies([daemon["policy_digest"] for daemon in daemons])
    pauses = reader.pauses(limit=1)
    return {
        "daemons": [daemon | {"policy_since": since.get(daemon["policy_digest"], "-")} for daemon in daemons],
        "replicas_alive": sum(_is_alive(daemon) for daemon in daemons),
        "paused": pauses[0] if pauses and pauses[0]["action"] == "pause" else None,
        "open": _summary(open_requests, _now(daemons)),
        "open_requests": open_requests,
        "other_registries": _others(their_daemons, their_requests),
        "unfinished": reader.unfinished(),
        "failed": reader.failed(),
        "stuck": reader.stuck(),
        **_holding(reader.holding(), here),
    }


def _holding(found: Row, here: tuple[str, str] | None) -> Row:
    """What stands without a decision, in any registry; looks of `here` only."""
    looks = [row for row in found["looks"] if here in {None, _registry_of(row)}]
    return found | {"looks": looks, **{name: _plain(found[name]) for name in ("bypasses", "stray_tags")}}


def _plain(rows: list[Row]) -> list[Row]:
    return [{name: iso(value) if isinstance(value, datetime) else value for name, value in row.items()} for row in rows]


def _parted(rows: list[Row], here: tuple[str, str] | None) -> tuple[list[Row], list[Row]]:
    """The rows of `here`, and those of other registries."""
    if here is None:
        return rows, []
    return _of(here, rows), [row for row in rows if _registry_of(row) != here]


def _registry_of(row: Row) -> tuple[str, str]:
    """Registry and workspace."""
    return row["registry"], row["workspace"]


def _others(daemons: list[Row], requests: list[Row]) -> list[Row]:
    registries = sorted({_registry_of(row) for row in [*daemons, *requests]})
    return [_other(one, _of(one, daemons), _of(one, requests)) for one in registries]


def _of(registry: tuple[str, str], rows: list[Row]) -> list[Row]:
    return [row for row in rows if _registry_of(row) == registry]


def _other(registry: tuple[str, str], daemons: list[Row], requests: list[Row]) -> Row:
    last = max((daemon["last_cycle_at"] for daemon in daemons if daemon["sentence"]), default=None)
    return {"registry": registry[0], "workspace": registry[1], "open": len(requests), "last_cycle_at": last}


def _is_alive(daemon: Row) -> bool:
    """As the replicas themselves count each other."""
    return daemon["ended_at"] is None and float(daemon["age_seconds"]) < ALIVE.total_seconds()


def _now(daemons: list[Row]) -> datetime:
    if not daemons:
        return datetime.now(UTC)
    last = daemons[0]
    return datetime.fromtimestamp(parse_iso(last["last_cycle_at"]).timestamp() + last["age_seconds"], UTC)


def _summary(open_requests: list[Row], now: datetime) -> Row:
    ages = [(now - parse_iso(row["first_seen_at"])).total_seconds() for row in open_requests]
    waits = Counter(row["waiting_code"] for row in open_requests if row["waiting_code"])
    aside = sum(bool(row["next_attempt_at"]) and parse_iso(row["next_attempt_at"]) > now for row in open_requests)
    return {
        "count": len(open_requests),
        "oldest_seconds": round(max(ages, default=0.0), 3),
        "by_age": dict(Counter(_bracket(age) for age in ages)),
        "by_wait": dict(waits.most_common()),
        "set_aside": aside,
    }


def _bracket(age: float) -> str:
    return "under an hour" if age < _HOUR else "under a day" if age < _DAY else "a day or more"
