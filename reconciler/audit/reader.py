"""Reading the audit: lists, and one decision in full. Reading never blocks the daemon."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    MetaData,
    Row,
    Select,
    Table,
    and_,
    case,
    func,
    join,
    null,
    or_,
    select,
)
from sqlalchemy import Text as SqlText

from reconciler.audit.decisions.judgement_reading import judged_again
from reconciler.audit.decisions.stuck import stuck
from reconciler.audit.evidence.storing import shown, stored_evidence
from reconciler.audit.holding.bypasses import holding
from reconciler.audit.session import Session
from reconciler.audit.statements import decision_of_pending, matching
from reconciler.audit.streaming import Columns, Rows
from reconciler.audit.tables import (
    DaemonRow,
    DecisionCheckRow,
    DecisionRow,
    OpenRequestRow,
    OutcomeRow,
    PauseEventRow,
    PendingActRow,
    PolicyVersionRow,
    UtcMillis,
    db_now,
)
from reconciler.domain.target import Target
from reconciler.domain.text import quoted, visible_name
from reconciler.domain.times import iso
from reconciler.domain.verdict import Role
from reconciler.ports import AmbiguousDecision, NoSuchDecision

# Of the decisions that failed, the latest that `status` names.
FAILED_SHOWN = 20

_MOMENTS = {"decided_at", "requested_at", "outcome_at"}

LISTED = (
    "decision_id", "decided_at", "registry", "workspace", "model", "version", "target", "requester",
    "requester_assurance", "requested_at", "comment", "verdict", "reason_code", "reason", "mode", "policy_digest",
    "rule", "outcome", "outcome_at", "outcome_detail", "effect", "decider", "judgement", "replaces",
)  # fmt: skip

# The view, read as any auditor reads it. It is not among the tables that `db check` expects.
REGISTER = Table(
    "decision_register",
    MetaData(),
    *(Column(name, UtcMillis if name in _MOMENTS else SqlText) for name in LISTED),
)


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which decisions are listed. `model` and `requester` may hold `*`; `since` is included, `until` is not."""

    model: str | None = None
    target: Target | None = None
    verdict: str | None = None
    requester: str | None = None
    mode: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class AuditReader:
    """Every method may raise AuditUnavailable. Times come as ISO 8601 text in UTC with milliseconds."""

    def __init__(self, engine: Engine) -> None:
        self._session = Session(engine)
        self._dialect = engine.dialect.name

    def decisions(self, only: DecisionFilter, limit: int | None = None) -> list[dict[str, Any]]:
        """As `each_decision`, at once."""
        return list(self.each_decision(only, limit))

    def each_decision(self, only: DecisionFilter, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """Newest first, with the fields of `LISTED`; `outcome` is None while a decision is pending. Read as used."""
        with self._session.transaction() as connection:
            yield from map(_plain, Rows(connection, self._listed(only, limit)))

    def by_column(self, only: DecisionFilter, limit: int | None = None) -> Iterator[Columns]:
        """As `each_decision`, some hundred at a time: a column for each of `LISTED`."""
        with self._session.transaction() as connection:
            yield from Rows(connection, self._listed(only, limit)).by_column(LISTED)

    def _listed(self, only: DecisionFilter, limit: int | None) -> Select[Any]:
        query = _filtered(select(REGISTER), only, self._dialect)
        return query.order_by(REGISTER.c.decided_at.desc(), REGISTER.c.decision_id).limit(limit)

    def decision(self, id: str) -> dict[str, Any]:
        """One decision in full, by its id or the beginning of it.

        Raises:
            NoSuchDecision: no id begins so.
            AmbiguousDecision: more than one id begins so.
        """
        with self._session.transaction() as connection:
            return whole_decision(connection, only_one(connection, id))

    def open_requests(self) -> list[dict[str, Any]]:
        """The working picture of the last cycle, oldest first: what is open and what it waits for.

        Of the last decision about a request: `would` is its verdict where the mode did not act on it; else
        `decision_id` is its id, with `act_next_attempt_at` and `act_detail` until it has an `outcome`. `would` and
        `decision_id` are None where the request is to be judged.
        """
        decisions = DecisionRow.__table__.alias("decided")
        decided, act = decisions.c, PendingActRow
        last = (
            select(DecisionRow.decision_id)
            .where(DecisionRow.request_key == OpenRequestRow.request_key)
            .order_by(DecisionRow.judgement.desc())
            .limit(1)
            .scalar_subquery()
        )
        ended = OutcomeRow.outcome
        stands = decided.acts & (ended.is_(None) | (ended != "lapsed"))
        query = (
            select(OpenRequestRow.__table__, case((~decided.acts, decided.verdict)).label("would"))
            .add_columns(*(case((stands, one)).label(one.name) for one in (decided.decision_id, ended)))
            .add_columns(act.next_attempt_at.label("act_next_attempt_at"), act.last_detail.label("act_detail"))
            .select_from(OpenRequestRow.__table__)
            .outerjoin(decisions, decided.decision_id == last)
            .outerjoin(OutcomeRow.__table__, OutcomeRow.decision_id == decided.decision_id)
            .outerjoin(act.__table__, act.decision_id == decided.decision_id)
            .order_by(OpenRequestRow.first_seen_at)
        )
        with self._session.transaction() as connection:
            return [_plain(row) for row in connection.execute(query)]

    def unfinished(self) -> list[dict[str, Any]]:
        """Acting decisions that an operator should look at: every pending one, and the latest that failed."""
        act = PendingActRow
        tried = select(act.attempts, act.next_attempt_at, act.last_detail, act.failures, act.failing_since, *REGISTER.c)
        pending = tried.select_from(join(act.__table__, REGISTER, decision_of_pending(REGISTER.c.decision_id)))
        with self._session.transaction() as connection:
            rows = [*connection.execute(pending), *_latest_failed(connection)]
        return sorted((_plain(row) for row in rows), key=lambda row: str(row["decided_at"]))

    def failed(self) -> int:
        """How many decisions failed, of all times."""
        with self._session.transaction() as connection:
            return connection.scalar(select(func.count()).where(OutcomeRow.outcome == "failed")) or 0

    def stuck(self) -> list[dict[str, Any]]:
        """What has failed for long, or repeatedly; the longest-failing first."""
        with self._session.transaction() as connection:
            return [_plain_values(asdict(item)) for item in stuck(connection)]

    def holding(self) -> dict[str, Any]:
        """What holds a target without a decision, and how old the looks are."""
        with self._session.transaction() as connection:
            return holding(connection)

    def daemons(self) -> list[dict[str, Any]]:
        """The last cycle of each daemon, the latest first, with its age in seconds by the database's clock."""
        query = select(DaemonRow.__table__, db_now().label("now")).order_by(DaemonRow.last_cycle_at.desc())
        with self._session.transaction() as connection:
            return [_with_age(row) for row in connection.execute(query)]

    def pauses(self, limit: int | None = None) -> list[dict[str, Any]]:
        """Every pause and resume, or the latest ones, the latest first."""
        query = select(PauseEventRow.__table__).order_by(PauseEventRow.id.desc()).limit(limit)
        with self._session.transaction() as connection:
            return [_plain(row) for row in connection.execute(query)]

    def policies(self, digests: Collection[str]) -> dict[str, str]:
        """When each policy was first used, by digest."""
        query = select(PolicyVersionRow.digest, PolicyVersionRow.first_used_at)
        with self._session.transaction() as connection:
            rows = connection.execute(query.where(PolicyVersionRow.digest.in_(list(digests))))
            return {row.digest: iso(row.first_used_at) for row in rows}


def _latest_failed(connection: Connection) -> Sequence[Row[Any]]:
    latest = select(OutcomeRow.decision_id).where(OutcomeRow.outcome == "failed").order_by(OutcomeRow.id.desc())
    ids = list(connection.scalars(latest.limit(FAILED_SHOWN)))
    nothing = (
        null().label(name) for name in ("attempts", "next_attempt_at", "last_detail", "failures", "failing_since")
    )
    query: Any = select(*nothing, *REGISTER.c)
    return connection.execute(query.where(REGISTER.c.decision_id.in_(ids))).all()


def _with_age(row: Row[Any]) -> dict[str, Any]:
    values = dict(row._mapping)
    age = values.pop("now") - values["last_cycle_at"]
    return _plain_values(values) | {"age_seconds": round(age.total_seconds(), 3)}


def _filtered(query: Select[Any], only: DecisionFilter, dialect: str) -> Select[Any]:
    exact = {"verdict": only.verdict, "mode": only.mode, "outcome": only.outcome}
    exact["target"] = str(only.target) if only.target else None
    for name, value in exact.items():
        if value is not None:
            query = query.where(REGISTER.c[name] == value)
    for name, glob in (("model", only.model), ("requester", only.requester)):
        if glob is not None:
            query = query.where(matching(dialect, REGISTER.c[name], visible_name(glob)))
    if only.since is not None:
        query = query.where(REGISTER.c.decided_at >= only.since)
    return query if only.until is None else query.where(REGISTER.c.decided_at < only.until)


def _plain(row: Row[Any]) -> dict[str, Any]:
    return _plain_values(dict(row._mapping))


def _plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in values.items()}


def only_one(connection: Connection, id: str) -> str:
    """The id of the decision that begins so. Raises NoSuchDecision or AmbiguousDecision."""
    found = list(connection.scalars(select(DecisionRow.decision_id).where(_begins(id)).limit(2)))
    if not found:
        raise NoSuchDecision(f"no decision id begins with {quoted(id)}: see `mlflow-reconciler audit list`")
    if len(found) > 1 and id not in found:
        raise AmbiguousDecision(f"more than one decision id begins with {quoted(id)}: give more of it")
    return id if id in found else found[0]


def whole_decision(connection: Connection, decision_id: str) -> dict[str, Any]:
    """A decision in full: its row of the register, and what `audit show` adds."""
    listed = connection.execute(select(REGISTER).where(REGISTER.c.decision_id == decision_id)).one()
    return _plain(listed) | _whole(connection, decision_id)


_LOWEST, _HIGHEST = (f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "0f")


def _begins(id: str) -> ColumnElement[bool]:
    """As a range, which an index finds in the order of any language: bounds and ids have their hyphens in one place."""
    column = DecisionRow.decision_id
    between = column.between(id + _LOWEST[len(id) :], id + _HIGHEST[len(id) :])
    return or_(column == id, and_(between, column.startswith(id, autoescape=True)))


def _whole(connection: Connection, decision_id: str) -> dict[str, Any]:
    decision = connection.execute(
        select(DecisionRow.__table__, PolicyVersionRow.text.label("policy"))
        .join(PolicyVersionRow, PolicyVersionRow.digest == DecisionRow.policy_digest)
        .where(DecisionRow.decision_id == decision_id)
    ).one()
    checks = select(DecisionCheckRow.__table__).where(DecisionCheckRow.decision_id == decision_id)
    outcomes = select(OutcomeRow.outcome, OutcomeRow.at, OutcomeRow.detail).where(OutcomeRow.decision_id == decision_id)
    return {
        "acts": decision.acts,
        "archive_existing": decision.archive_existing,
        "daemon": decision.daemon,
        "product_version": decision.product_version,
        "engine": decision.engine,
        "checks": [_check(row) for row in connection.execute(checks.order_by(DecisionCheckRow.position))],
        "outcomes": [_plain_values(dict(row._mapping)) for row in connection.execute(outcomes.order_by(OutcomeRow.id))],
        "request": json.loads(decision.request),
        "evidence": shown(stored_evidence(connection, [decision_id]).get(decision_id)),
        "policy": decision.policy,
    } | judged_again(connection, decision_id)


def _check(row: Row[Any]) -> dict[str, Any]:
    values = dict(row._mapping)
    del values["decision_id"], values["position"]
    named = {"check": values.pop("check_name"), "id": values.pop("check_id") or ""}
    return named | values | {"role": values["role"] or str(Role.DECIDES)}
