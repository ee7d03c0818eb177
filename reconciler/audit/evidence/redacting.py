"""Removing a field from stored evidence: value and salt go together, the digest stays, and a row says who and why.

Every proof holds afterwards, since the entry of the decision covers the digests. Nothing tells what the value was, not
even a comparison with every value that it might have been.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, select, text, update

from reconciler.audit.decisions.judgement_tables import ConfirmationRow
from reconciler.audit.evidence.repeating import columns_that_repeat, decisions_about_the_same, fields_that_repeat
from reconciler.audit.evidence.storing import Slot, Stored, packed, stored_evidence
from reconciler.audit.evidence.tables import EvidenceRow, RedactionRow
from reconciler.audit.log.appending import Recording
from reconciler.audit.reader import only_one
from reconciler.audit.session import Session
from reconciler.audit.tables import db_now
from reconciler.domain.evidence.salted import KEPT, shown_path
from reconciler.domain.text import quoted, visible, visible_name
from reconciler.ports import AuditUnavailable, NoSuchField

# How an answer turned out. A tag may end in such a word too, and is deeper.
_OF_OURS = re.compile(r"[^.]+\.(?:answer|code)")


@dataclass(frozen=True, slots=True)
class Redaction:
    """What was removed: paths, each with the digest that stays. And what is not reached by it.

    `repeated_in`: columns, and fields of the same evidence, that show one of the values. `others`: ids of the decisions
    about the same version, which have evidence of their own.
    """

    decision_id: str
    removed: tuple[tuple[str, str], ...]
    repeated_in: tuple[str, ...]
    others: tuple[str, ...]


def redact(engine: Engine, id: str, paths: Sequence[str], reason: str, person: str) -> Redaction:
    """Removes fields from the evidence of a decision, and from what confirmed it: all of them, or none.

    Args:
        id: of the decision, or the beginning of it.
        paths: as `audit show --format json` nests them, joined by dots.

    Raises:
        NoSuchDecision, AmbiguousDecision: as `AuditReader.decision`.
        NoSuchField: the evidence has no such field, or it cannot be removed, or it is gone already.
        AuditUnavailable: it cannot be written, or this role may not.
    """
    session = Session(engine)
    with session.snapshot() as connection:
        _require_right(connection)
        decision_id = only_one(connection, id)
    with session.recording() as recording:
        evidence = _evidence_of(recording.connection, decision_id)
        named = [named for path in dict.fromkeys(paths) for named in _named(evidence, path)]
        why = {"reason": visible(reason), "person": visible_name(person)}
        slots = [evidence[key].slots[position] for key, position in named]
        values = [slot.field.value for slot in slots if slot.field is not None]
        for key, position in named:
            evidence[key] = _removed(recording, key, evidence[key], position, why)
        return Redaction(
            decision_id=decision_id,
            removed=tuple((shown_path(slot.path), slot.digest) for slot in slots),
            repeated_in=(
                *columns_that_repeat(recording.connection, decision_id, values),
                *fields_that_repeat(evidence.values(), values),
            ),
            others=tuple(decisions_about_the_same(recording.connection, decision_id)),
        )


def _evidence_of(connection: Connection, decision_id: str) -> dict[str, Stored]:
    """All evidence of a decision by its key: what it was judged on, then what confirmed it."""
    confirmations = select(ConfirmationRow.evidence_key).where(ConfirmationRow.decision_id == decision_id)
    keys = [decision_id, *connection.scalars(confirmations.order_by(ConfirmationRow.id))]
    found = stored_evidence(connection, keys)
    evidence = {}
    for key in keys:
        stored = found.get(key)
        if not isinstance(stored, Stored):
            raise AuditUnavailable(f"decision {decision_id}: its evidence {stored or 'is missing'}: see `audit verify`")
        evidence[key] = stored
    return evidence


def empty_write_ahead_log(engine: Engine) -> bool:
    """Writes the log of SQLite into the file and empties it. False where somebody reads from it meanwhile."""
    if engine.dialect.name != "sqlite":
        return False
    with closing(engine.raw_connection()) as connection:
        [(busy, *_)] = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return not busy


def _require_right(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        return
    rights = "has_table_privilege('redactions', 'INSERT') AND has_table_privilege('evidence', 'UPDATE')"
    if not connection.scalar(text(f"SELECT {rights}")):
        raise AuditUnavailable("this role may not redact: set RECONCILER_AUDIT__URL to that of the tables' owner")


def _named(evidence: Mapping[str, Stored], path: str) -> list[tuple[str, int]]:
    """Where a field stands: key and position, wherever it is left. A path is taken as it is, or as it is shown."""
    if path in KEPT or _OF_OURS.fullmatch(path):
        raise NoSuchField(f"{quoted(path)} cannot be redacted: it has no value from the registry")
    slots = [(key, at, slot) for key, stored in evidence.items() for at, slot in enumerate(stored.slots)]
    found = [named for named in slots if path in {named[2].path, shown_path(named[2].path)}]
    if not found:
        left = ", ".join(dict.fromkeys(shown_path(slot.path) for *_, slot in slots if slot.field is not None))
        raise NoSuchField(f"the evidence has no field {quoted(path)}: it has {left}")
    there = [(key, at) for key, at, slot in found if slot.field is not None]
    if not there:
        raise NoSuchField(f"{quoted(path)} is redacted already")
    return there


def _removed(recording: Recording, key: str, stored: Stored, position: int, why: dict[str, str]) -> Stored:
    """Puts the removal on record, and removes: the triggers allow the second after the first only."""
    slot = stored.slots[position]
    named = {"evidence_key": key, "position": position, "field": shown_path(slot.path), "digest": slot.digest}
    recording.add(RedactionRow, {**named, **why, "at": db_now()})
    left = Stored((*stored.slots[:position], Slot(slot.path, slot.digest, None, None), *stored.slots[position + 1 :]))
    changed = update(EvidenceRow).where(EvidenceRow.evidence_key == key).values(packed(left.slots))
    recording.connection.execute(changed)
    return left
