"""What the entries of the log cover of evidence, by the hundred thousand, and whether it is as it was recorded.

Of evidence of which nothing is gone one hash tells that, without unpacking it; of what was redacted the digests of the
fields do, as they do of all that earlier releases wrote.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from functools import lru_cache
from hashlib import sha256
from operator import add
from struct import Struct
from typing import Any

from sqlalchemy import Connection, select

from reconciler.audit.evidence.storing import Stored, has_hashes, is_sealed, redactions, text_in, what_is_covered
from reconciler.audit.evidence.tables import EvidenceRow, RedactionRow
from reconciler.audit.log.canonical import Covered, Damaged, bytes_of
from reconciler.audit.statements import chunks, driver_rows
from reconciler.domain.evidence.salted import SALT_BYTES, seal_of

_KEY = ("evidence_key",)
_STORED = (*_KEY, "fields", "salts", "content", "sealed", "digests")
_BETWEEN = '","'


def covered_of(connection: Connection, keys: Collection[str]) -> dict[str, Covered]:
    """What entries cover of evidence, by its key, for a verification of all of history; none where it is damaged."""
    found: dict[str, Covered] = {}
    for chunk in chunks(keys):
        redacted = redactions(connection, chunk)
        query = select(EvidenceRow.__table__).where(EvidenceRow.evidence_key.in_(chunk))
        for row in connection.execute(query).all():
            key = row.evidence_key
            with contextlib.suppress(Damaged):
                found[key] = _compared(row._asdict(), redacted.get(key, {}))
    return found


def _compared(row: Mapping[str, Any], redacted: Mapping[int, tuple[str, str]]) -> Covered:
    """What the entry covers of a row that is as it was recorded, as far as that can be told of it alone."""
    if not has_hashes(row):
        at_once = None if redacted else _at_once(row["fields"], bytes_of(row["salts"]), row["content"])
        return tuple(at_once or Stored.of(row, redacted).digests())
    if redacted or not is_sealed(row):
        Stored.of(row, redacted)
    return what_is_covered(row)


def covered_at_once(connection: Connection, keys: Collection[Any]) -> dict[Any, str]:
    """As `covered_of`, as JSON, of evidence of which nothing is gone and which is plain."""
    found: dict[Any, str] = {}
    for chunk in chunks(keys):
        redacted = {key for (key,) in driver_rows(connection, RedactionRow, _KEY, _KEY[0], chunk)}
        for key, *cells in driver_rows(connection, EvidenceRow, _STORED, _KEY[0], chunk):
            with contextlib.suppress(Damaged):
                if key not in redacted and (covered := _covered_at_once(*cells)) is not None:
                    found[key] = covered
    return found


def _covered_at_once(
    fields: object, salts: bytes, content: bytes, sealed: bytes | None, digests: bytes | None
) -> str | None:
    if sealed is None or digests is None:
        # As earlier releases wrote it.
        of_it = _at_once(fields, bytes_of(salts), content)
        return None if sealed is not digests or of_it is None else f'["{_BETWEEN.join(of_it)}"]'
    if not isinstance(fields, int) or len(salts) != SALT_BYTES * fields or seal_of(salts, content) != sealed:
        return None
    return f'{{"digests":"{digests.hex()}","fields":{fields},"sealed":"{sealed.hex()}"}}'


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
