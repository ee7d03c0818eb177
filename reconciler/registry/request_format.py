"""Transition requests in the JSON of Databricks and of our app.

Databricks' lists omit whatever is empty, and often `id`, `comment` and `from_stage` too; so the raw JSON is read, and
only `to_stage` is required.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from reconciler.domain.place import Place
from reconciler.domain.request import NOBODY, Assurance, Request, Requester
from reconciler.domain.target import Target
from reconciler.domain.times import from_millis
from reconciler.ports import Listed
from reconciler.registry.paging import Row
from reconciler.registry.versions import shows_prompt, version_facts, version_in

_ASSURANCES: Final = {str(member): member for member in Assurance}
_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Thousands of requests have few targets.
_target_of = functools.lru_cache(maxsize=128)(Target.parse)


class RequestFormat:
    """Reads the requests of one registry from its JSON. `assurance` applies to requesters whose JSON names none."""

    def __init__(self, registry: str, workspace: str, assurance: Assurance) -> None:
        self._registry = registry
        self._workspace = workspace
        self._assurance = assurance

    def read(self, row: Row, model: str, version: str) -> Listed | None:
        """The request; None if its target is not one that MLflow knows."""
        target = target_in(row.get("to_stage"))
        if target is None:
            return None
        at = row.get("creation_timestamp")
        filed_at = from_millis(at) if isinstance(at, int) else None
        id, name = str(row.get("id") or ""), str(row.get("user_id") or "")
        fingerprint = id or hashlib.sha256(f"{name}\0{at}\0{row.get('comment')}".encode("utf-8", "replace")).hexdigest()
        request = Request(
            self._registry, self._workspace, model, version, target, self._requester(row, name),
            filed_at or _NO_TIME, str(row.get("comment") or ""), id, fingerprint, row.get("is_prompt") is True,
        )  # fmt: skip
        facts = row.get("model_version")
        known = version_facts(facts) if isinstance(facts, dict) else None
        covered = row.get("covered")
        return Listed(request, known, filed_at is not None, covered if isinstance(covered, bool) else None)

    def unfiled(self, row: Row, target: Target, now: datetime) -> Request:
        """As if somebody asked for this version now."""
        place, is_prompt = Place(*version_in(row), target), shows_prompt(row)
        return Request.as_if(self._registry, self._workspace, place, now, is_prompt=is_prompt)

    def _requester(self, row: Row, name: str) -> Requester:
        if not name:
            return NOBODY
        return Requester(name, _ASSURANCES.get(str(row.get("requester_assurance")), self._assurance))


def in_order(listed: Iterable[Listed]) -> list[Listed]:
    """As they were filed."""
    return sorted(listed, key=lambda entry: entry.request.order)


def target_in(text: object) -> Target | None:
    """The target; None if it is not one that MLflow knows."""
    try:
        return _target_of(text) if isinstance(text, str) else None
    except ValueError:
        return None
