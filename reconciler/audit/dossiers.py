"""Dossiers: one decision as a file that proves itself, to who has neither this product nor the database.

A dossier holds the rows as they were hashed, each with the proof that it is in the log, and the evidence field by field
with its salts. It holds nothing that no proof covers, so that nothing in it can be changed unnoticed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, and_, or_, select

from reconciler.audit.decisions.judgement_tables import ConfirmationRow, EarlierOutcomeRow, LateEffectRow
from reconciler.audit.evidence.storing import Slot, Stored, stored_evidence
from reconciler.audit.evidence.tables import RedactionRow
from reconciler.audit.log.appending import proving
from reconciler.audit.log.canonical import Damaged, bytes_of
from reconciler.audit.log.heads import first_leaf, size_of_log
from reconciler.audit.log.reading import entries_of
from reconciler.audit.log.tables import LogLeafRow
from reconciler.audit.tables import Base, DecisionRow, OutcomeRow
from reconciler.domain.errors import ExitCode, ReconcilerError
from reconciler.domain.evidence.salted import shown_path
from reconciler.domain.proofs.checkpoint import Head, origin_of
from reconciler.domain.proofs.merkle import Node, Span, consistency, inclusion, leaf_hash

FORMAT: Final = "mlflow-reconciler dossier v1"
_OF_DECISIONS: Sequence[type[Base]] = (OutcomeRow, EarlierOutcomeRow, ConfirmationRow, LateEffectRow)

Dossier = dict[str, Any]


class Unprovable(ReconcilerError):
    """A row is not as it was recorded, or the log is no extension of a head: there is nothing to be proven."""

    exit_code = ExitCode.NEGATIVE


class Proven(NamedTuple):
    """A row as it was hashed, its number in the log, and its hash there."""

    leaf: int
    table: str
    row: Mapping[str, Any]
    hash: bytes


class Vouching(NamedTuple):
    """By which head a dossier proves its rows.

    Args:
        origin: of the log.
        size: of the tree by whose root they are proven.
        covering: the kept head over it; None: nobody kept one, and it is that of now.
        older: the kept head that the log extends, where that is no covering one.
    """

    origin: str
    size: int
    covering: Head | None
    older: Head | None

    def whole(self) -> list[Span]:
        """Of what the roots of its heads are made."""
        return [Span(0, self.size), *([Span(0, self.older.size)] if self.older is not None else [])]


def written(dossier: Dossier) -> str:
    """The one form in which a dossier is written: no byte of it can be another."""
    return json.dumps(dossier, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def dossier_of(connection: Connection, decision_id: str, heads: Sequence[Head]) -> Dossier:
    """The dossier of a decision, proven by one of these heads if there is one that covers it.

    Raises:
        Unprovable: what it would hold is not as it was recorded.
    """
    keys = _evidence_keys(connection, decision_id)
    rows = _proven(connection, decision_id, keys)
    by = _vouching(connection, heads, rows[-1].leaf)
    proofs = {row.leaf: inclusion(row.leaf, by.size) for row in rows}
    extended = consistency(by.older.size, by.size) if by.older is not None else []
    hashes = _hashes(connection, rows, [*chain.from_iterable(proofs.values()), *extended, *by.whole()])
    head = _head(by, hashes)
    entries = [
        {"leaf": row.leaf, "table": row.table, "row": row.row, "proof": _hex(proofs[row.leaf], hashes)} for row in rows
    ]
    return {
        "format": FORMAT,
        "decision_id": decision_id,
        "head": head.note,
        "extends": by.older and {"head": by.older.note, "proof": _hex(extended, hashes)},
        "entries": entries,
        "evidence": _evidence(connection, keys),
    }


def _hashes(connection: Connection, rows: Sequence[Proven], spans: Iterable[Span]) -> Mapping[Node, bytes]:
    try:
        return proving(connection, {row.leaf: row.hash for row in rows}, spans)
    except KeyError:
        raise Unprovable("the log lacks some of its nodes: see `mlflow-reconciler audit verify`") from None


def _hex(proof: Iterable[Span], hashes: Mapping[Node, bytes]) -> list[str]:
    return [part.hash(hashes).hex() for part in proof]


# --- rows ----------------------------------------------------------------------------------------------------


def _evidence_keys(connection: Connection, decision_id: str) -> list[str]:
    confirmed = select(ConfirmationRow.evidence_key).where(ConfirmationRow.decision_id == decision_id)
    return [decision_id, *connection.scalars(confirmed.order_by(ConfirmationRow.id))]


def _proven(connection: Connection, decision_id: str, evidence_keys: Sequence[str]) -> list[Proven]:
    """All rows about a decision, in the order of the log."""
    policy = connection.scalar(select(DecisionRow.policy_digest).where(DecisionRow.decision_id == decision_id))
    wanted = {"decisions": [decision_id], "policy_versions": [str(policy)]}
    for row in _OF_DECISIONS:
        columns = row.__table__.columns
        ids = connection.scalars(select(columns["id"]).where(columns["decision_id"] == decision_id))
        wanted[row.__tablename__] = [str(id) for id in ids]
    redactions = select(RedactionRow.id).where(RedactionRow.evidence_key.in_(evidence_keys))
    wanted["redactions"] = [str(id) for id in connection.scalars(redactions)]
    leaf = LogLeafRow
    named = [and_(leaf.entry == table, leaf.row_key.in_(keys)) for table, keys in wanted.items() if keys]
    leaves = {
        (found.entry, found.row_key): found for found in connection.execute(select(leaf.__table__).where(or_(*named)))
    }
    proven = [
        _as_hashed(table, key, entry and entry.content, leaves.get((table, key)))
        for table, keys in wanted.items()
        if keys
        for key, entry in _all(keys, entries_of(connection, table, keys))
    ]
    return sorted(proven)


def _all(keys: Sequence[str], entries: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(key, entries.get(key)) for key in keys]


def _as_hashed(table: str, key: str, content: bytes | None, leaf: Row[Any] | None) -> Proven:
    hash_ = b"" if content is None else leaf_hash(content)
    if content is None or leaf is None or hash_ != bytes_of(leaf.hash):
        raise Unprovable(f"{table} {key}: the row is not as it was recorded: see `mlflow-reconciler audit verify`")
    return Proven(leaf.leaf, table, json.loads(content)["row"], hash_)


# --- evidence ------------------------------------------------------------------------------------------------


def _evidence(connection: Connection, keys: Sequence[str]) -> list[dict[str, Any]]:
    found = stored_evidence(connection, keys)
    return [{"evidence_key": key, "fields": [_field(slot) for slot in _whole(key, found).slots]} for key in keys]


def _whole(key: str, found: Mapping[str, Stored | Damaged]) -> Stored:
    stored = found.get(key)
    if not isinstance(stored, Stored):
        # Its entry agrees with the log: the two hashes in it did not agree when they were recorded.
        raise Unprovable(f"evidence {key} {stored or 'is missing'}: its fields cannot be proven")
    return stored


def _field(slot: Slot) -> dict[str, Any]:
    if slot.field is None or slot.salt is None:
        return {"field": shown_path(slot.path), "digest": slot.digest}
    return {"path": slot.path, "value": slot.field.value, "salt": slot.salt.hex()}


# --- heads ---------------------------------------------------------------------------------------------------


def _vouching(connection: Connection, heads: Sequence[Head], last: int) -> Vouching:
    """The first head that covers the rows: it also shows by when they were recorded. Else that of now."""
    origin = origin_of(first_leaf(connection))
    mine = sorted((head for head in heads if head.origin == origin), key=lambda head: head.size)
    if heads and not mine:
        raise Unprovable(f"no head is of this log, which is {origin}: name heads of this database with --head")
    covering = next((head for head in mine if head.size > last), None)
    if covering is not None:
        return Vouching(origin, covering.size, covering, None)
    return Vouching(origin, size_of_log(connection), None, mine[-1] if mine else None)


def _head(by: Vouching, hashes: Mapping[Node, bytes]) -> Head:
    """The head that vouches, where the log is what its heads stand for. Its root is made of what the proofs read."""
    for head in filter(None, (by.covering, by.older)):
        if Span(0, head.size).hash(hashes) != head.root:
            verify = "see `mlflow-reconciler audit verify --head`"
            raise Unprovable(f"the log does not extend the head over {head.size} entries: {verify}")
    # That of now is kept by nobody: it has no line that a proof does not cover.
    return by.covering or Head(by.origin, by.size, Span(0, by.size).hash(hashes))
