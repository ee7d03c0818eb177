"""Decisions as they are stored, read in parts, so that any number of them fits into memory.

Cells are taken as they are: what somebody changed behind the product's back is told, and ends no reading.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Integer, String, and_, func, select, true, type_coerce
from sqlalchemy.sql.elements import ColumnElement

from reconciler.audit.evidence.tables import EvidenceRow
from reconciler.audit.log.canonical import Damaged
from reconciler.audit.tables import DecisionCheckRow, DecisionRow
from reconciler.domain.agreement import Recorded, RecordedCheck
from reconciler.domain.request import Request
from reconciler.domain.times import iso
from reconciler.domain.verdict import Role

_TOGETHER = 250


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which decisions are meant: one by its whole id, or those of a period. `since` is included, `until` is not."""

    decision_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def condition(self) -> ColumnElement[bool]:
        row = DecisionRow
        conditions: list[ColumnElement[bool]] = []
        if self.decision_id is not None:
            conditions.append(row.decision_id == self.decision_id)
        if self.since is not None:
            conditions.append(row.decided_at >= self.since)
        if self.until is not None:
            conditions.append(row.decided_at < self.until)
        return and_(true(), *conditions)


class Part(NamedTuple):
    """Some of the chosen decisions: those whose row has one of these numbers."""

    chosen: Chosen
    first: int
    last: int

    def condition(self) -> ColumnElement[bool]:
        return and_(DecisionRow.id.between(self.first, self.last), self.chosen.condition())


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """One decision as its rows have it. `evidence`: the row of its evidence; None where that is gone."""

    decision_id: str
    decided_at: str
    model: str
    version: str
    target: str
    requester: str
    policy_digest: str
    recorded: Recorded
    raw_request: object
    evidence: Mapping[str, Any] | None

    def request(self) -> Request:
        """Raises Damaged where its row does not hold one."""
        try:
            return Request.from_data(json.loads(self.raw_request))  # type: ignore[arg-type]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            raise Damaged("cannot be read") from None


def count_of(connection: Connection, chosen: Chosen) -> int:
    return connection.scalar(select(func.count()).select_from(DecisionRow.__table__).where(chosen.condition())) or 0


def parts_of(connection: Connection, chosen: Chosen) -> list[Part]:
    """The chosen decisions that are there now, in the order in which they were recorded.

    By counting rows, and not from one number to the next: numbers may have gaps of any size.
    """
    row = DecisionRow
    place = (func.row_number().over(order_by=row.id) - 1).label("place")
    numbered = select(row.id, place).where(chosen.condition()).subquery()
    firsts: list[int] = list(
        connection.scalars(select(numbered.c.id).where(numbered.c.place % _TOGETHER == 0).order_by(numbered.c.id))
    )
    if not firsts:
        return []
    last = connection.scalar(select(func.max(row.id)).where(chosen.condition())) or firsts[-1]
    lasts = [*(first - 1 for first in firsts[1:]), last]
    return [Part(chosen, first, end) for first, end in zip(firsts, lasts, strict=True)]


def read_part(connection: Connection, part: Part) -> list[StoredDecision]:
    row = DecisionRow
    columns: Any = select(
        row.decision_id, type_coerce(row.decided_at, String).label("decided_at"), row.model, row.version, row.target,
        row.requester, row.policy_digest, row.engine, row.verdict, row.reason_code, row.rule,
        type_coerce(row.archive_existing, Integer).label("archive_existing"), row.request,
    )  # fmt: skip
    decisions = connection.execute(columns.where(part.condition()).order_by(row.id)).all()
    if not decisions:
        return []
    ids = select(row.decision_id).where(part.condition())
    checks, evidence = _checks(connection, ids), _evidence(connection, ids)
    return [
        StoredDecision(
            decision_id=one.decision_id,
            decided_at=iso(one.decided_at) if isinstance(one.decided_at, datetime) else str(one.decided_at),
            model=one.model,
            version=one.version,
            target=one.target,
            requester=one.requester,
            policy_digest=one.policy_digest,
            recorded=Recorded(
                one.engine,
                one.verdict,
                one.reason_code,
                one.rule,
                _truth(one.archive_existing),
                checks[one.decision_id],
            ),
            raw_request=one.request,
            evidence=evidence.get(one.decision_id),
        )
        for one in decisions
    ]


def _truth(cell: object) -> Any:
    """SQLite keeps 0 and 1; what is neither stays as it is, and differs."""
    return bool(cell) if isinstance(cell, int) and cell in {0, 1} else cell


def _checks(connection: Connection, ids: Any) -> dict[str, list[RecordedCheck]]:
    row = DecisionCheckRow
    columns: Any = select(
        row.decision_id, row.rule, row.check_name, row.result, row.code, row.observed_number, row.role, row.check_id
    )
    query = columns.where(row.decision_id.in_(ids)).order_by(row.decision_id, row.position)
    found: dict[str, list[RecordedCheck]] = defaultdict(list)
    for id, rule, check, result, code, number, role, check_id in connection.execute(query).all():
        known = RecordedCheck(rule, check, result, code, number, role or str(Role.DECIDES), check_id or "")
        found[id].append(known)
    return found


def _evidence(connection: Connection, ids: Any) -> dict[str, Mapping[str, Any]]:
    row = EvidenceRow
    query = select(row.evidence_key, row.fields, row.salts, row.content).where(row.evidence_key.in_(ids))
    return {found["evidence_key"]: dict(found) for found in connection.execute(query).mappings()}
