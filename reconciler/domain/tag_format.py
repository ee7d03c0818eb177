"""The tags of the tags protocol: their keys, and the content of a request's value."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from reconciler.domain.request import NOBODY, Assurance, Request, Requester
from reconciler.domain.target import Target
from reconciler.domain.times import iso, parse_iso

# A value typed by hand has no time of its own; until it is seen it sorts before everything.
_NOT_YET_SEEN = datetime(1970, 1, 1, tzinfo=UTC)


REQUEST_PREFIX = "transition_request."
DECISION_PREFIX = "transition_decision."


def request_tag(target: Target) -> str:
    return f"{REQUEST_PREFIX}{target.kind}.{target.name}"


def target_of_tag(key: str) -> Target | None:
    """The target of a request tag, or None where the key names none."""
    kind, _, name = key.removeprefix(REQUEST_PREFIX).partition(".")
    try:
        target = Target.parse(f"@{name}" if kind == "alias" else name)
    except ValueError:
        return None
    return target if request_tag(target) == key else None


def decision_tag(target: Target) -> str:
    return f"{DECISION_PREFIX}{target.kind}.{target.name}"


def request_value(request: Request, **more: str) -> str:
    """What our command line, a stamp and the MLflow app write into the request tag."""
    data = {
        "id": request.id,
        "requester": request.requester.name,
        "requested_at": iso(request.requested_at),
        "comment": request.comment,
        **more,
    }
    return json.dumps(data, ensure_ascii=False)


def read_request(
    registry: str, workspace: str, model: str, version: str, target: Target, value: str
) -> tuple[Request, bool]:
    """The request in a tag's value, and whether the value is our JSON (else a comment that a person typed)."""
    fingerprint = hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()
    written = _written(value)
    if written is None:
        id, requester, at, comment = f"typed-{fingerprint[:16]}", NOBODY, _NOT_YET_SEEN, value
    else:
        id, requester, at, comment = written
    request = Request(registry, workspace, model, version, target, requester, at, comment, id, fingerprint)
    return request, written is not None


def _written(value: str) -> tuple[str, Requester, datetime, str] | None:
    """The fields of our JSON, or None for anything else: such a value counts as typed."""
    try:
        data = json.loads(value)
        return _fields(data) if isinstance(data, dict) else None
    except (ValueError, RecursionError, OverflowError):
        return None


def _fields(data: dict[str, Any]) -> tuple[str, Requester, datetime, str] | None:
    id, name, at = data.get("id"), data.get("requester") or "", data.get("requested_at")
    comment = data.get("comment") or ""
    if not (isinstance(id, str) and id and isinstance(at, str)):
        return None
    if not (isinstance(name, str) and isinstance(comment, str)):
        return None
    requester = Requester(name, Assurance.ASSERTED) if name else NOBODY
    return id, requester, parse_iso(at), comment
