"""The tables, as SQLAlchemy knows them. docs/audit.md says what each column means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    select,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import SchemaItem
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

from reconciler.audit.cells import Real, Truth, moment_of
from reconciler.domain.times import iso


class UtcMillis(TypeDecorator[datetime]):
    """UTC with milliseconds: timestamptz(3) on PostgreSQL, sortable ISO 8601 text on SQLite."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            # The module loads every driver's dialect, of which SQLite needs none.
            from sqlalchemy.dialects.postgresql import TIMESTAMP

            return dialect.type_descriptor(TIMESTAMP(timezone=True, precision=3))
        return dialect.type_descriptor(String(24))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return iso(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return moment_of(value)


class db_now(FunctionElement[datetime]):  # noqa: N801  reads as the SQL function that it is
    """The database's clock, in milliseconds: hosts disagree, and may jump."""

    type = UtcMillis()
    inherit_cache = True


def now_in(connection: Connection) -> datetime:
    """The time by the database's clock."""
    moment: datetime = connection.execute(select(db_now())).scalar_one()
    return moment


@compiles(db_now, "sqlite")
def _sqlite_now(element: db_now, compiler: Any, **options: Any) -> str:
    return "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"


@compiles(db_now, "postgresql")
def _postgresql_now(element: db_now, compiler: Any, **options: Any) -> str:
    return "date_trunc('milliseconds', clock_timestamp())"


# SQLite assigns row ids only to INTEGER columns; PostgreSQL should not run out of them.
RowId = BigInteger().with_variant(Integer, "sqlite")


def numbered() -> ColumnElement[int]:
    """The column of a table whose rows the database numbers."""
    return Column(RowId, Identity(always=False), primary_key=True)


class Base:
    """A table, whose columns are the attributes of its class.

    Like SQLAlchemy's declarative classes, but without the ORM, which nothing here uses: a command that reads the audit
    starts sooner, and a daemon needs 9 MB less. Attributes are typed as expressions, since SQLAlchemy's types know
    columns only as attributes of its own classes.
    """

    metadata: ClassVar = MetaData()
    __tablename__: ClassVar[str]
    __table_args__: ClassVar[tuple[SchemaItem, ...]] = ()
    __table__: ClassVar[Table]

    def __init_subclass__(cls) -> None:
        columns = {name: value for name, value in vars(cls).items() if isinstance(value, Column)}
        for name, column in columns.items():
            column.name = column.key = name
        cls.__table__ = Table(cls.__tablename__, cls.metadata, *columns.values(), *cls.__table_args__)

    @classmethod
    def __clause_element__(cls) -> Table:
        """Lets SQLAlchemy take the class where it expects a table."""
        return cls.__table__


class PolicyVersionRow(Base):
    __tablename__ = "policy_versions"

    digest: ColumnElement[str] = Column(String(64), primary_key=True)
    text: ColumnElement[str] = Column(Text, nullable=False)
    first_used_at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)


class DecisionRow(Base):
    __tablename__ = "decisions"
    __table_args__ = (
        UniqueConstraint("request_key", "judgement", name="uq_decisions_request_key_judgement"),
        UniqueConstraint("replaces", name="uq_decisions_replaces"),
        # At most one decision that acts and succeeds none, whatever the mode, the daemon and the crash. The index is
        # WHERE acts AND replaces IS NULL, as the migration says: naming a dialect's option here would load that dialect
        # in every process.
        Index("uq_decisions_first_acting", "request_key", unique=True),
        Index("ix_decisions_decided_at", "decided_at"),
        Index("ix_decisions_place", "model", "version", "target"),
    )

    id: ColumnElement[int] = numbered()
    decision_id: ColumnElement[str] = Column(String(36), unique=True, nullable=False)
    request_key: ColumnElement[str] = Column(String(64), nullable=False)
    decided_at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    registry: ColumnElement[str] = Column(Text, nullable=False)
    workspace: ColumnElement[str] = Column(Text, nullable=False)
    model: ColumnElement[str] = Column(Text, nullable=False)
    version: ColumnElement[str] = Column(Text, nullable=False)
    target: ColumnElement[str] = Column(Text, nullable=False)
    requester: ColumnElement[str] = Column(Text, nullable=False)
    requester_assurance: ColumnElement[str] = Column(String(16), nullable=False)
    requested_at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    comment: ColumnElement[str] = Column(Text, nullable=False)
    mode: ColumnElement[str] = Column(String(16), nullable=False)
    verdict: ColumnElement[str] = Column(String(16), nullable=False)
    acts: ColumnElement[bool] = Column(Truth, nullable=False)
    reason_code: ColumnElement[str] = Column(String(32), nullable=False)
    reason: ColumnElement[str] = Column(Text, nullable=False)
    rule: ColumnElement[str] = Column(Text, nullable=False)
    policy_digest: ColumnElement[str] = Column(ForeignKey("policy_versions.digest"), nullable=False)
    archive_existing: ColumnElement[bool] = Column(Truth, nullable=False)
    request: ColumnElement[str] = Column(Text, nullable=False)
    product_version: ColumnElement[str] = Column(String(32), nullable=False)
    daemon: ColumnElement[str] = Column(Text, nullable=False)
    engine: ColumnElement[int] = Column(Integer, server_default=text("1"), nullable=False)
    judgement: ColumnElement[int] = Column(Integer, nullable=False)
    replaces: ColumnElement[str | None] = Column(ForeignKey("decisions.decision_id"))


class DecisionCheckRow(Base):
    __tablename__ = "decision_checks"

    decision_id: ColumnElement[str] = Column(ForeignKey("decisions.decision_id"), primary_key=True)
    position: ColumnElement[int] = Column(Integer, primary_key=True, autoincrement=False)
    rule: ColumnElement[str] = Column(Text, nullable=False)
    check_name: ColumnElement[str] = Column(Text, nullable=False)
    result: ColumnElement[str] = Column(String(16), nullable=False)
    code: ColumnElement[str] = Column(String(32), nullable=False)
    expected: ColumnElement[str] = Column(Text, nullable=False)
    observed: ColumnElement[str] = Column(Text, nullable=False)
    observed_number: ColumnElement[float | None] = Column(Real)
    source: ColumnElement[str] = Column(Text, nullable=False)
    # Nothing where it decides, as all did once, and where the policy gives no id: the log's entries stay as they were.
    role: ColumnElement[str | None] = Column(String(16))
    check_id: ColumnElement[str | None] = Column(String(100))


class PauseEventRow(Base):
    __tablename__ = "pause_events"

    id: ColumnElement[int] = numbered()
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    action: ColumnElement[str] = Column(String(8), nullable=False)
    reason: ColumnElement[str] = Column(Text, nullable=False)
    person: ColumnElement[str] = Column(Text, nullable=False)


class OutcomeRow(Base):
    __tablename__ = "outcomes"
    # The second one holds failed outcomes only, which the migration says.
    __table_args__ = (Index("uq_outcomes_decision_id", "decision_id", unique=True), Index("ix_outcomes_failed", "id"))

    id: ColumnElement[int] = numbered()
    decision_id: ColumnElement[str] = Column(ForeignKey("decisions.decision_id"), nullable=False)
    outcome: ColumnElement[str] = Column(String(16), nullable=False)
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    detail: ColumnElement[str] = Column(Text, nullable=False)


# --- working state: may be lost without losing history -------------------------------------------------------


class OpenRequestRow(Base):
    __tablename__ = "open_requests"

    place: ColumnElement[str] = Column(String(64), primary_key=True)
    request_key: ColumnElement[str | None] = Column(String(64), index=True)
    registry: ColumnElement[str] = Column(Text, nullable=False)
    workspace: ColumnElement[str] = Column(Text, nullable=False)
    model: ColumnElement[str] = Column(Text, nullable=False)
    version: ColumnElement[str] = Column(Text, nullable=False)
    target: ColumnElement[str] = Column(Text, nullable=False)
    requester: ColumnElement[str] = Column(Text, nullable=False)
    requested_at: ColumnElement[datetime | None] = Column(UtcMillis)
    comment: ColumnElement[str] = Column(Text, nullable=False)
    seen_id: ColumnElement[str] = Column(String(36), nullable=False)
    first_seen_at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    last_seen_at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    waiting_code: ColumnElement[str | None] = Column(String(32))
    waiting_detail: ColumnElement[str | None] = Column(Text)
    attempts: ColumnElement[int] = Column(Integer, server_default=text("0"), nullable=False)
    next_attempt_at: ColumnElement[datetime | None] = Column(UtcMillis)
    # How often in a row it could not be judged for the same reason; since when it could not be judged at all.
    failures: ColumnElement[int] = Column(Integer, server_default=text("0"), nullable=False)
    failing_since: ColumnElement[datetime | None] = Column(UtcMillis)


class PendingActRow(Base):
    __tablename__ = "pending_acts"

    decision_id: ColumnElement[str] = Column(String(36), primary_key=True)
    attempts: ColumnElement[int] = Column(Integer, nullable=False)
    next_attempt_at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    last_detail: ColumnElement[str] = Column(Text, nullable=False)
    # Who carries it out, until when, and how often it changed hands: only the last fence may conclude it.
    leased_by: ColumnElement[str | None] = Column(Text)
    fence: ColumnElement[int] = Column(Integer, server_default=text("0"), nullable=False)
    leased_until: ColumnElement[datetime | None] = Column(UtcMillis)
    # How often in a row `last_detail` was the answer; since when it has failed at all.
    failures: ColumnElement[int] = Column(Integer, server_default=text("0"), nullable=False)
    failing_since: ColumnElement[datetime | None] = Column(UtcMillis)
    # Until when an act that got no definite answer may still take effect; None: none is under way.
    answer_by: ColumnElement[datetime | None] = Column(UtcMillis)


class UnreadListRow(Base):
    __tablename__ = "unread_lists"

    registry: ColumnElement[str] = Column(Text, primary_key=True)
    workspace: ColumnElement[str] = Column(Text, primary_key=True)
    target: ColumnElement[str] = Column(Text, primary_key=True)
    said: ColumnElement[str] = Column(Text, nullable=False)
    # As of an open request: how often in a row in these words; since when at all.
    failures: ColumnElement[int] = Column(Integer, nullable=False)
    failing_since: ColumnElement[datetime] = Column(UtcMillis, nullable=False)


class DaemonRow(Base):
    __tablename__ = "daemons"

    name: ColumnElement[str] = Column(Text, primary_key=True)
    started_at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    last_cycle_at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    sentence: ColumnElement[str] = Column(Text, nullable=False)
    ok: ColumnElement[bool] = Column(Truth, server_default=false(), nullable=False)
    mode: ColumnElement[str] = Column(String(16), nullable=False)
    policy_digest: ColumnElement[str] = Column(String(64), nullable=False)
    duration_ms: ColumnElement[int] = Column(Integer, nullable=False)
    registry: ColumnElement[str] = Column(Text, server_default="", nullable=False)
    workspace: ColumnElement[str] = Column(Text, server_default="", nullable=False)
    problem: ColumnElement[str | None] = Column(Text)
    skew_ms: ColumnElement[int | None] = Column(Integer)
    # When it signed off, or its one cycle run by hand ended; None while it runs, and where it was killed.
    ended_at: ColumnElement[datetime | None] = Column(UtcMillis)
