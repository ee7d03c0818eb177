"""The registry as a witness: what it was told of decisions, compared with what the database says of them now.

The number and the hash of a decision's entry in the log stand in the text that the registry shows. Who owns the
database need not own the registry. On a plain server anybody with write access can edit a tag, so a difference says
that one of the two was changed, and not which.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine, String, select, type_coerce

from reconciler.audit.cells import moment_of
from reconciler.audit.database import any_bytes, audit_errors, one_state
from reconciler.audit.log.canonical import Damaged
from reconciler.audit.log.reading import entries_of
from reconciler.audit.log.tables import LogLeafRow
from reconciler.audit.statements import Served, chunks
from reconciler.audit.tables import DecisionRow, OutcomeRow
from reconciler.domain.decision import Leaf
from reconciler.domain.proofs.merkle import leaf_hash
from reconciler.domain.request import Request
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.domain.times import from_millis
from reconciler.domain.told import decision_ids_in, is_of_the_first_release, leaf_told, newest_id_in
from reconciler.ports import Told

_NO_ENTRY = Leaf(-1, "")
# Of release 0.1.0, which had no log: its decisions were told without an entry.
_FIRST_ENGINE: Final = 1
# Versions that are read by themselves, one call or two each: of the newest decisions that nothing names.
_MOST_READ: Final = 500
_EDITED: Final = "the tag was edited or removed, which on a server without the app anybody with write access can do"


class NowThere(NamedTuple):
    """A version as the registry has it now. `created_ms`: by the registry's clock. `told`: its decision tag."""

    created_ms: int | None
    told: str


# What the registry has now where a request was about; None: no such version, or this account may not see it.
ReadNow = Callable[[Request], NowThere | None]


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
    """A decision that a text of the registry names. `leaf`: its entry, where the text has one.

    `newest`: the text is about it, and not only behind the text with earlier ones. `as_first`: as release 0.1.0 wrote.
    """

    id: str
    leaf: Leaf | None
    newest: bool
    as_first: bool
    place: tuple[str, str, str]

    def __str__(self) -> str:
        model, version, target = self.place
        return f"decision {self.id}, which the registry shows at {model} version {version} for {target},"


class _Stored(NamedTuple):
    """A decision of the database. `leaf`: where the log has it; its hash is that of the row as it is now."""

    id: str
    place: tuple[str, str, str]
    decided_at: object
    engine: object
    request: Any
    leaf: Leaf

    def is_about(self, version: NowThere) -> bool:
        """Whether this version, and no later one with its name and number, was decided about, as far as can be told."""
        created = from_millis(version.created_ms) if version.created_ms is not None else None
        with contextlib.suppress(Damaged):
            at = self.decided_at if isinstance(self.decided_at, datetime) else moment_of(self.decided_at)
            return created is not None and created <= at
        return False

    def asked(self) -> Request | None:
        """The request, its names exactly as the registry has them; None where its row does not hold one."""
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
            return Request.from_data(json.loads(self.request))
        return None


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


def compare(engine: Engine, told: Iterable[Told], served: Served, read_now: ReadNow) -> Compared:
    """Compares what the registry shows, which is read before the database: what it was told then is committed.

    Raises:
        AuditUnavailable: the database cannot be read.
        RegistryError: the registry cannot be read.
    """
    shown = [one for text in told for one in _shown(text)]
    ids = {one.id for one in shown}
    with audit_errors(engine), one_state(engine) as connection, any_bytes(connection):
        stored = _stored(connection, ids)
        unshown = _unshown(connection, served, ids)
        newest = _stored(connection, unshown.newest)
    compared = Compared(unshown=unshown.many)
    for one in shown:
        _compare_one(one, stored.get(one.id), read_now, compared)
    for id in unshown.newest:
        if id in newest:
            _compare_unshown(newest[id], read_now, compared)
    compared.unnamed -= compared.agreeing
    compared.differences = list(dict.fromkeys(compared.differences))
    return compared


def _shown(told: Told) -> Iterator[_Shown]:
    place = visible_name(told.model), visible_name(told.version), told.target
    newest, as_first = newest_id_in(told.text), is_of_the_first_release(told.text)
    for id in decision_ids_in(told.text):
        yield _Shown(id, leaf_told(told.text) if id == newest else None, id == newest, as_first, place)


def _stored(connection: Connection, ids: Collection[str]) -> Mapping[str, _Stored]:
    found: dict[str, _Stored] = {}
    for keys in chunks(ids):
        found |= _some_stored(connection, keys)
    return found


def _some_stored(connection: Connection, keys: list[str]) -> Mapping[str, _Stored]:
    row, leaf = DecisionRow, LogLeafRow
    mine = (leaf.entry == row.__tablename__) & leaf.row_key.in_(keys)
    numbers = {row.row_key: row.leaf for row in connection.execute(select(leaf.row_key, leaf.leaf).where(mine))}
    entries = entries_of(connection, row.__tablename__, keys)
    # A cell that holds no time ends no reading: it is a difference of its row.
    at = type_coerce(row.decided_at, String).label("at")
    columns = (row.decision_id, row.model, row.version, row.target, at, row.engine, row.request)
    found = {}
    for cells in connection.execute(select(*columns).where(row.decision_id.in_(keys))):
        entry, place = entries.get(cells.decision_id), (cells.model, cells.version, cells.target)
        hash_ = "" if entry is None else leaf_hash(entry.content).hex()
        stands = Leaf(numbers.get(cells.decision_id, _NO_ENTRY.number), hash_)
        found[cells.decision_id] = _Stored(cells.decision_id, place, cells.at, cells.engine, cells.request, stands)
    return found


def _compare_one(shown: _Shown, stored: _Stored | None, read_now: ReadNow, compared: Compared) -> None:
    if stored is None:
        compared.differences.append(f"{shown} is not in the database: it was removed, or somebody else wrote that text")
    elif stored.place != shown.place and not _is_renamed(stored, shown, read_now):
        model, version, target = stored.place
        compared.differences.append(
            f"{shown} is about {model} version {version} for {target} according to the database: it was changed, or "
            "somebody else wrote that text"
        )
    elif shown.leaf is None and shown.newest and not (shown.as_first and stored.engine == _FIRST_ENGINE):
        compared.differences.append(
            f"{shown} was written with its entry of the log, and no entry and hash can be read there now: {_EDITED}"
        )
    elif shown.leaf is None:
        compared.unnamed.add(shown.id)
    elif shown.leaf != stored.leaf:
        was, now = shown.leaf, stored.leaf
        compared.differences.append(
            f"{shown} was entry {was.number} of the log with hash {was.hash[:16]} when it was written, and is now "
            f"entry {now.number} with hash {now.hash[:16]}: the database or that text was changed"
        )
    else:
        compared.agreeing.add(shown.id)


def _is_renamed(stored: _Stored, shown: _Shown, read_now: ReadNow) -> bool:
    """Whether the model has a new name: the tag went along with its version, and the old name has no such version."""
    asked = stored.asked()
    return stored.place[1:] == shown.place[1:] and asked is not None and read_now(asked) is None


# --- what nothing names ---------------------------------------------------------------------------------------


class _Unshown(NamedTuple):
    """How many decisions nothing names, and of these the newest about a place of which nothing newer is named."""

    many: int
    newest: list[str]


def _unshown(connection: Connection, served: Served, shown: Collection[str]) -> _Unshown:
    row = DecisionRow
    applied = (
        select(row.decision_id, row.model, row.version, row.target)
        .join(OutcomeRow.__table__, OutcomeRow.decision_id == row.decision_id)
        .where(served.among(row), OutcomeRow.outcome == "applied")
        .order_by(row.id.desc())
    )
    many = 0
    seen: set[tuple[str, ...]] = set()
    newest: list[str] = []
    for id, *place in connection.execute(applied):
        many += id not in shown
        if id not in shown and tuple(place) not in seen and len(newest) < _MOST_READ:
            newest.append(id)
        seen.add(tuple(place))
    return _Unshown(many, newest)


def _compare_unshown(stored: _Stored, read_now: ReadNow, compared: Compared) -> None:
    """A version that is still there shows what was decided about it last; one that is gone, or new, shows nothing."""
    asked = stored.asked()
    there = read_now(asked) if asked is not None else None
    if there is None or stored.id in decision_ids_in(there.told):
        compared.unshown -= there is not None
        return
    if stored.is_about(there):
        model, version, target = stored.place
        tag = "the decision tag of that version does not name it" if there.told else "that version has no decision tag"
        compared.unshown -= 1
        compared.differences.append(
            f"decision {stored.id} about {model} version {version} for {target} was applied according to the database, "
            f"and {tag}: {_EDITED}"
        )
