"""What people did: who approved, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, desc, func, select

from reconciler.audit.reporting import Reading
from reconciler.audit.requests.resolution_tables import ResolutionRow
from reconciler.audit.streaming import typed


@dataclass(frozen=True, slots=True)
class Did:
    """A row of `resolutions`. `at`: when it was done, or first seen where nothing tells that."""

    at: datetime
    registry: str
    workspace: str
    model: str
    version: str
    target: str
    resolution: str
    person: str
    person_assurance: str
    requester: str | None
    comment: str


@dataclass(frozen=True, slots=True)
class ByPerson:
    person: str
    person_assurance: str
    resolution: str
    times: int


def did(reading: Reading, most: int) -> list[Did]:
    """The newest first."""
    at, query = _about(reading)
    return list(typed(Did, reading.rows(query.order_by(at.desc(), ResolutionRow.id.desc()).limit(most))))


def by_person(reading: Reading, most: int) -> tuple[list[ByPerson], int]:
    """Who did what how often, the most frequent first; and how often all did anything."""
    _, about = _about(reading)
    row, many = about.subquery().c, func.count()
    names = row.person, row.person_assurance, row.resolution
    query = select(*names, many.label("times")).group_by(*names).order_by(desc(many), *names).limit(most)
    every = reading.connection.scalar(select(func.count()).select_from(about.subquery())) or 0
    return list(typed(ByPerson, reading.rows(query))), every


def _about(reading: Reading) -> tuple[Any, Select[Any]]:
    row = ResolutionRow
    at = func.coalesce(row.resolved_at, row.at)
    names = ("registry", "workspace", "model", "version", "target", "resolution", "requester", "comment")
    columns = [row.__table__.c[name] for name in names]
    people = row.decider.label("person"), row.decider_assurance.label("person_assurance")
    conditions = [*reading.among(row.__table__), *reading.within(at)]
    return at, select(at.label("at"), *columns, *people).where(*conditions)
