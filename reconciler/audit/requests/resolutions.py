"""What people did: as a registry's own history tells, or as far as it can be inferred from what a registry shows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Exists, Row, func, insert, not_, or_, select, update

from reconciler.audit.decisions.judgement_tables import LateEffectRow
from reconciler.audit.holding.held_before import HELD_BEFORE
from reconciler.audit.log.appending import Recording
from reconciler.audit.requests.resolution_tables import HistoryCursorRow, ResolutionRow
from reconciler.audit.rows import RequestColumns, place_of
from reconciler.audit.session import Session
from reconciler.audit.statements import Served, chunks, parts
from reconciler.audit.tables import DecisionRow, OpenRequestRow, OutcomeRow, PendingActRow
from reconciler.domain.decision import OutcomeKind
from reconciler.domain.request import Assurance, Request, Requester
from reconciler.domain.target import Target
from reconciler.domain.text import visible, visible_name
from reconciler.domain.times import in_millis
from reconciler.domain.verdict import VerdictKind
from reconciler.failpoints import failpoint
from reconciler.ports import Gone, History, Inferred, Resolution, Resolved, Unread

_HISTORY, _SEEN = "history", "seen"
# Outcomes after which a request is not open any more, and what became of it is on record.
_RESOLVED: Final = [str(kind) for kind in OutcomeKind if not kind.leaves_open]
_VERDICTS: Final = {str(VerdictKind.APPROVE): Resolution.APPROVED, str(VerdictKind.REJECT): Resolution.REJECTED}


# --- a registry's history ------------------------------------------------------------------------------------


def read_to(connection: Connection, served: Served) -> int:
    """The number behind which entries have not been read."""
    cursor, row = HistoryCursorRow, ResolutionRow
    kept = connection.scalar(select(cursor.number).where(served.among(cursor)))
    if kept is None:
        # The working state was lost, or there never was one.
        kept = connection.scalar(select(func.max(row.source_number)).where(served.among(row)))
    return kept or 0


def add_history(session: Session, served: Served, history: History) -> None:
    """As `ports.audit.AuditLog.add_history`. Of many entries some are added at a time: others wait for the lock."""
    # Without entries, there is still how far it was read.
    together = list(parts(history.entries)) or [()]
    for number, entries in enumerate(together, 1):
        with session.recording() as recording:
            _add_entries(recording, served, entries)
            if number == len(together):
                _keep_cursor(recording.connection, served, history.read_to)
            failpoint("history to be committed")


def _add_entries(recording: Recording, served: Served, entries: Sequence[Resolved]) -> None:
    """Adds those that are not ours and not known. Two daemons may have read the same."""
    known = _known(recording.connection, served, [entry.number for entry in entries])
    ours = _ours(recording.connection, entries)
    new = [
        _row_of(entry, served)
        for entry in entries
        if (entry.number, in_millis(entry.at)) not in known and entry.number not in ours
    ]
    recording.add_many(ResolutionRow, new)


def _keep_cursor(connection: Connection, served: Served, number: int) -> None:
    cursor = HistoryCursorRow
    if connection.execute(update(cursor).where(served.among(cursor)).values(number=number)).rowcount == 0:
        connection.execute(insert(cursor).values(**served.columns, number=number))


def _known(connection: Connection, served: Served, numbers: Sequence[int]) -> set[tuple[int, datetime]]:
    row = ResolutionRow
    query: Any = select(row.source_number, row.resolved_at).where(served.among(row))
    if not numbers:
        return set()
    # They follow one another, so that an index finds them.
    between = row.source_number.between(min(numbers), max(numbers))
    return {(number, at) for number, at in connection.execute(query.where(between))}


def _ours(connection: Connection, entries: Sequence[Resolved]) -> set[int]:
    """Numbers of the entries that are acts of ours. Anybody may write an id into a comment: all the rest must agree."""
    row = DecisionRow
    named = {entry.decision_id for entry in entries if entry.decision_id is not None}
    known: dict[str, Any] = {}
    for some in chunks(named):
        # What a mode kept from being carried out was not done by us, whoever names it.
        acts: Any = select(row.decision_id, row.model, row.version, row.target, row.verdict, row.request)
        acts = acts.where(row.acts)
        known |= {found.decision_id: found for found in connection.execute(acts.where(row.decision_id.in_(some)))}
    return {entry.number for entry in entries if _carried_out(known.get(entry.decision_id or ""), entry)}


def _carried_out(decision: Row[Any] | None, entry: Resolved) -> bool:
    """Whether an entry, which names a decision, is about its request. One that was typed by hand has no id there."""
    if decision is None or (decision.model, decision.version, decision.target) != (
        visible_name(entry.model), entry.version, entry.target,
    ):  # fmt: skip
        return False
    of_the_request = entry.request_id in ("", json.loads(decision.request)["id"])
    return of_the_request and _VERDICTS.get(decision.verdict) == entry.what


def _row_of(entry: Resolved, served: Served) -> dict[str, object]:
    return {
        **served.columns,
        "model": visible_name(entry.model),
        "version": visible_name(entry.version),
        "target": visible_name(entry.target),
        "resolution": str(entry.what),
        "decider": visible_name(entry.decider.name),
        "decider_assurance": str(entry.decider.assurance),
        "comment": visible(entry.comment),
        "resolved_at": in_millis(entry.at),
        "source": _HISTORY,
        "source_number": entry.number,
        "request_id": visible_name(entry.request_id),
        "request_key": None,
        "requester": None,
        "requested_at": None,
    }


# --- what is seen to be gone ---------------------------------------------------------------------------------


def gone(
    connection: Connection,
    served: Served,
    listed: Sequence[Request],
    unread: Sequence[Unread],
    asked_at: datetime | None,
) -> list[Gone]:
    """As `ports.audit.OpenRequests.gone`."""
    row, open_now = OpenRequestRow, {place_of(request) for request in listed}
    targets = [str(item.target) for item in unread]
    known: Any = select(row.place).where(served.among(row), row.target.not_in(targets), row.request_key.is_not(None))
    if asked_at is not None:
        known = known.where(row.first_seen_at < asked_at)
    places = [place for place in connection.scalars(known) if place not in open_now]
    # What is being decided or took effect late is ours. Another daemon's list may be older than what we did, or have
    # recorded, and put the request back into the picture.
    resolved = DecisionRow.acts & OutcomeRow.outcome.in_(_RESOLVED)
    recorded = select(ResolutionRow.id).where(ResolutionRow.request_key == row.request_key).exists()
    ours = _of_a_decision(PendingActRow), _of_a_decision(LateEffectRow), _of_a_decision(OutcomeRow, resolved)
    by_others = not_(or_(*ours, recorded))
    return [
        Gone(found.request_key, _request_of(found), bool(found.held_before))
        for some in chunks(places)
        for found in connection.execute(
            select(row.__table__, HELD_BEFORE.label("held_before")).where(row.place.in_(some), by_others)
        )
    ]


def _of_a_decision(row: type[PendingActRow | LateEffectRow | OutcomeRow], *only: ColumnElement[bool]) -> Exists:
    """Whether a table has a row about a decision on the open request that is looked at."""
    same = DecisionRow.decision_id == row.decision_id, DecisionRow.request_key == OpenRequestRow.request_key
    return select(row.decision_id).where(*same, *only).correlate(OpenRequestRow.__table__).exists()


def _request_of(found: Any) -> Request:
    """As far as the picture tells, in which names are as they may be shown."""
    asker = Requester(found.requester, Assurance.UNKNOWN)
    asked_at = found.requested_at or found.first_seen_at
    place = found.registry, found.workspace, found.model, found.version, Target.parse(found.target)
    return Request(*place, asker, asked_at, found.comment, found.seen_id, "")


def add_inferred(recording: Recording, inferred: Sequence[Inferred]) -> None:
    """Adds what was inferred about requests, whose rows in the picture this transaction removes."""
    recording.add_many(ResolutionRow, [_inferred_row(one) for one in inferred])


def _inferred_row(one: Inferred) -> dict[str, object]:
    return {
        **RequestColumns.of(one.request).without_comment,
        "resolution": str(one.what),
        "decider": "",
        "decider_assurance": str(Assurance.UNKNOWN),
        "comment": visible(one.said),
        "resolved_at": None,
        "source": _SEEN,
        "source_number": None,
        "request_id": visible_name(one.request.id),
        "request_key": one.key,
        "requested_at": one.request.requested_at,
    }
