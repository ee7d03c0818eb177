"""The tables of evidence. Their rows are covered by the entries of the decisions that rest on them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, ColumnElement, ForeignKey, Integer, LargeBinary, String, Text
from sqlalchemy import UniqueConstraint as Unique

from reconciler.audit.tables import Base, UtcMillis, numbered


class EvidenceRow(Base):
    """What was judged. `fields`: how many fields it had; `salts`: those of the fields that are left, in order.

    `sealed` and `digests` are over all of it as it was recorded; both None in a row of an earlier release.
    """

    __tablename__ = "evidence"

    evidence_key: ColumnElement[str] = Column(String(36), primary_key=True)
    fields: ColumnElement[int] = Column(Integer, nullable=False)
    salts: ColumnElement[bytes] = Column(LargeBinary, nullable=False)
    content: ColumnElement[bytes] = Column(LargeBinary, nullable=False)
    sealed: ColumnElement[bytes | None] = Column(LargeBinary, nullable=True)
    digests: ColumnElement[bytes | None] = Column(LargeBinary, nullable=True)


class RedactionRow(Base):
    """A field that was removed from evidence, with the digest that stays in its place."""

    __tablename__ = "redactions"
    __table_args__ = (Unique("evidence_key", "position", name="uq_redactions_field"),)

    id: ColumnElement[int] = numbered()
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    evidence_key: ColumnElement[str] = Column(ForeignKey("evidence.evidence_key"), nullable=False)
    position: ColumnElement[int] = Column(Integer, nullable=False)
    field: ColumnElement[str] = Column(Text, nullable=False)
    digest: ColumnElement[str] = Column(String(64), nullable=False)
    reason: ColumnElement[str] = Column(Text, nullable=False)
    person: ColumnElement[str] = Column(Text, nullable=False)
