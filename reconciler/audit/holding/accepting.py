"""What a named person accepts: a bypass, or what held a target when it was first looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

from sqlalchemy import Connection, Engine, select, text

from reconciler.audit.holding.tables import AcknowledgementRow
from reconciler.audit.session import Session
from reconciler.audit.statements import parts
from reconciler.audit.tables import UtcMillis
from reconciler.domain.holding.causes import Cause
from reconciler.domain.target import Target
from reconciler.domain.text import visible, visible_name
from reconciler.ports import NoSuchTenure

_ONE: Final = text("""
SELECT t.model, t.version, t.target, t.began_by, t.accepted_by, b.standing
FROM tenures t LEFT JOIN bypasses b ON b.tenure_id = t.tenure_id WHERE t.tenure_id = :tenure_id
""")
# What holds now is found from the working state, however many tenures there have been.
_BASELINES: Final = text("""
SELECT t.tenure_id, t.registry, t.workspace, t.model, t.version, t.target, t.first_seen_with
FROM holders h JOIN tenures t ON t.tenure_id = h.tenure_id
WHERE h.cause = 'baseline' AND t.accepted_at IS NULL ORDER BY t.model, t.target, t.tenure_id
""").columns(first_seen_with=UtcMillis())


@dataclass(frozen=True, slots=True)
class Accepted:
    """`by`: who had accepted it before; None: it was accepted just now."""

    tenure_id: int
    place: str
    by: str | None = None


def acknowledge(engine: Engine, tenure_id: int, reason: str, person: str) -> Accepted:
    """Puts on record that a person accepts a bypass.

    Raises:
        NoSuchTenure: there is none of this number, or it is no bypass.
        AuditUnavailable: it cannot be written, or this role may not.
    """
    with Session(engine).recording() as recording:
        row = recording.connection.execute(_ONE, {"tenure_id": tenure_id}).one_or_none()
        if row is None:
            raise NoSuchTenure(f"there is no tenure {tenure_id}: see `mlflow-reconciler status`")
        if row.standing is None and row.began_by != Cause.UNDETERMINED:
            began = f"began by {row.began_by}" if row.began_by else "is not explained yet"
            raise NoSuchTenure(f"tenure {tenure_id} {began}: only a bypass can be acknowledged")
        place = f"{row.model} version {row.version} at {row.target}"
        if row.accepted_by is not None:
            return Accepted(tenure_id, place, row.accepted_by)
        recording.add_many(AcknowledgementRow, [_accepting(tenure_id, reason, person)])
    return Accepted(tenure_id, place)


def _accepting(tenure_id: int, reason: str, person: str) -> dict[str, object]:
    return {"observation_id": tenure_id, "person": visible_name(person), "reason": visible(reason)}


def baselines(engine: Engine, model: str | None, target: Target | None) -> list[dict[str, Any]]:
    """What holds now, has held since it was first looked at, and nobody has accepted. `model` may hold `*`."""
    with Session(engine).snapshot() as connection:
        return _baselines(connection, model, target)


def _baselines(connection: Connection, model: str | None, target: Target | None) -> list[dict[str, Any]]:
    rows = [dict(row) for row in connection.execute(_BASELINES).mappings()]
    return [
        row
        for row in rows
        if (model is None or fnmatchcase(row["model"], visible_name(model)))
        and (target is None or row["target"] == str(target))
    ]


def accept_baselines(
    engine: Engine, model: str | None, target: Target | None, reason: str, person: str
) -> Sequence[dict[str, Any]]:
    """Puts on record that a person accepts these. Returns them."""
    found = baselines(engine, model, target)
    session = Session(engine)
    accepted = []
    for part in parts(found):
        with session.recording() as recording:
            ids = [row["tenure_id"] for row in part]
            # Somebody else may accept the same at this moment.
            taken = select(AcknowledgementRow.observation_id).where(AcknowledgementRow.observation_id.in_(ids))
            others = set(recording.connection.scalars(taken))
            rows = [row for row in part if row["tenure_id"] not in others]
            recording.add_many(AcknowledgementRow, [_accepting(row["tenure_id"], reason, person) for row in rows])
            accepted += rows
    return accepted
