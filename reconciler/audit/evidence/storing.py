"""Evidence as it is stored: compressed, each field with a salt of its own, of which one can be removed.

Compressed by zlib: it is in the standard library of every Python, read by every language, and what evidence repeats are
the names of its fields. Salts lie beside the compressed part, since nothing makes them smaller.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from reconciler.audit.evidence.tables import EvidenceRow, RedactionRow
from reconciler.audit.log.canonical import Covered, Damaged, bytes_of
from reconciler.audit.statements import chunks
from reconciler.domain.evidence.evidence import Evidence
from reconciler.domain.evidence.redacted import evidence_left
from reconciler.domain.evidence.salted import (
    SALT_BYTES,
    Field,
    digest_of,
    digest_of_all,
    document_of,
    fields_of,
    json_text,
    seal_of,
    shown_path,
)

_LEVEL = 9
# Far more than any evidence has: texts are cut at 4,096 characters.
_MOST_BYTES = 64 * 1024 * 1024


class Salted(NamedTuple):
    """Evidence ready to be stored: the columns of its row but the key, and what the entry of its owner covers."""

    columns: Mapping[str, Any]
    covered: Covered


def salted(evidence: str) -> Salted:
    """Evidence as JSON text, with a new salt for each field."""
    fields = list(fields_of(json.loads(evidence)))
    salts = [os.urandom(SALT_BYTES) for _ in fields]
    slots = [Slot(field.path, digest_of(field, salt), field, salt) for field, salt in zip(fields, salts, strict=True)]
    columns = packed(slots)
    hashes = {"sealed": seal_of(**columns), "digests": digest_of_all([slot.digest for slot in slots])}
    row = {"fields": len(fields), **columns, **hashes}
    return Salted(row, what_is_covered(row))


class Slot(NamedTuple):
    """The place of a field. `field` and `salt` are None where it was redacted."""

    path: str
    digest: str
    field: Field | None
    salt: bytes | None


def packed(slots: Sequence[Slot]) -> dict[str, bytes]:
    """The two columns that hold the fields. Of a field that is gone only the path is left."""
    entries = [[slot.path] if slot.field is None else slot.field for slot in slots]
    salts = b"".join(slot.salt for slot in slots if slot.salt is not None)
    return {"salts": salts, "content": zlib.compress(json_text(entries).encode(), _LEVEL)}


@dataclass(frozen=True, slots=True)
class Stored:
    """Evidence as its row and those of its redactions tell it, field by field."""

    slots: tuple[Slot, ...]

    @classmethod
    def of(cls, row: Mapping[str, Any], redacted: Mapping[int, tuple[str, str]]) -> Stored:
        """The evidence of a row.

        Args:
            redacted: the field and the digest that each redaction names, by position.

        Raises:
            Damaged: the row was not written by this product, or the rows do not fit together.
        """
        entries, salts = _unpacked(row)
        left = [at for at, entry in enumerate(entries) if len(entry) > 1]
        if len(entries) != row["fields"] or len(salts) != len(left):
            raise Damaged("does not have the fields that it had")
        gone = {at: shown_path(entry[0]) for at, entry in enumerate(entries) if len(entry) == 1}
        if gone != {at: field for at, (field, digest) in redacted.items() if isinstance(digest, str)}:
            raise Damaged("lacks other fields than were redacted")
        salt_of = dict(zip(left, salts, strict=True))
        try:
            stored = cls(tuple(_slot(entry, salt_of.get(at), redacted.get(at)) for at, entry in enumerate(entries)))
        except (ValueError, RecursionError):
            # What JSON has no text for, such as a number without an end.
            raise Damaged("cannot be read") from None
        if has_hashes(row) and not (stored.has_digests(row) and (gone or is_sealed(row))):
            raise Damaged("is not what was recorded")
        return stored

    def digests(self) -> tuple[str, ...]:
        return tuple(slot.digest for slot in self.slots)

    def has_digests(self, row: Mapping[str, Any]) -> bool:
        """Whether its row says that it has these, redacted or not."""
        return digest_of_all(self.digests()) == bytes_of(row["digests"])

    def redacted(self) -> tuple[str, ...]:
        """The paths of the fields that are gone."""
        return tuple(slot.path for slot in self.slots if slot.field is None)

    def document(self) -> dict[str, Any]:
        """The evidence as JSON data, with `{"redacted": true}` in the place of what is gone."""
        gone = {"redacted": True}
        return document_of({slot.path: gone if slot.field is None else slot.field.value for slot in self.slots})

    def evidence(self) -> Evidence:
        """As it is judged again: a check that asks for what is gone abstains.

        Raises:
            ValueError: another release wrote it, and this one does not know its format.
        """
        left = document_of({slot.path: slot.field.value for slot in self.slots if slot.field is not None})
        return evidence_left(left, self.redacted())


def _unpacked(row: Mapping[str, Any]) -> tuple[list[list[Any]], list[bytes]]:
    salts, text = bytes_of(row["salts"]), text_in(row["content"])
    try:
        entries = json.loads(text)
        readable = all(isinstance(path, str) and len(value) < 2 for path, *value in entries)
        # Other words for the same fields would not be what was written.
        readable = readable and json_text(entries).encode() == text
    except (ValueError, TypeError, RecursionError):
        readable = False
    if not readable:
        raise Damaged("cannot be read")
    return entries, [salts[at : at + SALT_BYTES] for at in range(0, len(salts), SALT_BYTES)]


def text_in(content: object) -> bytes:
    """The JSON that a row holds, of its column `content`."""
    unpacking = zlib.decompressobj()
    try:
        # A forged row must not keep a verification busy, nor fill its memory.
        text = unpacking.decompress(bytes_of(content), _MOST_BYTES)
    except zlib.error:
        text = b""
    if not text or not unpacking.eof or unpacking.unused_data:
        raise Damaged("cannot be read")
    return text


def has_hashes(row: Mapping[str, Any]) -> bool:
    """Rows of earlier releases have none."""
    return row["sealed"] is not None or row["digests"] is not None


def is_sealed(row: Mapping[str, Any]) -> bool:
    """Whether evidence of which nothing is gone is as it was recorded, as far as its row tells."""
    salts, content = bytes_of(row["salts"]), bytes_of(row["content"])
    # So many bytes are salts: the hash alone does not tell where they end.
    return len(salts) == SALT_BYTES * row["fields"] and seal_of(salts, content) == bytes_of(row["sealed"])


def what_is_covered(row: Mapping[str, Any]) -> Covered:
    """What the entry of its owner covers of a row that has hashes."""
    hashes = {name: bytes_of(row[name]).hex() for name in ("sealed", "digests")}
    return {"fields": row["fields"], **hashes}


def _slot(entry: Sequence[Any], salt: bytes | None, redacted: tuple[str, str] | None) -> Slot:
    if salt is not None:
        field = Field(entry[0], entry[1])
        return Slot(field.path, digest_of(field, salt), field, salt)
    assert redacted is not None  # `Stored.of` has compared the two
    return Slot(entry[0], redacted[1], None, None)


def stored_evidence(connection: Connection, keys: Collection[str]) -> dict[str, Stored | Damaged]:
    """Evidence by its key; a key whose row is gone is missing."""
    found: dict[str, Stored | Damaged] = {}
    for chunk in chunks(keys):
        redacted = redactions(connection, chunk)
        query = select(EvidenceRow.__table__).where(EvidenceRow.evidence_key.in_(chunk))
        for row in connection.execute(query).mappings():
            key = row["evidence_key"]
            try:
                found[key] = Stored.of(dict(row), redacted[key])
            except Damaged as damage:
                found[key] = damage
    return found


def shown(evidence: Stored | Damaged | None) -> dict[str, Any] | None:
    """The evidence as those who read a decision are shown it; None where it is gone or damaged."""
    return evidence.document() if isinstance(evidence, Stored) else None


def damage_of(connection: Connection, keys: Collection[str]) -> dict[str, str]:
    """What is wrong with rows of evidence, by key, as in "its evidence …". Those that are whole are not in it."""
    found = stored_evidence(connection, keys)
    missing = {key: "is missing" for key in keys if key not in found}
    return missing | {key: str(damage) for key, damage in found.items() if isinstance(damage, Damaged)}


def redactions(connection: Connection, keys: Collection[str]) -> dict[str, dict[int, tuple[str, str]]]:
    """The field and the digest that each redaction names, by the key of the evidence and position."""
    redacted: dict[str, dict[int, tuple[str, str]]] = defaultdict(dict)
    gone = RedactionRow
    # Not its time: a damaged one is a difference of the redaction's own entry.
    query = select(gone.evidence_key, gone.position, gone.field, gone.digest).where(gone.evidence_key.in_(keys))
    for row in connection.execute(query):
        redacted[row.evidence_key][row.position] = (row.field, row.digest)
    return redacted
