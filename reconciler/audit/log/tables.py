"""The tables of the log, which proves that no row of history was changed, added or removed afterwards."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, Column, ColumnElement, Integer, LargeBinary, String, Text
from sqlalchemy import UniqueConstraint as Unique

from reconciler.audit.tables import Base, UtcMillis, numbered


class LogLeafRow(Base):
    """One entry of the log: a row of history, and the hash of its canonical bytes."""

    __tablename__ = "log_leaves"
    __table_args__ = (Unique("entry", "row_key", name="uq_log_leaves_row"),)

    leaf: ColumnElement[int] = Column(BigInteger, primary_key=True, autoincrement=False)
    entry: ColumnElement[str] = Column(String(32), nullable=False)
    row_key: ColumnElement[str] = Column(String(64), nullable=False)
    hash: ColumnElement[bytes] = Column(LargeBinary, nullable=False)


class LogNodeRow(Base):
    """An interior node of the tree over the leaves, kept so that a proof needs few rows."""

    __tablename__ = "log_nodes"

    level: ColumnElement[int] = Column(Integer, primary_key=True, autoincrement=False)
    position: ColumnElement[int] = Column(BigInteger, primary_key=True, autoincrement=False)
    hash: ColumnElement[bytes] = Column(LargeBinary, nullable=False)


class LogEpochRow(Base):
    """An interruption that somebody declared: the database was restored, so entries may have been lost."""

    __tablename__ = "log_epochs"

    id: ColumnElement[int] = numbered()
    at: ColumnElement[datetime] = Column(UtcMillis, nullable=False)
    size: ColumnElement[int] = Column(BigInteger, nullable=False)
    reason: ColumnElement[str] = Column(Text, nullable=False)
    person: ColumnElement[str] = Column(Text, nullable=False)


class LogStateRow(Base):
    """One row, whose lock is the lock of the log. `complete`: the rows from before the log are in it too."""

    __tablename__ = "log_state"

    name: ColumnElement[str] = Column(String(8), primary_key=True)
    size: ColumnElement[int] = Column(BigInteger, nullable=False)
    complete: ColumnElement[bool] = Column(Boolean, nullable=False)
