"""The tables, as SQLAlchemy knows them. docs/audit.md says what each column means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from reconciler.domain.times import iso, parse_iso


class UtcMillis(TypeDecorator[datetime]):
    """UTC with milliseconds: timestamptz(3) on PostgreSQL, sortable ISO 8601 text on SQLite."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True, precision=3))
        return dialect.type_descriptor(String(24))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return iso(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return parse_iso(value) if isinstance(value, str) else value.astimezone(UTC)


class db_now(FunctionElement[datetime]):  # noqa: N801  reads as the SQL function that it is
    """The database's clock, in milliseconds: hosts disagree, and may jump."""

    type = UtcMillis()
    inherit_cache = True


def now_in(connection: Connection) -> datetime:
    """What the database's clock says."""
    moment: datetime = connection.execute(select(db_now())).scalar_one()
    return moment


@compiles(db_now, "sqlite")
def _sqlite_now(element: db_now, compiler: Any, **options: Any) -> str:
    return "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"


@compiles(db_now, "postgresql")
def _postgresql_now(element: db_now, compiler: Any, **options: Any) -> str:
    return "date_trunc('milliseconds', clock_timestamp())"


# SQLite gives out row ids only for INTEGER; PostgreSQL should not run out of them.
_RowId = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    pass


class PolicyVersionRow(Base):
    __tablename__ = "policy_versions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    first_used_at: Mapped[datetime] = mapped_column(UtcMillis)


_ACTS = text("acts")


class DecisionRow(Base):
    __tablename__ = "decisions"
    __table_args__ = (
        UniqueConstraint("request_key", "mode", name="uq_decisions_request_key_mode"),
        # At most one decision that acts, whatever the mode, the daemon and the crash.
        Index("uq_decisions_acting", "request_key", unique=True, sqlite_where=_ACTS, postgresql_where=_ACTS),
        Index("ix_decisions_decided_at", "decided_at"),
        Index("ix_decisions_model", "model"),
    )

    id: Mapped[int] = mapped_column(_RowId, Identity(always=False), primary_key=True)
    decision_id: Mapped[str] = mapped_column(String(36), unique=True)
    request_key: Mapped[str] = mapped_column(String(64))
    decided_at: Mapped[datetime] = mapped_column(UtcMillis)
    # SQLAlchemy keeps the attribute name `registry` for itself.
    registry_uri: Mapped[str] = mapped_column("registry", Text)
    workspace: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)
    target: Mapped[str] = mapped_column(Text)
    requester: Mapped[str] = mapped_column(Text)
    requester_assurance: Mapped[str] = mapped_column(String(16))
    requested_at: Mapped[datetime] = mapped_column(UtcMillis)
    comment: Mapped[str] = mapped_column(Text)
    mode: Mapped[str] = mapped_column(String(16))
    verdict: Mapped[str] = mapped_column(String(16))
    acts: Mapped[bool] = mapped_column(Boolean)
    reason_code: Mapped[str] = mapped_column(String(32))
    reason: Mapped[str] = mapped_column(Text)
    rule: Mapped[str] = mapped_column(Text)
    policy_digest: Mapped[str] = mapped_column(ForeignKey("policy_versions.digest"))
    archive_existing: Mapped[bool] = mapped_column(Boolean)
    request: Mapped[str] = mapped_column(Text)
    evidence: Mapped[str] = mapped_column(Text)
    product_version: Mapped[str] = mapped_column(String(32))
    daemon: Mapped[str] = mapped_column(Text)
    engine: Mapped[int] = mapped_column(Integer, server_default=text("1"))


class DecisionCheckRow(Base):
    __tablename__ = "decision_checks"

    decision_id: Mapped[str] = mapped_column(ForeignKey("decisions.decision_id"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    rule: Mapped[str] = mapped_column(Text)
    check_name: Mapped[str] = mapped_column(Text)
    result: Mapped[str] = mapped_column(String(16))
    code: Mapped[str] = mapped_column(String(32))
    expected: Mapped[str] = mapped_column(Text)
    observed: Mapped[str] = mapped_column(Text)
    observed_number: Mapped[float | None] = mapped_column(Double)
    source: Mapped[str] = mapped_column(Text)


class PauseEventRow(Base):
    __tablename__ = "pause_events"

    id: Mapped[int] = mapped_column(_RowId, Identity(always=False), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcMillis)
    action: Mapped[str] = mapped_column(String(8))
    reason: Mapped[str] = mapped_column(Text)
    person: Mapped[str] = mapped_column(Text)


class OutcomeRow(Base):
    __tablename__ = "outcomes"
    __table_args__ = (Index("ix_outcomes_decision_id", "decision_id"),)

    id: Mapped[int] = mapped_column(_RowId, Identity(always=False), primary_key=True)
    decision_id: Mapped[str] = mapped_column(ForeignKey("decisions.decision_id"))
    outcome: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime] = mapped_column(UtcMillis)
    detail: Mapped[str] = mapped_column(Text)


# --- working state: may be lost without losing history -------------------------------------------------------


class OpenRequestRow(Base):
    __tablename__ = "open_requests"

    place: Mapped[str] = mapped_column(String(64), primary_key=True)
    request_key: Mapped[str | None] = mapped_column(String(64), index=True)
    # SQLAlchemy keeps the attribute name `registry` for itself.
    registry_uri: Mapped[str] = mapped_column("registry", Text)
    workspace: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)
    target: Mapped[str] = mapped_column(Text)
    requester: Mapped[str] = mapped_column(Text)
    requested_at: Mapped[datetime | None] = mapped_column(UtcMillis)
    comment: Mapped[str] = mapped_column(Text)
    seen_id: Mapped[str] = mapped_column(String(36))
    first_seen_at: Mapped[datetime] = mapped_column(UtcMillis)
    last_seen_at: Mapped[datetime] = mapped_column(UtcMillis)
    waiting_code: Mapped[str | None] = mapped_column(String(32))
    waiting_detail: Mapped[str | None] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcMillis)
    # How often it could not be judged for the same reason in a row; since when it could not at all.
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    failing_since: Mapped[datetime | None] = mapped_column(UtcMillis)


class PendingActRow(Base):
    __tablename__ = "pending_acts"

    decision_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    attempts: Mapped[int] = mapped_column(Integer)
    next_attempt_at: Mapped[datetime] = mapped_column(UtcMillis)
    last_detail: Mapped[str] = mapped_column(Text)
    # Who carries it out, until when, and how often it changed hands: only the last fence may conclude it.
    leased_by: Mapped[str | None] = mapped_column(Text)
    fence: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    leased_until: Mapped[datetime | None] = mapped_column(UtcMillis)
    # How often `last_detail` was the answer in a row; since when it fails at all.
    failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    failing_since: Mapped[datetime | None] = mapped_column(UtcMillis)


class DaemonRow(Base):
    __tablename__ = "daemons"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    started_at: Mapped[datetime] = mapped_column(UtcMillis)
    last_cycle_at: Mapped[datetime] = mapped_column(UtcMillis)
    sentence: Mapped[str] = mapped_column(Text)
    ok: Mapped[bool] = mapped_column(Boolean, server_default=false())
    mode: Mapped[str] = mapped_column(String(16))
    policy_digest: Mapped[str] = mapped_column(String(64))
    duration_ms: Mapped[int] = mapped_column(Integer)
    registry_uri: Mapped[str] = mapped_column("registry", Text, server_default="")
    workspace: Mapped[str] = mapped_column(Text, server_default="")
    problem: Mapped[str | None] = mapped_column(Text)
    skew_ms: Mapped[int | None] = mapped_column(Integer)
    # It signed off, or was only one cycle by hand; None while it runs, and where it was killed.
    ended_at: Mapped[datetime | None] = mapped_column(UtcMillis)


APPEND_ONLY = ("policy_versions", "decisions", "decision_checks", "outcomes", "pause_events")
