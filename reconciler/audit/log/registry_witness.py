"""The registry as a witness: what it was told of decisions, compared with what the database says of them now.

The number and the hash of a decision's entry in the log stand in the text that the registry shows. Who owns the
database need not own the registry. On a plain server anybody with write access can edit a tag, so a difference says
that one of the two was changed, and not which.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, Engine, select

from reconciler.audit.database import any_bytes, audit_errors, one_state
from reconciler.audit.log.reading import entries_of
from reconciler.audit.log.tables import LogLeafRow
from reconciler.audit.statements import Served
from reconciler.audit.tables import DecisionRow, OutcomeRow
from reconciler.domain.decision import Leaf
from reconciler.domain.merkle import leaf_hash
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.domain.told import decision_ids_in, leaf_told
from reconciler.ports import Told

_TOGETHER = 500
_NO_ENTRY = Leaf(-1, "")


@dataclass
class Compared:
    """`agreeing`: decisions whose entry is the one that the registry names; `unnamed`: those that it names without.

    `unshown`: decisions that were applied, says the database, and that nothing in the registry names.
    """

    differences: list[str] = field(default_factory=list)
    agreeing: set[str] = field(default_factory=set)
    unnamed: set[str] = field(default_factory=set)
    unshown: int = 0


class _Shown(NamedTuple):
    """A decision that the registry names. `leaf` None: an earlier one of its place, or of an earlier release."""

    id: str
    leaf: Leaf | None
    place: tuple[str, str, str]

    def __str__(self) -> str:
        model, version, target = self.place
        return f"decision {self.id}, which the registry shows at {model} version {version} for {target},"


class _Stored(NamedTuple):
    """A decision of the database. `leaf`: where the log has it; its hash is that of the row as it is now."""

    place: tuple[str, str, str]
    leaf: Leaf


def targets_of(engine: Engine, served: Served) -> set[Target]:
    """What was ever decided about in this registry."""
    query = select(DecisionRow.target).distinct().where(served.among(DecisionRow))
    with audit_errors(engine), one_state(engine) as connection, any_bytes(connection):
        found = connection.scalars(query).all()
    targets = set()
    for target in found:
        # One that no target can be is a difference of its row.
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            targets.add(Target.parse(target))
    return targets


def compare(engine: Engine, told: Iterable[Told], served: Served) -> Compared:
    """Compares what the registry shows, which is read before the database: what it was told then is committed.

    Raises:
        AuditUnavailable: the database cannot be read.
        RegistryError: the registry cannot be read.
    """
    shown = [one for text in told for one in _shown(text)]
    compared = Compared()
    with audit_errors(engine), one_state(engine) as connection, any_bytes(connection):
        for at in range(0, len(shown), _TOGETHER):
            part = shown[at : at + _TOGETHER]
            stored = _stored(connection, {one.id for one in part})
            for one in part:
                _compare_one(one, stored.get(one.id), compared)
        compared.unshown = _unshown(connection, served, {one.id for one in shown})
    compared.unnamed -= compared.agreeing
    compared.differences = list(dict.fromkeys(compared.differences))
    return compared


def _shown(told: Told) -> Iterator[_Shown]:
    place = visible_name(told.model), visible_name(told.version), told.target
    for number, id in enumerate(decision_ids_in(told.text)):
        yield _Shown(id, leaf_told(told.text) if number == 0 else None, place)


def _stored(connection: Connection, ids: Collection[str]) -> Mapping[str, _Stored]:
    row, leaf, keys = DecisionRow, LogLeafRow, list(ids)
    mine = (leaf.entry == row.__tablename__) & leaf.row_key.in_(keys)
    numbers = {row.row_key: row.leaf for row in connection.execute(select(leaf.row_key, leaf.leaf).where(mine))}
    entries = entries_of(connection, row.__tablename__, keys)
    places = select(row.decision_id, row.model, row.version, row.target).where(row.decision_id.in_(keys))
    found = {}
    for id, *place in connection.execute(places):
        entry = entries.get(id)
        hash_ = "" if entry is None else leaf_hash(entry.content).hex()
        found[id] = _Stored((place[0], place[1], place[2]), Leaf(numbers.get(id, _NO_ENTRY.number), hash_))
    return found


def _compare_one(shown: _Shown, stored: _Stored | None, compared: Compared) -> None:
    if stored is None:
        compared.differences.append(f"{shown} is not in the database: it was removed, or that text is somebody else's")
    elif stored.place != shown.place:
        model, version, target = stored.place
        compared.differences.append(f"{shown} is about {model} version {version} for {target}")
    elif shown.leaf is None:
        compared.unnamed.add(shown.id)
    elif shown.leaf != stored.leaf:
        was, now = shown.leaf, stored.leaf
        compared.differences.append(
            f"{shown} was entry {was.number} of the log with hash {was.hash[:16]} when it was told, and is entry "
            f"{now.number} with hash {now.hash[:16]} now: the database or that text was changed"
        )
    else:
        compared.agreeing.add(shown.id)


def _unshown(connection: Connection, served: Served, shown: Collection[str]) -> int:
    applied = (
        select(DecisionRow.decision_id)
        .join(OutcomeRow.__table__, OutcomeRow.decision_id == DecisionRow.decision_id)
        .where(served.among(DecisionRow), OutcomeRow.outcome == "applied")
    )
    return sum(id not in shown for id in connection.scalars(applied))
