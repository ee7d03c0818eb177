"""Evidence as it is stored: compressed, each field with a salt of its own, of which one can be removed.

Compressed by zlib: it is in the standard library of every Python, read by every language, and what evidence repeats are
the names of its fields. Salts lie beside the compressed part, since nothing makes them smaller.
"""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from operator import add
from struct import Struct
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from reconciler.audit.evidence.tables import EvidenceRow, RedactionRow
from reconciler.audit.log.canonical import Damaged, bytes_of
from reconciler.audit.statements import chunks, driver_rows
from reconciler.domain.evidence.evidence import Evidence
from reconciler.domain.evidence.redacted import evidence_left
from reconciler.domain.evidence.salted import (
    SALT_BYTES,
    Field,
    digest_of,
    document_of,
    fields_of,
    json_text,
    shown_path,
)

_LEVEL = 9
# Far more than any evidence has: texts are cut at 4,096 characters.
_MOST_BYTES = 64 * 1024 * 1024
_KEY = ("evidence_key",)
_STORED = (*_KEY, "fields", "salts", "content")
_BETWEEN = '","'


class Salted(NamedTuple):
    """Evidence ready to be stored: the columns of its row but the key, and the digests of its fields in their order."""

    columns: Mapping[str, Any]
    digests: tuple[str, ...]


def salted(evidence: str) -> Salted:
    """Evidence as JSON text, with a new salt for each field."""
    fields = list(fields_of(json.loads(evidence)))
    salts = [os.urandom(SALT_BYTES) for _ in fields]
    slots = [Slot(field.path, digest_of(field, salt), field, salt) for field, salt in zip(fields, salts, strict=True)]
    return Salted({"fields": len(fields), **packed(slots)}, tuple(slot.digest for slot in slots))


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
            raise Damaged("has not the fields that it had")
        gone = {at: shown_path(entry[0]) for at, entry in enumerate(entries) if len(entry) == 1}
        if gone != {at: field for at, (field, digest) in redacted.items() if isinstance(digest, str)}:
            raise Damaged("lacks other fields than were redacted")
        salt_of = dict(zip(left, salts, strict=True))
        try:
            return cls(tuple(_slot(entry, salt_of.get(at), redacted.get(at)) for at, entry in enumerate(entries)))
        except (ValueError, RecursionError):
            # What JSON has no text for, such as a number without an end.
            raise Damaged("cannot be read") from None

    def digests(self) -> tuple[str, ...]:
        return tuple(slot.digest for slot in self.slots)

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


def _at_once(fields: object, salts: bytes, content: object) -> list[str] | None:
    """The digests of evidence of which nothing is gone, of the text as it lies there; None where it is not plain.

    No quotation mark stands within a string of JSON without a backslash before it, so `],["` only ends one array and
    begins another. Where it does so within a value there are more parts than fields. No line ends in what we write.
    """
    text = text_in(content)
    parts = text[1:-1].replace(b'],["', b']\n["').split(b"\n")
    if len(parts) != fields or len(salts) != SALT_BYTES * len(parts) or text[:3] + text[-2:] != b'[["]]':
        return None
    if b"\n" in text:
        return None
    return [made.hexdigest() for made in map(sha256, map(add, _salts(len(parts)).unpack(salts), parts))]


@lru_cache(1000)
def _salts(many: int) -> Struct:
    """So many salts in a row."""
    return Struct(f"{SALT_BYTES}s" * many)


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
        redacted = _redactions(connection, chunk)
        query = select(EvidenceRow.__table__).where(EvidenceRow.evidence_key.in_(chunk))
        for row in connection.execute(query).mappings():
            key = row["evidence_key"]
            try:
                found[key] = Stored.of(dict(row), redacted[key])
            except Damaged as damage:
                found[key] = damage
    return found


def stored_digests(connection: Connection, keys: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The digests of evidence by its key, for a verification of all of history; none where it is gone or damaged."""
    digests: dict[str, tuple[str, ...]] = {}
    for chunk in chunks(keys):
        redacted = _redactions(connection, chunk)
        query = select(EvidenceRow.__table__).where(EvidenceRow.evidence_key.in_(chunk))
        for row in connection.execute(query).all():
            key = row.evidence_key
            with contextlib.suppress(Damaged):
                at_once = None if key in redacted else _at_once(row.fields, bytes_of(row.salts), row.content)
                digests[key] = tuple(at_once or Stored.of(row._asdict(), redacted[key]).digests())
    return digests


def digests_at_once(connection: Connection, keys: Collection[Any]) -> dict[Any, str]:
    """As `stored_digests`, of evidence of which nothing is gone and which is plain: each as a list of JSON."""
    digests: dict[Any, str] = {}
    for chunk in chunks(keys):
        redacted = {key for (key,) in driver_rows(connection, RedactionRow, _KEY, _KEY[0], chunk)}
        for key, fields, salts, content in driver_rows(connection, EvidenceRow, _STORED, _KEY[0], chunk):
            with contextlib.suppress(Damaged):
                if key not in redacted and (of_it := _at_once(fields, bytes_of(salts), content)) is not None:
                    digests[key] = f'["{_BETWEEN.join(of_it)}"]'
    return digests


def shown(evidence: Stored | Damaged | None) -> dict[str, Any] | None:
    """The evidence as those who read a decision are shown it; None where it is gone or damaged."""
    return evidence.document() if isinstance(evidence, Stored) else None


def damage_of(connection: Connection, keys: Collection[str]) -> dict[str, str]:
    """What is wrong with rows of evidence, by key, as in "its evidence …". Those that are whole are not in it."""
    found = stored_evidence(connection, keys)
    missing = {key: "is missing" for key in keys if key not in found}
    return missing | {key: str(damage) for key, damage in found.items() if isinstance(damage, Damaged)}


def _redactions(connection: Connection, keys: Collection[str]) -> dict[str, dict[int, tuple[str, str]]]:
    redacted: dict[str, dict[int, tuple[str, str]]] = defaultdict(dict)
    gone = RedactionRow
    # Not its time: a damaged one is a difference of the redaction's own entry.
    query = select(gone.evidence_key, gone.position, gone.field, gone.digest).where(gone.evidence_key.in_(keys))
    for row in connection.execute(query):
        redacted[row.evidence_key][row.position] = (row.field, row.digest)
    return redacted
