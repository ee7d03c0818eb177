"""The bytes that stand for a row of history in the log: rebuilt from its columns, the same on both databases.

They are JSON (RFC 8259) in ASCII with sorted keys and no blanks, of an object with `format`, `table` and `row`. A time
is ISO 8601 in UTC with milliseconds, a number with a fraction the shortest text that reads back as it. A column without
a value is left out, so that a later version can add one. A decision holds its checks in their order. What rests on
evidence holds as `evidence` the salted digests of its fields in their order (`domain/evidence/salted.py`), which stay
when a field is redacted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from reconciler.domain.evidence.salted import json_text
from reconciler.domain.times import iso

FORMAT: Final = "mlflow-reconciler audit v1"

Columns = Mapping[str, Any]
# What an entry covers of evidence: how many fields it has, and two hashes over all of them (hex), by name. Of a row
# that an earlier release wrote it is the salted digest of each field, in order (`domain/evidence/salted.py`).
Covered = Mapping[str, object] | Sequence[str]
_PLAIN: Final = frozenset({str, int, bool})


class Damaged(Exception):
    """The row cannot have been written so."""


def bytes_of(cell: object) -> bytes:
    """What a column of bytes holds; nothing where it holds something else, as a column of SQLite can."""
    return bytes(cell) if isinstance(cell, bytes | memoryview) else b""


def row_bytes(table: str, row: Columns, evidence: Covered | None = None) -> bytes:
    """The canonical bytes of a row of any table but `decisions`; `evidence`: of what it rests on."""
    return _bytes(table, _values(row) | ({} if evidence is None else {"evidence": evidence}))


def decision_bytes(row: Columns, checks: Sequence[Columns], evidence: Covered) -> bytes:
    """As `row_bytes`, of a decision with its checks, which covers all that it was judged on."""
    return _bytes("decisions", _values(row) | {"checks": [_values(check) for check in checks], "evidence": evidence})


def _bytes(table: str, row: Mapping[str, object]) -> bytes:
    return json_text({"format": FORMAT, "table": table, "row": row}).encode()


def _values(row: Columns) -> dict[str, object]:
    # Most cells are plain, and need no call.
    return {name: cell if cell.__class__ in _PLAIN else _value(cell) for name, cell in row.items() if cell is not None}


def _value(cell: object) -> object:
    if isinstance(cell, datetime):
        return iso(cell)
    if not isinstance(cell, str | int | float):
        raise Damaged("holds bytes in a column of another kind")
    return repr(cell) if isinstance(cell, float) else cell
