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
from reconciler.domain.times import in_millis
from reconciler.domain.verdict import CheckResult, Role
from reconciler.ports.audit_values import Waiting


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

    @property
    def without_comment(self) -> dict[str, object]:
        return {name: value for name, value in self._asdict().items() if name != "comment"}


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
    product_version: str
    daemon: str
    engine: int
    judgement: int
    replaces: str | None

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
            product_version=__version__,
            daemon=daemon,
            engine=judged.engine,
            judgement=judged.judgement,
            replaces=judged.replaces,
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
    role: str | None
    check_id: str | None

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
            source=check.read_from,
            role=None if check.role is Role.DECIDES else str(check.role),
            check_id=check.id or None,
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


class Known(NamedTuple):
    """What the picture says of an open request, under the names of its columns."""

    place: str
    request_key: str | None
    requested_at: datetime | None
    waiting_code: str | None
    waiting_detail: str | None
    attempts: int
    next_attempt_at: datetime | None
    failures: int
    failing_since: datetime | None

    @classmethod
    def fresh(cls, place: str, request_key: str | None, requested_at: datetime | None) -> Known:
        """The row of a new request."""
        return cls(place, request_key, requested_at, None, None, 0, None, 0, None)

    def now(self, request: Request, waiting: Waiting | None, now: datetime) -> Known:
        """The row after a cycle that listed the request; equal to this one if nothing has to be written.

        Args:
            waiting: None if the request was not judged, because it is set aside, or does not wait.
        """
        after = self._replace(request_key=request.key, requested_at=in_millis(request.requested_at))
        if waiting is not None:
            return after._waits(waiting, now)
        if self.next_attempt_at is not None and self.next_attempt_at > now:
            # A request that is set aside was not judged, so what it waits for still applies.
            return after
        return Known.fresh(after.place, after.request_key, after.requested_at)._replace(attempts=after.attempts)

    def _waits(self, waiting: Waiting, now: datetime) -> Known:
        detail = visible(waiting.detail)
        in_a_row = self.failures if self.failures and self.waiting_detail == detail else 0
        after = self._replace(
            waiting_code=str(waiting.code),
            waiting_detail=detail,
            next_attempt_at=None if waiting.retry_in is None else in_millis(now + waiting.retry_in),
            # Waiting for a grace period or for a rule is not a failure.
            failures=in_a_row + 1 if waiting.failed else 0,
            failing_since=None if not waiting.failed else self.failing_since or now,
        )
        return after if after == self else after._replace(attempts=self.attempts + 1)
