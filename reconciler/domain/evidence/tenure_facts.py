"""Since when a version holds the stages and aliases that checks name, as the daemon's looks saw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from reconciler.domain.evidence.facts import Fact
from reconciler.domain.times import iso, parse_iso


@dataclass(frozen=True, slots=True)
class TimeHeld:
    """One target, and for how long it was held without a break, as far as looks tell.

    `holds`: by the registry, when the request was judged. The rest is the audit database's, by its own clock, and never
    what the registry claims: `since` and `seen_at` are the first and the last look that saw the version there,
    `asked_at` when the database was asked, `tenure_id` the row of `observations`. Where there is none, `why` says so.
    """

    holds: bool
    since: datetime | None = None
    seen_at: datetime | None = None
    asked_at: datetime | None = None
    tenure_id: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class TenureFacts(Fact):
    """By target, such as `Staging` or `@challenger`."""

    key: ClassVar[str] = "tenure"

    targets: Mapping[str, TimeHeld]

    def to_data(self) -> dict[str, Any]:
        return {"targets": {target: _data(held) for target, held in self.targets.items()}}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        return cls({target: _held(held) for target, held in data["targets"].items()})


_MOMENTS = ("since", "seen_at", "asked_at")


def _data(held: TimeHeld) -> dict[str, Any]:
    moments = {name: None if (at := getattr(held, name)) is None else iso(at) for name in _MOMENTS}
    return {"holds": held.holds, **moments, "tenure_id": held.tenure_id, "why": held.why}


def _held(data: Mapping[str, Any]) -> TimeHeld:
    moments = {name: None if data[name] is None else parse_iso(data[name]) for name in _MOMENTS}
    return TimeHeld(data["holds"] is True, **moments, tenure_id=data["tenure_id"], why=data["why"])
