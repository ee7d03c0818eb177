"""Stored evidence as it is judged again, by the thousand: of all that was kept, what the rules ask for is taken in.

That nothing else decides is what `reconciler.domain.evidence.keeping` rests on, too: whatever is not asked for may be
left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from reconciler.audit.evidence.storing import text_in
from reconciler.audit.log.canonical import Damaged
from reconciler.domain.evidence.evidence import Evidence, Needs
from reconciler.domain.evidence.redacted import evidence_left
from reconciler.domain.evidence.salted import document_of

# What each answer holds by names, without which it is no answer.
_MAPS = (("version", "tags"), ("run", "metrics"), ("logged_model", "metrics"))
_BETWEEN = b'],["'


class _Wanted(NamedTuple):
    """Of the paths with these beginnings, these are asked for, as they stand in the JSON; all others are."""

    beginnings: tuple[bytes, ...]
    paths: tuple[bytes, ...]


def evidence_for(row: Mapping[str, Any], needs: Needs) -> Evidence:
    """The evidence of a row, as far as these needs go.

    Raises:
        Damaged: the row was not written by this product.
        ValueError: another release wrote it, and this one does not know its format.
    """
    try:
        fields, gone = _fields(text_in(row["content"]), row["fields"], needs)
        document = document_of(fields)
        for key, name in _MAPS:
            if document.get(key, {}).get("answer") == "found":
                document[key].setdefault(name, {})
        return evidence_left(document, gone) if gone else Evidence.from_data(document)
    except ValueError:
        raise
    except (TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise Damaged("cannot be read") from None


def _fields(text: bytes, many: int, needs: Needs) -> tuple[dict[str, Any], list[str]]:
    """The fields by their paths, and the paths of those that were redacted."""
    parts = text[3:-2].split(_BETWEEN)
    if len(parts) == many and text[:3] + text[-2:] == b'[["]]':
        # No quotation mark stands within a string of JSON without a backslash before it, so this only parts fields.
        some, paths = _wanted(needs)
        kept = [part for part in parts if not part.startswith(some) or part.startswith(paths)]
        text = b'[["%b]]' % _BETWEEN.join(kept)
    entries = _entries(text)
    if len(parts) != many and len(entries) != many:
        raise Damaged("does not have the fields that it had")
    gone = [entry[0] for entry in entries if len(entry) == 1]
    return {entry[0]: entry[1] for entry in entries if len(entry) > 1}, gone


def _entries(text: bytes) -> list[list[Any]]:
    try:
        entries: list[list[Any]] = json.loads(text)
    except (ValueError, RecursionError):
        raise Damaged("cannot be read") from None
    if not all(isinstance(entry[0], str) and len(entry) in {1, 2} for entry in entries):
        raise Damaged("cannot be read")
    return entries


@lru_cache(1000)
def _wanted(needs: Needs) -> _Wanted:
    asked = {"logged_model.metrics.": needs.metrics, "version.tags.": needs.tags, "run.params.": needs.params}
    if not needs.metric_globs:
        asked["run.metrics."] = needs.metrics
    paths = [f"{beginning}{json.dumps(name)[1:]}" for beginning, names in asked.items() for name in sorted(names)]
    return _Wanted(tuple(map(str.encode, asked)), tuple(map(str.encode, paths)))
