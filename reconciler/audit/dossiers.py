"""Dossiers: one decision as a file that proves itself, to who has neither this product nor the database.

A dossier holds the rows as they were hashed, each with the proof that it is in the log, and the evidence field by field
with its salts. It holds nothing that no proof covers, so that nothing in it can be changed unnoticed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, and_, or_, select

from reconciler.audit.decisions.judgement_tables import ConfirmationRow, EarlierOutcomeRow, LateEffectRow
from reconciler.audit.evidence.storing import Slot, Stored, stored_evidence
from reconciler.audit.evidence.tables import RedactionRow
from reconciler.audit.log.appending import hashes_of
from reconciler.audit.log.canonical import Damaged, bytes_of
from reconciler.audit.log.heads import first_leaf, size_of_log, stored_root
from reconciler.audit.log.reading import entries_of
from reconciler.audit.log.tables import LogLeafRow
from reconciler.audit.tables import Base, DecisionRow, OutcomeRow
from reconciler.domain.errors import ExitCode, ReconcilerError
from reconciler.domain.evidence.salted import shown_path
from reconciler.domain.proofs.checkpoint import Head, origin_of
from reconciler.domain.proofs.merkle import Span, consistency, inclusion, leaf_hash

FORMAT: Final = "mlflow-reconciler dossier v1"
_OF_DECISIONS: Sequence[type[Base]] = (OutcomeRow, EarlierOutcomeRow, ConfirmationRow, LateEffectRow)

Dossier = dict[str, Any]


class Unprovable(ReconcilerError):
    """A row is not as it was recorded, or the log is no extension of a head: there is nothing to be proven."""

    exit_code = ExitCode.NEGATIVE


class Proven(NamedTuple):
    """A row as it was hashed, and its number in the log."""

    leaf: int
    table: str
    row: Mapping[str, Any]


class Vouching(NamedTuple):
    """The head that a dossier proves its rows by, and an older one that the log extends, where that is the kept one."""

    head: Head
    extends: Head | None


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
    head, extends = _vouching(connection, heads, rows[-1].leaf)
    proofs = {row.leaf: inclusion(row.leaf, head.size) for row in rows}
    extended = consistency(extends.size, head.size) if extends is not None else []
    hashes = hashes_of(connection, _nodes([*proofs.values(), extended]))
    entries = [row._asdict() | {"proof": [part.hash(hashes).hex() for part in proofs[row.leaf]]} for row in rows]
    older = None
    if extends is not None:
        older = {"head": extends.note, "proof": [part.hash(hashes).hex() for part in extended]}
    return {
        "format": FORMAT,
        "decision_id": decision_id,
        "head": head.note,
        "extends": older,
        "entries": entries,
        "evidence": _evidence(connection, keys),
    }


def _nodes(proofs: Iterable[Iterable[Span]]) -> set[Any]:
    return {node for proof in proofs for span in proof for node in span.nodes()}


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
    if content is None or leaf is None or leaf_hash(content) != bytes_of(leaf.hash):
        raise Unprovable(f"{table} {key}: the row is not as it was recorded: see `mlflow-reconciler audit verify`")
    return Proven(leaf.leaf, table, json.loads(content)["row"])


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
    for head in mine[-1:] if covering is None else [covering]:
        if stored_root(connection, head.size) != head.root:
            verify = "see `mlflow-reconciler audit verify --head`"
            raise Unprovable(f"the log does not extend the head over {head.size} entries: {verify}")
    if covering is not None:
        return Vouching(covering, None)
    size = size_of_log(connection)
    root = stored_root(connection, size)
    if root is None:
        raise Unprovable("the log lacks some of its nodes: see `mlflow-reconciler audit verify`")
    # Of now, and kept by nobody: it has no line that a proof does not cover.
    return Vouching(Head(origin, size, root), mine[-1] if mine else None)
