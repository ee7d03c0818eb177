"""How what holds a target came there: by its open tenure, or by a decision that was carried out about it."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, select

from reconciler.audit.holding.earlier_moves import created_of
from reconciler.audit.holding.tables import AttributionRow, HolderRow, ObservationRow
from reconciler.audit.statements import Served, chunks
from reconciler.audit.tables import DecisionRow, OutcomeRow
from reconciler.domain.decision import OutcomeKind
from reconciler.domain.evidence.holder_facts import Arrival
from reconciler.domain.holding.baselines import Holding
from reconciler.domain.holding.causes import Cause, is_approved
from reconciler.domain.holding.tenures import is_another
from reconciler.domain.place import ModelTarget, Place
from reconciler.domain.target import Target
from reconciler.domain.times import iso
from reconciler.domain.verdict import VerdictKind

_NOT_EXPLAINED: Final = "how it came there is not explained yet"
# A model that was renamed more often is explained no further.
_NAMES: Final = 20


def arrivals_of(connection: Connection, served: Served, holdings: Sequence[Holding]) -> dict[Place, Arrival]:
    """Of each of these what is on record; those of which nothing is are left out."""
    tenures = open_tenures_of(connection, served, holdings)
    found = {place: _by_tenure(connection, tenure) for place, tenure in tenures.items()}
    doubtful = [one for one in holdings if one.place not in found or found[one.place].approved is not True]
    return found | dict(_by_decision(connection, served, doubtful, found))


def held(connection: Connection, served: Served, asked: Collection[ModelTarget]) -> dict[ModelTarget, tuple[str, ...]]:
    """As `ports.observations.Observations.held`."""
    found: dict[ModelTarget, list[str]] = defaultdict(list)
    for row in _open_tenures(connection, served, {model for model, _ in asked}):
        found[json.loads(row.name), Target.parse(row.target)].append(f"{row.version} {row.tenure_id} {row.cause}")
    return {one: tuple(sorted(found[one])) for one in asked if one in found}


def _open_tenures(connection: Connection, served: Served, models: Collection[str]) -> Iterator[Any]:
    for names in chunks({json.dumps(model) for model in models}):
        yield from connection.execute(
            select(HolderRow.__table__).where(served.among(HolderRow), HolderRow.name.in_(names))
        )


def open_tenures_of(connection: Connection, served: Served, holdings: Sequence[Holding]) -> dict[Place, Any]:
    """Rows of `holders` by place, but of what was deleted and made again since it was seen."""
    asked = {(json.dumps(one.place.model), *one.place.shown[1:]): one for one in holdings}
    found = {}
    for row in _open_tenures(connection, served, {one.place.model for one in holdings}):
        one = asked.get((row.name, row.version, row.target))
        if one is not None and one.created in (None, row.created_ms):
            found[one.place] = row
    return found


def _by_tenure(connection: Connection, tenure: Any) -> Arrival:
    since = iso(tenure.since)
    if tenure.cause is None:
        return Arrival(why=_NOT_EXPLAINED, since=since)
    cause = Cause(tenure.cause)
    before = _before_new_names(connection, tenure.tenure_id) if cause is Cause.RENAME else cause
    return Arrival(str(cause), is_approved(before), _why(cause, before), since)


def _why(cause: Cause, before: Cause | None) -> str:
    known = f"it came there by {before}" if before is not None else _NOT_EXPLAINED
    return f"{known}, under an earlier name of the model" if cause is Cause.RENAME else known


def _before_new_names(connection: Connection, tenure_id: int) -> Cause | None:
    """How the tenure began that goes on under another name."""
    query = select(ObservationRow.continues_id, AttributionRow.cause)
    query = query.select_from(
        ObservationRow.__table__.outerjoin(AttributionRow.__table__, AttributionRow.observation_id == ObservationRow.id)
    )
    id: int | None = tenure_id
    for _ in range(_NAMES):
        row = connection.execute(query.where(ObservationRow.id == id)).one_or_none()
        if row is None or row.cause is None:
            return None
        if row.cause != Cause.RENAME:
            return Cause(row.cause)
        id = row.continues_id
    return None


def _by_decision(
    connection: Connection, served: Served, holdings: Sequence[Holding], found: Mapping[Place, Arrival]
) -> Iterator[tuple[Place, Arrival]]:
    """Those that an approval of ours was carried out about, be it before a look saw them there or afterwards.

    One about an earlier version of the same name and number, which was deleted, counts nothing.
    """
    approved = _last_approvals(connection, served, [one.place for one in holdings])
    created = created_of(connection, {decision.id for decision in approved.values()})
    for one in holdings:
        decision = approved.get(one.place.shown)
        if decision is None or is_another(created.get(decision.id), one.created, one.place.target):
            continue
        before = found.get(one.place, Arrival())
        began_by = before.began_by or str(Cause.DECISION)
        yield one.place, Arrival(began_by, True, f"a decision approved it at {iso(decision.at)}", before.since)


class _Approval(NamedTuple):
    id: str
    at: datetime


def _last_approvals(
    connection: Connection, served: Served, places: Sequence[Place]
) -> dict[tuple[str, str, str], _Approval]:
    """The last approval that was carried out, by model, version and target."""
    row, ended, shown = DecisionRow, OutcomeRow, [place.shown for place in places]
    models, targets = ({one[part] for one in shown} for part in (0, 2))
    effective = (row.verdict == str(VerdictKind.APPROVE)) & row.acts & (ended.outcome == str(OutcomeKind.APPLIED))
    joined = row.__table__.join(ended.__table__, ended.decision_id == row.decision_id)
    query = select(row.model, row.version, row.target, row.decision_id, ended.at).select_from(joined)
    query = query.where(served.among(row), effective, row.target.in_(targets)).order_by(ended.at, row.id)
    found = {}
    for some, versions in itertools.product(chunks(models), chunks({one[1] for one in shown})):
        asked = query.where(row.model.in_(some), row.version.in_(versions))
        for model, version, target, decision_id, at in connection.execute(asked):
            found[model, version, target] = _Approval(decision_id, at)
    return found
