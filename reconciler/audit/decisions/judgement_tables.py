"""The tables of what is judged again: what confirmed an act, what took effect late, and which acts are watched."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, ColumnElement, ForeignKey, Index, Integer, String, Text

from reconciler.audit.tables import Base, RowId, UtcMillis, numbered


class EarlierOutcomeRow(Base):
    """Outcomes beside the last one of a decision, which the first release could record."""

    __tablename__ = "earlier_outcomes"

    id: ColumnElement[int] = Column(RowId, primary_key=True, autoincrement=False)
    decision_id: ColumnElement[str] = Column(ForeignKey("decisions.decision_id"), nullable=False)
    outcome: ColumnElement[str] = Column(String(16), nullable=False)
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    detail: ColumnElement[str] = Column(Text, nullable=False)


class ConfirmationRow(Base):
    """What a decision was judged on once more, right before it was acted on."""

    __tablename__ = "confirmations"
    __table_args__ = (Index("ix_confirmations_decision_id", "decision_id"),)

    id: ColumnElement[int] = numbered()
    decision_id: ColumnElement[str] = Column(ForeignKey("decisions.decision_id"), nullable=False)
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    verdict: ColumnElement[str] = Column(String(16), nullable=False)
    reason: ColumnElement[str] = Column(Text, nullable=False)
    policy_digest: ColumnElement[str] = Column(ForeignKey("policy_versions.digest"), nullable=False)
    evidence_key: ColumnElement[str] = Column(String(36), unique=True, nullable=False)
    engine: ColumnElement[int] = Column(Integer, nullable=False)
    daemon: ColumnElement[str] = Column(Text, nullable=False)


class LateEffectRow(Base):
    """A decision that had lapsed or failed, and which the registry shows as carried out after all."""

    __tablename__ = "late_effects"

    id: ColumnElement[int] = numbered()
    decision_id: ColumnElement[str] = Column(ForeignKey("decisions.decision_id"), unique=True, nullable=False)
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    detail: ColumnElement[str] = Column(Text, nullable=False)


# --- working state: may be lost without losing history -------------------------------------------------------


class WatchedActRow(Base):
    """A decision that ended although an act of it got no definite answer: the registry may show it later."""

    __tablename__ = "watched_acts"

    decision_id: ColumnElement[str] = Column(String(36), primary_key=True)
    looks: ColumnElement[int] = Column(Integer, nullable=False)
    next_look_at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    watched_until: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
