"""The table of when requests waited, and why."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, ColumnElement, Index, String, Text

from reconciler.audit.tables import Base, UtcMillis, numbered


class AbstentionRow(Base):
    """From here on a request waits for something, or no longer waits: what it waited for is the row before."""

    __tablename__ = "abstentions"
    __table_args__ = (Index("ix_abstentions_request_key", "request_key", "id"),)

    id: ColumnElement[int] = numbered()
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    request_key: ColumnElement[str] = Column(String(64), nullable=False)
    registry: ColumnElement[str] = Column(Text, nullable=False)
    workspace: ColumnElement[str] = Column(Text, nullable=False)
    model: ColumnElement[str] = Column(Text, nullable=False)
    version: ColumnElement[str] = Column(Text, nullable=False)
    target: ColumnElement[str] = Column(Text, nullable=False)
    requester: ColumnElement[str] = Column(Text, nullable=False)
    requested_at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    event: ColumnElement[str] = Column(String(8), nullable=False)
    code: ColumnElement[str] = Column(String(32), nullable=False)
    detail: ColumnElement[str] = Column(Text, nullable=False)
