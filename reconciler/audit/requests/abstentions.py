"""The history of waiting: a row when a request begins to wait for something else, and one when it waits no longer.

The working picture of open requests says what each waits for now; it can be lost. So the last row of a request is asked
for before another is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, func, select

from reconciler.audit.log.appending import Recording
from reconciler.audit.requests.abstention_tables import AbstentionRow
from reconciler.audit.rows import RequestColumns
from reconciler.audit.statements import chunks
from reconciler.audit.tables import DecisionRow
from reconciler.domain.request import Request


class Event(StrEnum):
    """`WAITS`: from now on, for what its code says. `DECIDED`, `GONE`: no longer, as it was decided, or is not open."""

    WAITS = "waits"
    DECIDED = "decided"
    GONE = "gone"


class Began(NamedTuple):
    """A request waits for something."""

    request: Request
    code: str
    detail: str

    @property
    def values(self) -> dict[str, object]:
        of_it = RequestColumns.of(self.request).without_comment
        moment = {"request_key": self.request.key, "requested_at": self.request.requested_at}
        return {**of_it, **moment, "event": str(Event.WAITS), "code": self.code, "detail": self.detail}


def add_begun(recording: Recording, begun: Sequence[Began]) -> None:
    """Adds those that do not wait for the same already. What was decided once does not wait: it is judged again."""
    keys = [one.request.key for one in begun]
    last, decided = _last(recording.connection, keys), _decided(recording.connection, keys)
    new = [one for one in begun if one.request.key not in decided and not _waits_for(last.get(one.request.key), one)]
    recording.add_many(AbstentionRow, [one.values for one in new])


def add_ended(recording: Recording, judged: Sequence[str], gone: Sequence[str]) -> None:
    """Ends the waiting of requests.

    Args:
        judged: keys of those that were judged otherwise: the ones that were decided wait no longer.
        gone: keys of those that are not open any more.
    """
    keys = [*judged, *gone]
    waiting = {key: row for key, row in _last(recording.connection, keys).items() if row.event == Event.WAITS}
    decided = _decided(recording.connection, list(waiting))
    ends = [_end(waiting[key], Event.DECIDED) for key in waiting if key in decided]
    ends += [_end(waiting[key], Event.GONE) for key in gone if key in waiting and key not in decided]
    recording.add_many(AbstentionRow, ends)


def _waits_for(last: Row[Any] | None, begun: Began) -> bool:
    return last is not None and (last.event, last.code) == (Event.WAITS, begun.code)


def _end(waiting: Row[Any], event: Event) -> dict[str, object]:
    copied = {name: getattr(waiting, name) for name in _OF_THE_REQUEST}
    return {**copied, "event": str(event), "code": "", "detail": ""}


_OF_THE_REQUEST = tuple(
    column.name
    for column in AbstentionRow.__table__.columns
    if column.name not in {"id", "at", "event", "code", "detail"}
)


def _last(connection: Connection, keys: Sequence[str]) -> Mapping[str, Row[Any]]:
    """The last row of each request, by key."""
    row, found = AbstentionRow, {}
    for some in chunks(keys):
        newest = select(func.max(row.id)).where(row.request_key.in_(some)).group_by(row.request_key)
        for last in connection.execute(select(row.__table__).where(row.id.in_(newest))):
            found[last.request_key] = last
    return found


def _decided(connection: Connection, keys: Sequence[str]) -> set[str]:
    """Those of the keys about which there is a decision."""
    decided: set[str] = set()
    for some in chunks(keys):
        decided |= set(connection.scalars(select(DecisionRow.request_key).where(DecisionRow.request_key.in_(some))))
    return decided
