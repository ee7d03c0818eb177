"""Typed rows, as they are written and read. Names come from strangers, and are stored as they may be shown."""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import datetime
from typing import NamedTuple

from reconciler import __version__
from reconciler.domain.decision import Judged
from reconciler.domain.request import Request
from reconciler.domain.text import visible, visible_name
from reconciler.domain.verdict import CheckResult
from reconciler.ports.audit import Waiting


def place_of(request: Request) -> str:
    """SHA-256 (hex) over a request's place and content: its identity before it has one of its own."""
    if request.requester.name:
        return request.key
    parts = [request.registry, request.workspace, request.model, request.version, str(request.target)]
    parts.append(request.fingerprint)
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


class RequestColumns(NamedTuple):
    """The columns that decisions and open requests share."""

    registry: str
    workspace: str
    model: str
    version: str
    target: str
    requester: str
    comment: str

    @classmethod
    def of(cls, request: Request) -> RequestColumns:
        return cls(
            registry=visible_name(request.registry),
            workspace=visible_name(request.workspace),
            model=visible_name(request.model),
            version=visible_name(request.version),
            target=str(request.target),
            requester=visible_name(request.requester.name),
            comment=visible(request.comment),
        )


class NewDecision(NamedTuple):
    """A decision, without the columns of its request; the database adds `id` and `decided_at`."""

    decision_id: str
    request_key: str
    requester_assurance: str
    requested_at: datetime
    mode: str
    verdict: str
    acts: bool
    reason_code: str
    reason: str
    rule: str
    policy_digest: str
    archive_existing: bool
    request: str
    evidence: str
    product_version: str
    daemon: str
    engine: int

    @classmethod
    def of(cls, judged: Judged, daemon: str) -> NewDecision:
        request, verdict = judged.request, judged.verdict
        return cls(
            decision_id=str(uuid.uuid4()),
            request_key=request.key,
            requester_assurance=str(request.requester.assurance),
            requested_at=request.requested_at,
            mode=str(judged.mode),
            verdict=str(verdict.kind),
            acts=judged.acts,
            reason_code=str(verdict.reason_code),
            reason=verdict.reason,
            rule=visible(verdict.rule),
            policy_digest=judged.policy_digest,
            archive_existing=verdict.archive_existing,
            request=json.dumps(request.to_data(), sort_keys=True, ensure_ascii=True),
            evidence=judged.evidence.to_json(),
            product_version=__version__,
            daemon=daemon,
            engine=judged.engine,
        )


class NewCheck(NamedTuple):
    decision_id: str
    position: int
    rule: str
    check_name: str
    result: str
    code: str
    expected: str
    observed: str
    observed_number: float | None
    source: str

    @classmethod
    def of(cls, decision_id: str, position: int, check: CheckResult) -> NewCheck:
        return cls(
            decision_id=decision_id,
            position=position,
            rule=check.rule,
            check_name=check.check,
            result=str(check.result),
            code=str(check.code),
            expected=check.expected,
            observed=check.observed,
            observed_number=check.observed_number,
            source=check.source,
        )


class NewOpenRequest(NamedTuple):
    """A newly open request, without the shared columns. `request_key` None: it was typed by hand."""

    place: str
    request_key: str | None
    requested_at: datetime | None
    seen_id: str
    first_seen_at: datetime
    last_seen_at: datetime

    @classmethod
    def of(cls, request: Request, now: datetime, key: str | None) -> NewOpenRequest:
        return cls(
            place=place_of(request),
            request_key=key,
            requested_at=request.requested_at if key else None,
            seen_id=str(uuid.uuid4()),
            first_seen_at=now,
            last_seen_at=now,
        )


class Failing(NamedTuple):
    """An open request that could not be judged the last time."""

    place: str
    detail: str | None
    failures: int
    since: datetime | None


class StillWaiting(NamedTuple):
    """Why an open request waits, and until when. The names are those of the statement's parameters."""

    at: str
    code: str
    detail: str
    due: datetime | None
    in_a_row: int
    since: datetime | None

    @classmethod
    def of(cls, waiting: Waiting, before: Failing | None, now: datetime) -> StillWaiting:
        detail = visible(waiting.detail)
        again = before.failures if before is not None and before.detail == detail else 0
        return cls(
            at=place_of(waiting.request),
            code=str(waiting.code),
            detail=detail,
            due=None if waiting.retry_in is None else now + waiting.retry_in,
            # Waiting for a grace period or for a rule is not a failure.
            in_a_row=again + 1 if waiting.failed else 0,
            since=None if not waiting.failed else before.since if before is not None else now,
        )
