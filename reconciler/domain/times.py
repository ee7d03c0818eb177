"""UTC, milliseconds, and durations as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

# How far the clock of whoever wrote a time may be ahead of ours.
CLOCKS_DIFFER: Final = timedelta(minutes=5)

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def iso(moment: datetime) -> str:
    """`2026-11-24T09:28:30.123Z`."""
    in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return f"{in_utc.isoformat('T', 'milliseconds')[:-6]}Z"


def parse_iso(text: str) -> datetime:
    """An ISO 8601 moment; without a zone it is UTC. Kept to the millisecond.

    Raises:
        ValueError: not a moment in ISO 8601.
    """
    moment = datetime.fromisoformat(text)
    try:
        return in_millis(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))
    except OverflowError:
        raise ValueError(f"{text!r} lies outside of what a calendar holds in UTC") from None


def in_millis(moment: datetime) -> datetime:
    """What a database keeps of it: whole milliseconds, cut and not rounded."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def from_millis(millis: int) -> datetime | None:
    """A registry's time in milliseconds since 1970, or None where it lies outside what a calendar holds."""
    try:
        return datetime.fromtimestamp(millis // 1000, UTC) + timedelta(milliseconds=millis % 1000)
    except (ValueError, OverflowError, OSError):
        return None


def to_millis(moment: datetime) -> int:
    """Milliseconds since 1970, to the nearest."""
    return round(moment.timestamp() * 1000)


def millis_of(duration: timedelta) -> int:
    """How long it is, to the nearest millisecond."""
    return round(duration.total_seconds() * 1000)


def parse_duration(text: str | float) -> timedelta:
    """`90`, `90s`, `10m`, `1h30m`, `30d`. A bare number is seconds.

    Raises:
        ValueError: anything else, or a negative duration.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = _sum_of_units(str(text))
    if not 0 <= seconds <= 10 * 365 * 86400:
        raise ValueError(f"{text!r} is not a duration: use for example 90s, 10m, 1h30m or 30d")
    return timedelta(seconds=seconds)


def _sum_of_units(text: str) -> float:
    compact = text.strip().lower()
    parts = _DURATION.findall(compact)
    if not parts or _DURATION.sub("", compact).strip():
        return -1.0
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def duration_text(duration: timedelta) -> str:
    """`1h 30m`, `45s`, `0.5s`: at most two units, for people."""
    seconds = duration.total_seconds()
    if seconds < 60:
        return f"{seconds:g}s"
    whole = int(seconds)
    for size, unit, smaller, smaller_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size}{unit}" + (f" {rest}{smaller_unit}" if rest else "")
    return f"{whole}s"
