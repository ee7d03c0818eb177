"""The table of what each daemon was doing, and under which policy."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Column, ColumnElement, ForeignKey, Index, String, Text

from reconciler.audit.tables import Base, UtcMillis, numbered


class RunningStateRow(Base):
    """From `since` until the next row of the same daemon it was in this state, on these terms."""

    __tablename__ = "running_states"
    __table_args__ = (
        Index("ix_running_states_daemon", "registry", "workspace", "daemon", "id"),
        Index("ix_running_states_at", "at"),
    )

    id: ColumnElement[int] = numbered()
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    since: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    registry: ColumnElement[str] = Column(Text, nullable=False)
    workspace: ColumnElement[str] = Column(Text, nullable=False)
    daemon: ColumnElement[str] = Column(Text, nullable=False)
    state: ColumnElement[str] = Column(String(16), nullable=False)
    mode: ColumnElement[str] = Column(String(16), nullable=False)
    policy_digest: ColumnElement[str] = Column(ForeignKey("policy_versions.digest"), nullable=False)
    policy_file: ColumnElement[str] = Column(Text, nullable=False)
    loaded_by: ColumnElement[str] = Column(Text, nullable=False)
    interval_ms: ColumnElement[int] = Column(BigInteger, nullable=False)
    product_version: ColumnElement[str] = Column(String(32), nullable=False)
    detail: ColumnElement[str] = Column(Text, nullable=False)
