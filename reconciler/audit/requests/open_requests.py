"""The working picture of open requests: since when they are open, and what they wait for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from reconciler.audit.inserting import insert_many
from reconciler.audit.log.appending import Recording
from reconciler.audit.requests import abstentions, resolutions
from reconciler.audit.requests.abstentions import Began
from reconciler.audit.requests.unread_lists import any_unread, keep_unread
from reconciler.audit.rows import Known, NewOpenRequest, RequestColumns, place_of
from reconciler.audit.session import Session
from reconciler.audit.statements import WRITTEN_TOGETHER, Served, as_rows, chunks
from reconciler.audit.tables import OpenRequestRow, db_now, now_in
from reconciler.domain.request import Request
from reconciler.failpoints import failpoint
from reconciler.ports import FirstSeen, Inferred, Unread, Waiting


@dataclass(frozen=True)
class Picture:
    """What a cycle found: as the arguments of `ports.audit.OpenRequests.reconcile_open`."""

    listed: Sequence[Request]
    waiting: Sequence[Waiting]
    unread: Sequence[Unread]
    as_before: Collection[str]
    inferred: Sequence[Inferred]
    asked_at: datetime | None = None

    @cached_property
    def open_now(self) -> Mapping[str, Request]:
        """What is listed, by place."""
        return {place_of(request): request for request in self.listed}

    @cached_property
    def waits(self) -> Mapping[str, Waiting]:
        """What waits, by place."""
        return {place_of(wait.request): wait for wait in self.waiting}


@dataclass
class Changes:
    """What is to be written: places to delete, rows to add and to change, and what of that is history.

    `judged`: keys of requests that waited and do not any more; `gone`: of those that waited and are not open any more.
    """

    deleted: Sequence[str]
    new: list[dict[str, Any]] = field(default_factory=list)
    changed: list[Known] = field(default_factory=list)
    begun: list[Began] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    inferred: Sequence[Inferred] = ()

    @property
    def places(self) -> set[str]:
        """Whose rows are written."""
        return {*self.deleted, *(row["place"] for row in self.new), *(row.place for row in self.changed)}

    def note(self, request: Request, before: Known, after: Known) -> None:
        self.changed.append(after)
        if after.waiting_code is not None and after.waiting_code != before.waiting_code:
            self.begun.append(Began(request, after.waiting_code, after.waiting_detail or ""))
        elif after.waiting_code is None and before.waiting_code is not None:
            self.judged.append(request.key)


class OpenRequests:
    """The open requests of one registry and workspace."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._here = served.among(OpenRequestRow)

    def first_seen(self, session: Session, unstamped: Sequence[Request]) -> Mapping[str, FirstSeen]:
        """As `ports.audit.OpenRequests.first_seen`."""
        places = {request.key: place_of(request) for request in unstamped}
        with session.snapshot() as connection:
            known = _first_seen_at(connection, places.values())
        new = {places[request.key]: request for request in unstamped if places[request.key] not in known}
        for part in chunks(new, WRITTEN_TOGETHER):
            with session.transaction() as connection:
                now = now_in(connection)
                rows = [_new(new[place], now, key=None) for place in part]
                insert_many(connection, OpenRequestRow, rows, only_new=True)
                known |= _first_seen_at(connection, part)
        return {key: known[place] for key, place in places.items()}

    def set_aside(self, connection: Connection, keys: Collection[str]) -> set[str]:
        """The keys whose next attempt is not due yet."""
        found: set[str] = set()
        for chunk in chunks(keys):
            is_later = OpenRequestRow.next_attempt_at > db_now()
            later = select(OpenRequestRow.request_key).where(OpenRequestRow.request_key.in_(chunk), is_later)
            found |= {key for key in connection.scalars(later) if key is not None}
        return found

    def reconcile(self, session: Session, picture: Picture) -> None:
        """As `ports.audit.OpenRequests.reconcile_open`. Writes only what changed, and keeps no writer waiting for long.

        What has changed is found out without a lock, however much is open. What a crash leaves unwritten is found by
        the next cycle.
        """
        with session.snapshot() as connection:
            changed = self._changes(connection, picture, self._candidates(connection, picture)).places
            unread = bool(picture.unread) or any_unread(connection, self._served)
        if unread:
            with session.transaction() as connection:
                keep_unread(connection, self._served, picture.unread)
        for part in chunks(changed, WRITTEN_TOGETHER):
            with session.recording() as recording:
                self._write_part(recording, picture, part)
            failpoint("part of the picture kept")

    def _candidates(self, connection: Connection, picture: Picture) -> list[str]:
        """The places whose rows may have to change: not those that are as before, of which only the places are read."""
        # What is open for a target whose list was not read is not known, so its rows stay as they are.
        read = OpenRequestRow.target.not_in([str(item.target) for item in picture.unread])
        known = set(connection.scalars(select(OpenRequestRow.place).where(self._here, read)))
        found = [
            place
            for place, request in picture.open_now.items()
            if place not in known or request.key not in picture.as_before
        ]
        return found + [place for place in known if place not in picture.open_now]

    def _write_part(self, recording: Recording, picture: Picture, places: Sequence[str]) -> None:
        """That a request begins or ceases to wait is history, so another daemon may have said it meanwhile."""
        changes = self._changes(recording.connection, picture, places)
        abstentions.add_begun(recording, changes.begun)
        abstentions.add_ended(recording, changes.judged, changes.gone)
        resolutions.add_inferred(recording, changes.inferred)
        self._apply(recording.connection, changes)

    def _changes(self, connection: Connection, picture: Picture, places: Sequence[str]) -> Changes:
        now = now_in(connection)
        known = _known_at(connection, places)
        missing = [place for place in known if place not in picture.open_now]
        newer = self._newer(connection, picture.asked_at) if missing else set()
        changes = Changes([place for place in missing if place not in newer])
        changes.gone = [
            before.request_key
            for place in changes.deleted
            if (before := known[place]).request_key is not None and before.waiting_code is not None
        ]
        removed = {known[place].request_key for place in changes.deleted}
        changes.inferred = [one for one in picture.inferred if one.key in removed]
        for place in places:
            request = picture.open_now.get(place)
            if request is None or (place in known and request.key in picture.as_before):
                continue
            if place not in known:
                changes.new.append(_new(request, now, request.key))
            before = known.get(place) or Known.fresh(place, request.key, request.requested_at)
            after = before.now(request, picture.waits.get(place), now)
            if after != before:
                changes.note(request, before, after)
        return changes

    def _newer(self, connection: Connection, asked_at: datetime | None) -> set[str]:
        """Places that were seen first after a list was asked for, which may be why they are not in it."""
        if asked_at is None:
            return set()
        row = OpenRequestRow
        return set(connection.scalars(select(row.place).where(self._here, row.first_seen_at >= asked_at)))

    def _apply(self, connection: Connection, changes: Changes) -> None:
        self._write(connection, _DELETE, [{"at": place} for place in changes.deleted])
        if changes.new:
            insert_many(connection, OpenRequestRow, changes.new, only_new=True)
        changed = [after._asdict() for after in changes.changed]
        self._write(connection, _CHANGE, [{"at": values.pop("place"), **values} for values in changed])

    @staticmethod
    def _write(connection: Connection, statement: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            connection.execute(statement, rows)

    @staticmethod
    def forget(recording: Recording, requests: Sequence[Request]) -> None:
        """Requests that were decided, and are open no longer."""
        if requests:
            places = OpenRequestRow.place.in_([place_of(request) for request in requests])
            removed = delete(OpenRequestRow).where(places).returning(OpenRequestRow.waiting_code)
            if any(recording.connection.scalars(removed)):
                abstentions.add_ended(recording, [request.key for request in requests], [])


def _new(request: Request, now: datetime, key: str | None) -> dict[str, Any]:
    return RequestColumns.of(request)._asdict() | NewOpenRequest.of(request, now, key)._asdict()


def _first_seen_at(connection: Connection, places: Iterable[str]) -> dict[str, FirstSeen]:
    """When each request was first seen, by place; unknown places are left out."""
    columns = select(OpenRequestRow.place, OpenRequestRow.seen_id, OpenRequestRow.first_seen_at)
    known: dict[str, FirstSeen] = {}
    for chunk in chunks(set(places)):
        rows = connection.execute(columns.where(OpenRequestRow.place.in_(chunk)))
        known |= {row.place: FirstSeen(row.seen_id, row.first_seen_at) for row in rows}
    return known


def _known_at(connection: Connection, places: Sequence[str]) -> dict[str, Known]:
    asked = as_rows(connection, places)
    return {row.place: Known(*row) for row in connection.execute(_KNOWN.where(OpenRequestRow.place == asked.c.value))}


_KNOWN = select(*(getattr(OpenRequestRow, name) for name in Known._fields))
_DELETE = delete(OpenRequestRow).where(OpenRequestRow.place == bindparam("at"))
_CHANGE = (
    update(OpenRequestRow)
    .where(OpenRequestRow.place == bindparam("at"))
    .values({name: bindparam(name) for name in Known._fields if name != "place"} | {"last_seen_at": db_now()})
)
