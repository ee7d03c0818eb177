"""Evidence in fields, each behind a salted digest: a field can be removed, and what is left still proves itself.

A field is named by its path in the evidence, joined by dots: `run.status`, `version.tags.owner`, `run.metrics.f1`.
One metric, tag, parameter or target is one field, and so is everything else that an answer holds, such as the
description with its own hash. The digest covers the path and the value. Without its salt it tells nothing, not even
of a value that can be guessed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

SALT_BYTES: Final = 16

# What an answer holds by names of its own: each name is a field.
MAPS: Final = frozenset({"tags", "metrics", "params", "targets"})
# What evidence holds beside the answers of the registry.
KEPT: Final = frozenset({"format", "read_at", "excluded", "excluded_names"})
# A name within a map may hold dots: only the first two separate.
_DEPTH: Final = 3


class Field(NamedTuple):
    path: str
    value: Any


def fields_of(document: Mapping[str, Any]) -> Iterator[Field]:
    """The fields of evidence as JSON data, in the order of their names. An empty map is one field."""
    for key, answer in sorted(document.items()):
        if not isinstance(answer, dict):
            yield Field(key, answer)
            continue
        for name, member in sorted(answer.items()):
            if name in MAPS and isinstance(member, dict) and member:
                yield from (Field(f"{key}.{name}.{entry}", value) for entry, value in sorted(member.items()))
            else:
                yield Field(f"{key}.{name}", member)


def document_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `fields_of`."""
    document: dict[str, Any] = {}
    for path, value in fields.items():
        *above, name = path.split(".", _DEPTH - 1)
        place = document
        for key in above:
            place = place.setdefault(key, {})
        place[name] = value
    return document


def digest_of(field: Field, salt: bytes) -> str:
    """SHA-256 (hex) over the salt and the field as JSON: an array of path and value, in ASCII with sorted keys."""
    return hashlib.sha256(salt + json_text(field).encode()).hexdigest()


def digest_of_all(digests: Sequence[str]) -> bytes:
    """SHA-256 over the digests of all fields in their order, as a list of JSON: it stays when fields are gone."""
    return hashlib.sha256(json_text(digests).encode()).digest()


def seal_of(salts: bytes, content: bytes) -> bytes:
    """SHA-256 over all salts and the compressed fields: it shows at once that nothing of them was changed."""
    return hashlib.sha256(salts + content).digest()


def shown_path(path: str) -> str:
    """A path as every database takes it and every terminal shows it; the same in each release and on each Python."""
    return path if path.isascii() and path.isprintable() else json_text(path)[1:-1]


# Made once: `json.dumps` makes a new one each time, for each of thousands of fields.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def json_text(data: Any) -> str:
    """ASCII JSON, keys sorted, no blanks."""
    return _ENCODER.encode(data)
