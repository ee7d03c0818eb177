"""The tables of what people did with requests, and of how far a registry's own history has been read."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Column, ColumnElement, Index, String, Text, UniqueConstraint

from reconciler.audit.tables import Base, UtcMillis, numbered


class ResolutionRow(Base):
    """What somebody other than a daemon did with a request, or with a governed target."""

    __tablename__ = "resolutions"
    __table_args__ = (
        UniqueConstraint("registry", "workspace", "source_number", "resolved_at", name="uq_resolutions_source"),
        Index("ix_resolutions_request_key", "request_key"),
        Index("ix_resolutions_model", "model", "version", "target"),
    )

    id: ColumnElement[int] = numbered()
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    registry: ColumnElement[str] = Column(Text, nullable=False)
    workspace: ColumnElement[str] = Column(Text, nullable=False)
    model: ColumnElement[str] = Column(Text, nullable=False)
    version: ColumnElement[str] = Column(Text, nullable=False)
    target: ColumnElement[str] = Column(Text, nullable=False)
    resolution: ColumnElement[str] = Column(String(16), nullable=False)
    decider: ColumnElement[str] = Column(Text, nullable=False)
    decider_assurance: ColumnElement[str] = Column(String(16), nullable=False)
    comment: ColumnElement[str] = Column(Text, nullable=False)
    resolved_at: ColumnElement[datetime | None] = Column(UtcMillis)
    source: ColumnElement[str] = Column(String(16), nullable=False)
    source_number: ColumnElement[int | None] = Column(BigInteger)
    request_id: ColumnElement[str] = Column(Text, nullable=False)
    request_key: ColumnElement[str | None] = Column(String(64))
    requester: ColumnElement[str | None] = Column(Text)
    requested_at: ColumnElement[datetime | None] = Column(UtcMillis)


# --- working state: may be lost without losing history -------------------------------------------------------


class HistoryCursorRow(Base):
    """Up to which number a registry's history has been read."""

    __tablename__ = "history_cursors"

    registry: ColumnElement[str] = Column(Text, primary_key=True)
    workspace: ColumnElement[str] = Column(Text, primary_key=True)
    number: ColumnElement[int] = Column(BigInteger, nullable=False)
