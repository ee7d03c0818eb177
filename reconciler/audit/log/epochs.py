"""Epochs of the log: somebody said that the database was restored, so entries before that may be missing."""

from __future__ import annotations

from sqlalchemy import Engine

from reconciler.audit.log.tables import LogEpochRow
from reconciler.audit.session import Session
from reconciler.audit.tables import db_now
from reconciler.domain.text import visible, visible_name


def note_restored(engine: Engine, reason: str, person: str) -> int:
    """Records that the database was restored from a backup; returns the number of the epoch that begins.

    Raises:
        AuditUnavailable: it cannot be written.
    """
    with Session(engine).recording() as recording:
        values = {"size": recording.size, "reason": visible(reason), "person": visible_name(person), "at": db_now()}
        stored = recording.add(LogEpochRow, values)
    # The first epoch began with the log, and needs no row.
    return int(stored["id"]) + 1
