"""Writing the audit: one transaction for each thing that happens."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    Select,
    Table,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase

from reconciler import __version__
from reconciler.audit.daemons import Daemons
from reconciler.audit.database import audit_errors
from reconciler.audit.pauses import PAUSE, RESUME, note_pause, paused_for
from reconciler.audit.stuck import stuck
from reconciler.audit.tables import (
    DecisionCheckRow,
    DecisionRow,
    OpenRequestRow,
    OutcomeRow,
    PendingActRow,
    PolicyVersionRow,
    UtcMillis,
    db_now,
    now_in,
)
from reconciler.domain.decision import Decision, Judged, Mode, Outcome, OutcomeKind
from reconciler.domain.request import Request
from reconciler.domain.text import visible, visible_name
from reconciler.domain.verdict import CheckResult, VerdictKind
from reconciler.failpoints import failpoint
from reconciler.ports import CycleNote, FirstSeen, GoAhead, Pending, Recorded, Stuck, Waiting

__all__ = ["LEASE", "PAUSE", "RESUME", "SqlAuditLog", "note_pause", "place_of"]

# A statement with more parameters than this is refused by some build of SQLite.
_CHUNK = 500

LEASE = timedelta(seconds=90)
_FIRST_FENCE = 1

_NOT_ACTED = {
    Mode.OBSERVE: "mode observe: nothing was done",
    Mode.APPROVE_ONLY: "mode approve-only: left for a person",
}


class SqlAuditLog:
    """`AuditLog` of one registry and workspace, on SQLite or PostgreSQL. `daemon` names this process: host:pid."""

    def __init__(
        self,
        engine: Engine,
        daemon: str,
        registry: str,
        workspace: str = "",
        lease: timedelta = LEASE,
        on_answer: Callable[[], None] = lambda: None,
        *,
        resident: bool = True,
    ) -> None:
        """`on_answer` is called after each transaction: the database is there. `resident`: more cycles will follow."""
        self._engine = engine
        self._daemon = daemon
        self._lease = lease
        self._on_answer = on_answer
        self._registry = visible_name(registry)
        self._workspace = visible_name(workspace)
        self._daemons = Daemons(daemon, self._registry, self._workspace, resident=resident)
        self._kept: set[str] = set()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with audit_errors(self._engine), self._engine.begin() as connection:
            yield connection
        self._on_answer()

    def now(self) -> datetime:
        with self._transaction() as connection:
            return now_in(connection)

    def keep_policy(self, digest: str, text: str) -> None:
        if digest in self._kept:
            return
        with self._transaction() as connection:
            if connection.scalar(select(PolicyVersionRow.digest).where(PolicyVersionRow.digest == digest)) is None:
                values = {"digest": digest, "text": _storable(text), "first_used_at": db_now()}
                connection.execute(self._insert_new(PolicyVersionRow).values(values))
        self._kept.add(digest)

    # --- decisions -------------------------------------------------------------------------------------------

    def settled(self, keys: Collection[str], mode: Mode) -> set[str]:
        found: set[str] = set()
        with self._transaction() as connection:
            for chunk in _chunks(keys):
                known = select(DecisionRow.request_key).where(
                    DecisionRow.request_key.in_(chunk), (DecisionRow.mode == mode) | DecisionRow.acts
                )
                found |= set(connection.scalars(known))
        return found

    def record(self, judged: Judged) -> Recorded | None:
        decision_id = str(uuid.uuid4())
        with self._transaction() as connection:
            values = _decision_values(judged, decision_id, self._daemon)
            inserted = connection.execute(
                self._insert_new(DecisionRow).values(values).returning(DecisionRow.decided_at)
            ).one_or_none()
            if inserted is None:
                return None
            failpoint("decision inserted")
            checks = [_check_values(decision_id, at, check) for at, check in enumerate(judged.verdict.checks)]
            if checks:
                connection.execute(insert(DecisionCheckRow), checks)
            if judged.acts:
                self._insert_claim(connection, decision_id)
            else:
                _add_outcome(connection, decision_id, Outcome(OutcomeKind.OBSERVED, _NOT_ACTED[judged.mode]))
            failpoint("decision to be committed")
        return Recorded(_decision(judged, decision_id, inserted.decided_at), _FIRST_FENCE if judged.acts else None)

    # --- claims ----------------------------------------------------------------------------------------------

    def _insert_claim(self, connection: Connection, decision_id: str) -> None:
        now = now_in(connection)
        values = {"decision_id": decision_id, "attempts": 0, "next_attempt_at": now, "last_detail": ""}
        mine = {"leased_by": self._daemon, "fence": _FIRST_FENCE, "leased_until": now + self._lease}
        connection.execute(insert(PendingActRow).values(values | mine))

    def claim(self, limit: int, exclude: Collection[str], everything: bool) -> list[Pending]:
        with self._transaction() as connection:
            now = now_in(connection)
            rows = connection.execute(self._mine(self._free(now, exclude, everything), DecisionRow).limit(limit)).all()
            # Working state may have been lost; a decision without an outcome is work all the same.
            lost = [row.decision_id for row in rows if row.fence is None]
            for decision_id in lost:
                values = {"decision_id": decision_id, "attempts": 0, "next_attempt_at": now, "last_detail": ""}
                connection.execute(self._insert_new(PendingActRow).values(values))
            fences = self._take([row.decision_id for row in rows], now, connection)
            failpoint("claims to be committed")
        return [_pending(row, fences[row.decision_id]) for row in rows if row.decision_id in fences]

    def _free(self, now: datetime, exclude: Collection[str], everything: bool) -> Any:
        claim = PendingActRow
        wanted = _PENDING.where(claim.decision_id.is_(None) | self._may_take(now))
        if not everything:
            wanted = wanted.where(claim.next_attempt_at.is_(None) | (claim.next_attempt_at <= now))
        return wanted.where(DecisionRow.decision_id.not_in(list(exclude))) if exclude else wanted

    def _may_take(self, now: datetime) -> Any:
        claim = PendingActRow
        if self._engine.dialect.name == "sqlite":
            # The file is served by this process alone: whoever held it before is gone.
            return true()
        return claim.leased_until.is_(None) | (claim.leased_until <= now) | (claim.leased_by == self._daemon)

    def _take(self, decision_ids: Sequence[str], now: datetime, connection: Connection) -> dict[str, int]:
        """Those of them that nobody else takes in this moment, with their fences."""
        claim = PendingActRow
        free = select(claim.decision_id).where(claim.decision_id.in_(decision_ids), self._may_take(now))
        taken = (
            update(claim)
            .where(claim.decision_id.in_(free.with_for_update(skip_locked=True)))
            .values(leased_by=self._daemon, fence=claim.fence + 1, leased_until=now + self._lease)
            .returning(claim.decision_id, claim.fence)
        )
        return {row.decision_id: row.fence for row in connection.execute(taken)}

    def go_ahead(self, pending: Pending) -> GoAhead:
        with self._transaction() as connection:
            if paused_for(connection) is not None:
                return GoAhead.PAUSED
            renewed = self._claim_of(update(PendingActRow), pending).values(
                leased_until=now_in(connection) + self._lease
            )
            return GoAhead.YES if connection.execute(renewed).rowcount == 1 else GoAhead.TAKEN_OVER

    def paused(self) -> str | None:
        with self._transaction() as connection:
            return paused_for(connection)

    def attempted(self, pending: Pending, detail: str, retry_in: timedelta) -> None:
        self._again(pending, detail, retry_in, acted=True)

    def not_read(self, pending: Pending, detail: str, retry_in: timedelta) -> None:
        self._again(pending, detail, retry_in, acted=False)

    def _again(self, pending: Pending, detail: str, retry_in: timedelta, *, acted: bool) -> None:
        row, said = PendingActRow, visible(detail)
        with self._transaction() as connection:
            now = now_in(connection)
            changes = {
                "attempts": row.attempts + int(acted),
                "next_attempt_at": now + retry_in,
                "failures": case((row.last_detail == said, row.failures + 1), else_=1),
                "failing_since": func.coalesce(row.failing_since, literal(now, UtcMillis())),
                "last_detail": said,
            }
            again = self._claim_of(update(row), pending)
            connection.execute(again.values(**changes, leased_by=None, leased_until=None))

    def stuck(self) -> list[Stuck]:
        with self._transaction() as connection:
            return stuck(connection, self._registry, self._workspace)

    def conclude(self, pending: Pending, outcome: Outcome) -> bool:
        with self._transaction() as connection:
            if connection.execute(self._claim_of(delete(PendingActRow), pending)).rowcount != 1:
                return False
            _add_outcome(connection, pending.decision.decision_id, outcome)
            if outcome.kind is not OutcomeKind.FAILED:
                resolved = OpenRequestRow.place == place_of(pending.decision.request)
                connection.execute(delete(OpenRequestRow).where(resolved))
            failpoint("outcome to be committed")
        return True

    def _claim_of(self, statement: Any, pending: Pending) -> Any:
        same = PendingActRow.decision_id == pending.decision.decision_id
        return statement.where(same, PendingActRow.fence == pending.fence)

    def share(self) -> tuple[int, int]:
        with self._transaction() as connection:
            return self._daemons.share(connection)

    # --- open requests ---------------------------------------------------------------------------------------

    def first_seen(self, unstamped: Sequence[Request]) -> Mapping[str, FirstSeen]:
        with self._transaction() as connection:
            known = _known_places(connection, [place_of(request) for request in unstamped])
            now = now_in(connection)
            new = [_open_values(one, now, key=None) for one in unstamped if place_of(one) not in known]
            if new:
                connection.execute(self._insert_new(OpenRequestRow), new)
                known = _known_places(connection, [place_of(request) for request in unstamped])
        return {one.key: known[place_of(one)] for one in unstamped}

    def set_aside(self, keys: Collection[str]) -> set[str]:
        found: set[str] = set()
        with self._transaction() as connection:
            for chunk in _chunks(keys):
                later = OpenRequestRow.next_attempt_at > db_now()
                found |= set(
                    connection.scalars(
                        select(OpenRequestRow.request_key).where(OpenRequestRow.request_key.in_(chunk), later)
                    )
                )
        return found

    def reconcile_open(self, listed: Sequence[Request], waiting: Sequence[Waiting]) -> None:
        places = {place_of(request): request for request in listed}
        with self._transaction() as connection:
            now = now_in(connection)
            known = set(connection.scalars(self._mine(select(OpenRequestRow.place), OpenRequestRow)))
            gone = [{"gone": place} for place in known if place not in places]
            if gone:
                connection.execute(delete(OpenRequestRow).where(OpenRequestRow.place == bindparam("gone")), gone)
            new = [_open_values(one, now, one.key) for place, one in places.items() if place not in known]
            if new:
                connection.execute(self._insert_new(OpenRequestRow), new)
            seen = [{"at": place, "key": one.key, "asked": one.requested_at} for place, one in places.items()]
            if seen:
                connection.execute(_SEEN_AGAIN, seen)
            self._tell_waiting(connection, waiting, now)

    def _tell_waiting(self, connection: Connection, waiting: Sequence[Waiting], now: datetime) -> None:
        # Those set aside are not judged, so what they wait for still holds.
        not_aside = OpenRequestRow.next_attempt_at.is_(None) | (OpenRequestRow.next_attempt_at <= now)
        failing = self._failing(connection)
        nothing = {"waiting_code": None, "waiting_detail": None, "next_attempt_at": None}
        recovered = {"failures": 0, "failing_since": None}
        mine = self._mine(update(OpenRequestRow), OpenRequestRow).where(not_aside)
        connection.execute(mine.values(nothing | recovered))
        rows = [_waiting_values(one, failing.get(place_of(one.request)), now) for one in waiting]
        if rows:
            connection.execute(_WAITS, rows)

    def _failing(self, connection: Connection) -> dict[str, Row[Any]]:
        """The requests that could not be judged the last time, by place."""
        row = OpenRequestRow
        known = select(row.place, row.waiting_detail, row.failures, row.failing_since).where(row.failures > 0)
        return {found.place: found for found in connection.execute(self._mine(known, row))}

    # --- cycles ----------------------------------------------------------------------------------------------

    def sign_on(self, mode: Mode, policy_digest: str) -> None:
        """This daemon begins: whoever pauses acts waits for it too, before its first cycle has ended."""
        with self._transaction() as connection:
            self._daemons.sign_on(connection, mode, policy_digest)

    def note_cycle(self, note: CycleNote) -> None:
        with self._transaction() as connection:
            self._daemons.note_cycle(connection, note)

    def sign_off(self) -> None:
        """This daemon ends: nobody waits for it, or shares work with it."""
        with self._transaction() as connection:
            self._daemons.sign_off(connection)

    def _mine(self, statement: Any, row: type[DecisionRow] | type[OpenRequestRow]) -> Any:
        """Only this registry's rows: several daemons may share one database."""
        return statement.where(row.registry_uri == self._registry, row.workspace == self._workspace)

    def _insert_new(self, row: type[DeclarativeBase]) -> Any:
        """INSERT … ON CONFLICT DO NOTHING: the database settles the race."""
        table = row.__table__
        assert isinstance(table, Table)
        if self._engine.dialect.name == "sqlite":
            return sqlite.insert(table).on_conflict_do_nothing()
        return postgresql.insert(table).on_conflict_do_nothing()


def place_of(request: Request) -> str:
    """SHA-256 (hex) of where a request stands and what stands there: its identity before it has one of its own."""
    if request.requester.name:
        return request.key
    parts = [request.registry, request.workspace, request.model, request.version, str(request.target)]
    parts.append(request.fingerprint)
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()


def _storable(text: str) -> str:
    """Text of our own users: NUL is what PostgreSQL cannot take, lone surrogates what UTF-8 cannot."""
    return text.replace("\0", "\\u0000").encode("utf-8", "replace").decode()


def _chunks(keys: Collection[str]) -> Iterator[list[str]]:
    ordered = sorted(keys)
    return (ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK))


def _decision_values(judged: Judged, decision_id: str, daemon: str) -> dict[str, Any]:
    request, verdict = judged.request, judged.verdict
    return {
        "decision_id": decision_id,
        "request_key": request.key,
        "decided_at": db_now(),
        **_place_values(request),
        "requester_assurance": str(request.requester.assurance),
        "requested_at": request.requested_at,
        "comment": visible(request.comment),
        "mode": str(judged.mode),
        "verdict": str(verdict.kind),
        "acts": judged.acts,
        "reason_code": str(verdict.reason_code),
        "reason": verdict.reason,
        "rule": visible(verdict.rule),
        "policy_digest": judged.policy_digest,
        "archive_existing": verdict.archive_existing,
        "request": json.dumps(request.to_data(), sort_keys=True, ensure_ascii=True),
        "evidence": judged.evidence.to_json(),
        "product_version": __version__,
        "daemon": daemon,
        "engine": judged.engine,
    }


def _place_values(request: Request) -> dict[str, Any]:
    return {
        "registry": visible_name(request.registry),
        "workspace": visible_name(request.workspace),
        "model": visible_name(request.model),
        "version": visible_name(request.version),
        "target": str(request.target),
        "requester": visible_name(request.requester.name),
    }


def _check_values(decision_id: str, position: int, check: CheckResult) -> dict[str, Any]:
    return {
        "decision_id": decision_id,
        "position": position,
        "rule": check.rule,
        "check_name": check.check,
        "result": str(check.result),
        "code": str(check.code),
        "expected": check.expected,
        "observed": check.observed,
        "observed_number": check.observed_number,
        "source": check.source,
    }


def _open_values(request: Request, now: datetime, key: str | None) -> dict[str, Any]:
    return {
        "place": place_of(request),
        "request_key": key,
        **_place_values(request),
        "requested_at": request.requested_at if key else None,
        "comment": visible(request.comment),
        "seen_id": str(uuid.uuid4()),
        "first_seen_at": now,
        "last_seen_at": now,
    }


def _waiting_values(waiting: Waiting, before: Row[Any] | None, now: datetime) -> dict[str, Any]:
    detail = visible(waiting.detail)
    same = before is not None and before.waiting_detail == detail
    values = {"many": (before.failures if before and same else 0) + 1, "since": before.failing_since if before else now}
    return {
        "at": place_of(waiting.request),
        "code": str(waiting.code),
        "detail": detail,
        "due": None if waiting.retry_in is None else now + waiting.retry_in,
        # Waiting for a grace period or for a rule is no failure.
        **(values if waiting.failed else {"many": 0, "since": None}),
    }


def _add_outcome(connection: Connection, decision_id: str, outcome: Outcome) -> None:
    values = {"decision_id": decision_id, "outcome": str(outcome.kind), "detail": visible(outcome.detail)}
    connection.execute(insert(OutcomeRow).values(at=db_now(), **values))


def _decision(judged: Judged, decision_id: str, decided_at: datetime) -> Decision:
    return Decision(
        decision_id=decision_id,
        decided_at=decided_at,
        request=judged.request,
        verdict=judged.verdict.kind,
        reason=judged.verdict.reason,
        mode=judged.mode,
        policy_digest=judged.policy_digest,
        rule=visible(judged.verdict.rule),
        archive_existing=judged.verdict.archive_existing,
        engine=judged.engine,
    )


_PENDING: Select[Any] = (
    select(DecisionRow.__table__, PendingActRow.attempts, PendingActRow.fence, PendingActRow.failures)
    .outerjoin(PendingActRow, PendingActRow.decision_id == DecisionRow.decision_id)
    .where(DecisionRow.acts, ~exists().where(OutcomeRow.decision_id == DecisionRow.decision_id))
    .order_by(DecisionRow.id)
)


def _pending(row: Row[Any], fence: int) -> Pending:
    decision = Decision(
        decision_id=row.decision_id,
        decided_at=row.decided_at,
        request=Request.from_data(json.loads(row.request)),
        verdict=VerdictKind(row.verdict),
        reason=row.reason,
        mode=Mode(row.mode),
        policy_digest=row.policy_digest,
        rule=row.rule,
        archive_existing=row.archive_existing,
        engine=row.engine,
    )
    return Pending(decision, row.attempts or 0, fence, row.failures or 0)


_SEEN_AGAIN = (
    update(OpenRequestRow)
    .where(OpenRequestRow.place == bindparam("at"))
    .values(request_key=bindparam("key"), requested_at=bindparam("asked"), last_seen_at=db_now())
)
_WAITS = (
    update(OpenRequestRow)
    .where(OpenRequestRow.place == bindparam("at"))
    .values(
        waiting_code=bindparam("code"),
        waiting_detail=bindparam("detail"),
        next_attempt_at=bindparam("due"),
        failures=bindparam("many"),
        failing_since=bindparam("since"),
        attempts=OpenRequestRow.attempts + 1,
    )
)


def _known_places(connection: Connection, places: Collection[str]) -> dict[str, FirstSeen]:
    columns = select(OpenRequestRow.place, OpenRequestRow.seen_id, OpenRequestRow.first_seen_at)
    known: dict[str, FirstSeen] = {}
    for chunk in _chunks(places):
        rows = connection.execute(columns.where(OpenRequestRow.place.in_(chunk)))
        known |= {row.place: FirstSeen(row.seen_id, row.first_seen_at) for row in rows}
    return known
