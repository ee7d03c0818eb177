"""What `status` tells: daemons, open requests by age and by what they wait for, what is paused, unfinished or aside."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from reconciler.audit.pauses import ALIVE
from reconciler.audit.reader import AuditReader
from reconciler.domain.times import parse_iso

_HOUR, _DAY = 3600.0, 86400.0


def picture_of(reader: AuditReader) -> dict[str, Any]:
    """As JSON has it. Ages are in seconds by the database's clock where a daemon is known, else by this host's."""
    daemons = reader.daemons()
    since = reader.policies([one["policy_digest"] for one in daemons])
    open_requests = reader.open_requests()
    pauses = reader.pauses()
    return {
        "daemons": [one | {"policy_since": since.get(one["policy_digest"], "-")} for one in daemons],
        "replicas_alive": sum(_is_alive(daemon) for daemon in daemons),
        "paused": pauses[0] if pauses and pauses[0]["action"] == "pause" else None,
        "open": _summary(open_requests, _now(daemons)),
        "open_requests": open_requests,
        "unfinished": reader.unfinished(),
        "stuck": reader.stuck(),
    }


def _is_alive(daemon: dict[str, Any]) -> bool:
    """As the replicas themselves count each other."""
    return daemon["ended_at"] is None and float(daemon["age_seconds"]) < ALIVE.total_seconds()


def _now(daemons: list[dict[str, Any]]) -> datetime:
    if not daemons:
        return datetime.now(UTC)
    last = daemons[0]
    return datetime.fromtimestamp(parse_iso(last["last_cycle_at"]).timestamp() + last["age_seconds"], UTC)


def _summary(open_requests: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    ages = [(now - parse_iso(one["first_seen_at"])).total_seconds() for one in open_requests]
    waits = Counter(one["waiting_code"] for one in open_requests if one["waiting_code"])
    aside = sum(bool(one["next_attempt_at"]) and parse_iso(one["next_attempt_at"]) > now for one in open_requests)
    return {
        "count": len(open_requests),
        "oldest_seconds": round(max(ages, default=0.0), 3),
        "by_age": dict(Counter(_bracket(age) for age in ages)),
        "by_wait": dict(waits.most_common()),
        "set_aside": aside,
    }


def _bracket(age: float) -> str:
    return "under an hour" if age < _HOUR else "under a day" if age < _DAY else "a day or more"
