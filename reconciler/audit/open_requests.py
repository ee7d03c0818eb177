"""The working picture of open requests: since when they are open, and what they wait for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from reconciler.audit.rows import Known, NewOpenRequest, RequestColumns, place_of
from reconciler.audit.statements import Served, chunks, insert_new
from reconciler.audit.tables import OpenRequestRow, db_now, now_in
from reconciler.audit.unread_lists import keep_unread
from reconciler.domain.request import Request
from reconciler.ports import FirstSeen, Unread, Waiting


class OpenRequests:
    """The open requests of one registry and workspace."""

    def __init__(self, served: Served) -> None:
        self._served = served
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

    def reconcile(
        self,
        connection: Connection,
        listed: Sequence[Request],
        waiting: Sequence[Waiting],
        unread: Sequence[Unread],
        as_before: Collection[str],
    ) -> None:
        """As `ports.audit.OpenRequests.reconcile_open`. Writes only what changed."""
        keep_unread(connection, self._served, unread)
        now = now_in(connection)
        # What is open for a target whose list was not read is not known, so its rows stay as they are.
        read = OpenRequestRow.target.not_in([str(item.target) for item in unread])
        known = {row.place: Known(*row) for row in connection.execute(_KNOWN.where(self._here, read))}
        open_now = {place_of(request): request for request in listed}
        waits = {place_of(wait.request): wait for wait in waiting}
        self._write(connection, _DELETE, [{"at": place} for place in known if place not in open_now])
        new = [_new(request, now, request.key) for place, request in open_now.items() if place not in known]
        self._write(connection, insert_new(connection, OpenRequestRow), new)
        fresh = {row["place"]: Known.fresh(row["place"], row["request_key"], row["requested_at"]) for row in new}
        changed = [
            after._asdict()
            for place, request in open_now.items()
            if not (place in known and request.key in as_before)
            and (after := (before := known.get(place) or fresh[place]).now(request, waits.get(place), now)) != before
        ]
        self._write(connection, _CHANGE, [{"at": values.pop("place"), **values} for values in changed])

    @staticmethod
    def _write(connection: Connection, statement: Any, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            connection.execute(statement, rows)

    @staticmethod
    def forget(connection: Connection, requests: Sequence[Request]) -> None:
        if requests:
            places = [place_of(request) for request in requests]
            connection.execute(delete(OpenRequestRow).where(OpenRequestRow.place.in_(places)))


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


_KNOWN = select(*(getattr(OpenRequestRow, name) for name in Known._fields))
_DELETE = delete(OpenRequestRow).where(OpenRequestRow.place == bindparam("at"))
_CHANGE = (
    update(OpenRequestRow)
    .where(OpenRequestRow.place == bindparam("at"))
    .values({name: bindparam(name) for name in Known._fields if name != "place"} | {"last_seen_at": db_now()})
)
