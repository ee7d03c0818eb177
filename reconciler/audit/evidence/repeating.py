"""Where a value of evidence is written once more: in other fields, in texts about the decision, in other decisions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, select

from reconciler.audit.evidence.storing import Stored
from reconciler.audit.holding.tables import DriftRow
from reconciler.audit.tables import DecisionCheckRow, DecisionRow, OutcomeRow
from reconciler.domain.evidence.salted import shown_path
from reconciler.domain.text import visible

# Shorter words are in many texts by chance.
_LEAST = 3
# A check shows as much of a value at most.
_SHOWN = 100


def columns_that_repeat(connection: Connection, decision_id: str, values: Sequence[Any]) -> Iterator[str]:
    """The columns about a decision that show one of the values, as `decision_checks.observed`."""
    words = {visible(word)[:_SHOWN] for value in values for word in _words(value) if len(word) >= _LEAST}
    for row in (DecisionRow, DecisionCheckRow, OutcomeRow, DriftRow):
        mine: Any = select(row.__table__).where(row.decision_id == decision_id)
        found = connection.execute(mine).mappings()
        rows = [dict(one) for one in found]
        for column in (one.name for one in row.__table__.columns):
            cells = [cell for one in rows if isinstance(cell := one[column], str)]
            if column != "decision_id" and any(word in cell for cell in cells for word in words):
                yield f"{row.__tablename__}.{column}"


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _words(part)
    elif value is not None:
        yield str(value)


def fields_that_repeat(evidence: Iterable[Stored], values: Sequence[Any]) -> Iterator[str]:
    """The fields that are left and show one of the texts, as `evidence.version.tags.owner`; numbers do not count."""
    words = {word[:_SHOWN] for value in values for word in _texts(value) if len(word) >= _LEAST}
    fields = [slot.field for stored in evidence for slot in stored.slots if slot.field is not None]
    found = {field.path for field in fields if any(word in text for text in _texts(field.value) for word in words)}
    yield from (f"evidence.{shown_path(path)}" for path in sorted(found))


def _texts(value: Any) -> Iterator[str]:
    """What people wrote in a field: not the digests of it, and no metrics, each of which names its run."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, dict):
        yield from (value[name] for name in ("head", "name", "context") if name in value)


def decisions_about_the_same(connection: Connection, decision_id: str) -> list[str]:
    """The ids of other decisions about the same version."""
    row, one = DecisionRow, DecisionRow.__table__.alias("one")
    same = [row.__table__.columns[name] == one.c[name] for name in ("registry", "workspace", "model", "version")]
    query = select(row.decision_id).join(one, one.c.decision_id == decision_id)
    return list(connection.scalars(query.where(row.decision_id != decision_id, *same).order_by(row.id)))
