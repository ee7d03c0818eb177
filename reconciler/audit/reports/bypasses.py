"""What reached a target without a decision: each with its window, how it ended, and who accepted it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import case, func, select

from reconciler.audit.reporting import Answer, Reading, Report, Section, columns_of, touching
from reconciler.audit.running.control import controls, doubts
from reconciler.audit.streaming import typed
from reconciler.audit.views import BYPASSES, TENURES, OfTenure
from reconciler.domain.text import counted

# How a bypass stands, the worst first.
_STANDINGS = ("open", "gone", "approved", "acknowledged")
_COLUMNS = (
    "tenure_id", "model", "version", "target", "standing", "last_seen_without", "first_seen_with", "last_seen_with",
    "first_seen_without", "ended_by", "ended_by_person", "approved_by", "accepted_at", "accepted_by",
    "accepted_because",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bypass(OfTenure):
    """A row of `bypasses`. It began between `last_seen_without` and `first_seen_with`."""

    standing: str
    last_seen_without: datetime | None
    first_seen_with: datetime
    last_seen_with: datetime
    first_seen_without: datetime | None
    began_by: str
    ended_by: str | None
    ended_by_decision_id: str | None
    ended_by_resolution_id: int | None
    ended_by_person: str | None
    approved_by: str | None
    accepted_at: datetime | None
    accepted_by: str | None
    accepted_because: str | None


def _rows(reading: Reading) -> Iterator[Bypass]:
    rank = case({name: place for place, name in enumerate(_STANDINGS)}, value=BYPASSES.c.standing)
    query = columns_of(Bypass, BYPASSES).where(*touching(reading, BYPASSES)).order_by(rank, BYPASSES.c.tenure_id)
    return typed(Bypass, reading.rows(query))


def _answer(reading: Reading) -> Answer:
    standing = BYPASSES.c.standing
    grouped = select(standing, func.count()).where(*touching(reading, BYPASSES)).group_by(standing)
    by_standing = dict.fromkeys(_STANDINGS, 0) | reading.counted(grouped)
    many = sum(by_standing.values())
    told = ", ".join(f"{count} {name}" for name, count in by_standing.items() if count)
    counts = {"bypasses": many, "by_standing": by_standing}
    rows = [Section("bypasses", Bypass, _COLUMNS, _rows(reading))]
    opinion = f"{counted(many, 'bypass', 'bypasses')}{f': {told}' if told else ''}"
    # Where nobody looked, there may have been more; and what no look has explained yet may be one.
    return Answer(opinion, counts, rows, [*doubts(reading, controls(reading)), *_unexplained(reading)])


def _unexplained(reading: Reading) -> Iterator[str]:
    query = select(func.count()).where(*touching(reading, TENURES), TENURES.c.began_by.is_(None))
    if many := reading.connection.scalar(query):
        yield f"{counted(many, 'tenure')} will be explained by the next look: a bypass may be among them"


REPORT = Report("bypasses", "what held a target without a decision, and how it ended", _answer, ("bypasses",))
