"""The working picture of open requests: since when they are open, and what they wait for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from reconciler.audit.rows import Failing, NewOpenRequest, RequestColumns, StillWaiting, place_of
from reconciler.audit.statements import Served, chunks, insert_new
from reconciler.audit.tables import OpenRequestRow, db_now, now_in
from reconciler.domain.request import Request
from reconciler.ports.audit import FirstSeen, Waiting


class OpenRequests:
    """The open requests of one registry and workspace."""

    def __init__(self, served: Served) -> None:
        self._here = served.among(OpenRequestRow)

    def first_seen(self, connection: Connection, unstamped: Sequence[Request]) -> Mapping[str, FirstSeen]:
        """As `ports.audit.OpenRequests.first_seen`."""
        places = {request.key: place_of(request) for request in unstamped}
        known, now = _first_seen_at(connection, places.values()), now_in(connection)
        new = [_new(request, now, key=None) for request in unstamped if places[request.key] not in known]
        if new:
            connection.execute(insert_new(connection, OpenRequestRow), new)
            known = _first_seen_at(connection, places.values())
        return {key: known[place] for key, place in places.items()}

    def set_aside(self, connection: Connection, keys: Collection[str]) -> set[str]:
        """The keys whose next attempt is not due yet."""
        found: set[str] = set()
        for chunk in chunks(keys):
            is_later = OpenRequestRow.next_attempt_at > db_now()
            later = select(OpenRequestRow.request_key).where(OpenRequestRow.request_key.in_(chunk), is_later)
            found |= {key for key in connection.scalars(later) if key is not None}
        return found

    def reconcile(self, connection: Connection, listed: Sequence[Request], waiting: Sequence[Waiting]) -> None:
        """Replaces the picture: which requests are open, and why the waiting ones wait."""
        now = now_in(connection)
        self._replace(connection, {place_of(request): request for request in listed}, now)
        self._note_waiting(connection, waiting, now)

    def _replace(self, connection: Connection, open_now: Mapping[str, Request], now: datetime) -> None:
        known = set(connection.scalars(select(OpenRequestRow.place).where(self._here)))
        gone = [{"gone": place} for place in known if place not in open_now]
        if gone:
            connection.execute(delete(OpenRequestRow).where(OpenRequestRow.place == bindparam("gone")), gone)
        new = [_new(request, now, request.key) for place, request in open_now.items() if place not in known]
        if new:
            connection.execute(insert_new(connection, OpenRequestRow), new)
        seen = [{"at": place, "key": request.key, "asked": request.requested_at} for place, request in open_now.items()]
        if seen:
            connection.execute(_SEEN_AGAIN, seen)

    def _note_waiting(self, connection: Connection, waiting: Sequence[Waiting], now: datetime) -> None:
        failing = self._failing(connection)
        # Requests that are set aside are not judged, so what they wait for still applies.
        not_aside = OpenRequestRow.next_attempt_at.is_(None) | (OpenRequestRow.next_attempt_at <= now)
        nothing = {"waiting_code": None, "waiting_detail": None, "next_attempt_at": None}
        recovered = {"failures": 0, "failing_since": None}
        connection.execute(update(OpenRequestRow).where(self._here, not_aside).values(nothing | recovered))
        rows = [StillWaiting.of(wait, failing.get(place_of(wait.request)), now)._asdict() for wait in waiting]
        if rows:
            connection.execute(_WAITS, rows)

    def _failing(self, connection: Connection) -> dict[str, Failing]:
        """The failing requests, by place."""
        row = OpenRequestRow
        known = select(row.place, row.waiting_detail, row.failures, row.failing_since).where(self._here)
        return {found.place: Failing(*found) for found in connection.execute(known.where(row.failures > 0))}

    @staticmethod
    def forget(connection: Connection, request: Request) -> None:
        connection.execute(delete(OpenRequestRow).where(OpenRequestRow.place == place_of(request)))


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


_SEEN_AGAIN = (
    update(OpenRequestRow)
    .where(OpenRequestRow.place == bindparam("at"))
    .values(request_key=bindparam("key"), requested_at=bindparam("asked"), last_seen_at=db_now())
)
_WAITS = (
    update(OpenRequestRow)
    .where(OpenRequestRow.place == bindparam("at"))
    .values(
        waiting_code=bindparam("code"),
        waiting_detail=bindparam("detail"),
        next_attempt_at=bindparam("due"),
        failures=bindparam("in_a_row"),
        failing_since=bindparam("since"),
        attempts=OpenRequestRow.attempts + 1,
    )
)
