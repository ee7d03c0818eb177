"""The tables of what holds a target: as seen, as explained, as accepted; and the working state of the looks."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Column, ColumnElement, ForeignKey, Index, Integer, String, Text, UniqueConstraint

from reconciler.audit.cells import Truth
from reconciler.audit.tables import Base, RowId, UtcMillis, numbered


class ObservationRow(Base):
    """A version was first seen with a target, or first seen without it (`tenure_id`: what that ends)."""

    __tablename__ = "observations"
    __table_args__ = (
        UniqueConstraint("tenure_id", name="uq_observations_tenure"),
        Index("ix_observations_place", "model", "version", "target"),
    )

    id: ColumnElement[int] = numbered()
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    registry: ColumnElement[str] = Column(Text, nullable=False)
    workspace: ColumnElement[str] = Column(Text, nullable=False)
    model: ColumnElement[str] = Column(Text, nullable=False)
    version: ColumnElement[str] = Column(Text, nullable=False)
    target: ColumnElement[str] = Column(Text, nullable=False)
    seen: ColumnElement[str] = Column(String(8), nullable=False)
    # The last look that saw the opposite; None: there was none.
    not_since: ColumnElement[datetime | None] = Column(UtcMillis)
    tenure_id: ColumnElement[int | None] = Column(RowId, ForeignKey("observations.id"))
    first_look: ColumnElement[bool] = Column(Truth, nullable=False)
    sign: ColumnElement[str] = Column(String(16), nullable=False)
    continues_id: ColumnElement[int | None] = Column(RowId, ForeignKey("observations.id"))
    created_ms: ColumnElement[int | None] = Column(BigInteger)


class AttributionRow(Base):
    """What an observation is explained by."""

    __tablename__ = "attributions"
    __table_args__ = (
        UniqueConstraint("observation_id", name="uq_attributions_observation"),
        Index("ix_attributions_decision", "decision_id"),
        Index("ix_attributions_resolution", "resolution_id"),
    )

    id: ColumnElement[int] = numbered()
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    observation_id: ColumnElement[int] = Column(RowId, ForeignKey("observations.id"), nullable=False)
    cause: ColumnElement[str] = Column(String(16), nullable=False)
    by_approval: ColumnElement[bool] = Column(Truth, nullable=False)
    decision_id: ColumnElement[str | None] = Column(String(36), ForeignKey("decisions.decision_id"))
    resolution_id: ColumnElement[int | None] = Column(RowId, ForeignKey("resolutions.id"))
    person: ColumnElement[str | None] = Column(Text)
    person_assurance: ColumnElement[str | None] = Column(String(16))
    detail: ColumnElement[str] = Column(Text, nullable=False)


class AcknowledgementRow(Base):
    """A named person accepts a tenure that no decision began."""

    __tablename__ = "acknowledgements"
    __table_args__ = (UniqueConstraint("observation_id", name="uq_acknowledgements_observation"),)

    id: ColumnElement[int] = numbered()
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    observation_id: ColumnElement[int] = Column(RowId, ForeignKey("observations.id"), nullable=False)
    person: ColumnElement[str] = Column(Text, nullable=False)
    reason: ColumnElement[str] = Column(Text, nullable=False)


class DriftRow(Base):
    """A value of a holder that a look found to be another than before. `judged`: what its approval rests on.

    None, of `judged` and of `found`: there was none.
    """

    __tablename__ = "drifts"
    __table_args__ = (Index("ix_drifts_tenure", "tenure_id", "id"), Index("ix_drifts_decision", "decision_id"))

    id: ColumnElement[int] = numbered()
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    tenure_id: ColumnElement[int] = Column(RowId, ForeignKey("observations.id"), nullable=False)
    decision_id: ColumnElement[str] = Column(String(36), ForeignKey("decisions.decision_id"), nullable=False)
    field: ColumnElement[str] = Column(Text, nullable=False)
    judged: ColumnElement[str | None] = Column(Text)
    found: ColumnElement[str | None] = Column(Text)


class WatchedScopeRow(Base):
    """Since when a registry is looked at for which targets of which models (JSON)."""

    __tablename__ = "watched_scopes"
    __table_args__ = (Index("ix_watched_scopes_registry", "registry", "workspace", "id"),)

    id: ColumnElement[int] = numbered()
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    registry: ColumnElement[str] = Column(Text, nullable=False)
    workspace: ColumnElement[str] = Column(Text, nullable=False)
    since: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    scope: ColumnElement[str] = Column(Text, nullable=False)


# --- working state: may be lost without losing history -------------------------------------------------------


class LookRow(Base):
    """Which replica looks, and as of when everything of a kind was seen."""

    __tablename__ = "looks"

    registry: ColumnElement[str] = Column(Text, primary_key=True)
    workspace: ColumnElement[str] = Column(Text, primary_key=True)
    leased_by: ColumnElement[str] = Column(Text, nullable=False)
    leased_until: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    # How often the lease changed hands: what an earlier holder has seen is not written any more.
    fence: ColumnElement[int] = Column(Integer, nullable=False)
    # Of the newest change of a version, by the registry's clock.
    watermark_ms: ColumnElement[int | None] = Column(BigInteger)
    stages_as_of: ColumnElement[datetime | None] = Column(UtcMillis)
    aliases_as_of: ColumnElement[datetime | None] = Column(UtcMillis)
    everything_as_of: ColumnElement[datetime | None] = Column(UtcMillis)
    aliases_take_ms: ColumnElement[int | None] = Column(BigInteger)
    problem: ColumnElement[str | None] = Column(Text)


class HolderRow(Base):
    """An open tenure. `name`: the model's, as JSON, exactly as the registry has it. `cause`: None until explained."""

    __tablename__ = "holders"
    __table_args__ = (
        Index("uq_holders_place", "registry", "workspace", "name", "version", "target", unique=True),
        Index("ix_holders_cause", "cause"),
    )

    tenure_id: ColumnElement[int] = Column(RowId, primary_key=True, autoincrement=False)
    registry: ColumnElement[str] = Column(Text, nullable=False)
    workspace: ColumnElement[str] = Column(Text, nullable=False)
    model: ColumnElement[str] = Column(Text, nullable=False)
    version: ColumnElement[str] = Column(Text, nullable=False)
    target: ColumnElement[str] = Column(Text, nullable=False)
    name: ColumnElement[str] = Column(Text, nullable=False)
    since: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    created_ms: ColumnElement[int | None] = Column(BigInteger)
    cause: ColumnElement[str | None] = Column(String(16))
    # The last look that saw it, where it cannot be read any more.
    last_seen: ColumnElement[datetime | None] = Column(UtcMillis)


class ShownModelsRow(Base):
    """A group of the models that were shown to the account. `digests`: as `domain.holding.shown` writes them."""

    __tablename__ = "shown_models"

    registry: ColumnElement[str] = Column(Text, primary_key=True)
    workspace: ColumnElement[str] = Column(Text, primary_key=True)
    part: ColumnElement[int] = Column(Integer, primary_key=True, autoincrement=False)
    digests: ColumnElement[str] = Column(Text, nullable=False)


class UnattributedRow(Base):
    """An observation that is not explained yet. `looked_again`: a later look is over.

    What came afterwards explains nothing: `requested` says whether a request for it was known when it was first seen,
    and the other two what was on record then (ids; None: nothing).
    """

    __tablename__ = "unattributed"

    observation_id: ColumnElement[int] = Column(RowId, primary_key=True, autoincrement=False)
    registry: ColumnElement[str] = Column(Text, nullable=False)
    workspace: ColumnElement[str] = Column(Text, nullable=False)
    looked_again: ColumnElement[bool] = Column(Truth, nullable=False)
    requested: ColumnElement[bool] = Column(Truth, nullable=False)
    decisions_to: ColumnElement[int | None] = Column(RowId)
    resolutions_to: ColumnElement[int | None] = Column(RowId)


class StrayTagRow(Base):
    """A tag that looks like a request and is none. `pointed_out`: in the registry too."""

    __tablename__ = "stray_tags"

    registry: ColumnElement[str] = Column(Text, primary_key=True)
    workspace: ColumnElement[str] = Column(Text, primary_key=True)
    model: ColumnElement[str] = Column(Text, primary_key=True)
    version: ColumnElement[str] = Column(Text, primary_key=True)
    tag: ColumnElement[str] = Column(Text, primary_key=True)
    first_seen_at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    pointed_out: ColumnElement[bool] = Column(Truth, nullable=False)
