"""What explains a beginning or an end: our decisions, what people did, and what was there before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, delete, select, update

from reconciler.audit.holding.attribution_queries import BEGINNINGS, ENDS, approved_under_an_earlier_name
from reconciler.audit.holding.earlier_moves import earlier_moves, of_another_version
from reconciler.audit.holding.earlier_resolutions import resolved_under_an_earlier_name
from reconciler.audit.holding.looks import HELD, place_of
from reconciler.audit.holding.tables import AttributionRow, HolderRow, UnattributedRow
from reconciler.audit.log.appending import Recording
from reconciler.audit.session import Session
from reconciler.audit.statements import WRITTEN_TOGETHER, Served
from reconciler.domain.holding.causes import Cause, Explained, Found, began_by, ended_by
from reconciler.domain.holding.earlier_names import EarlierMove, Recognised
from reconciler.domain.holding.tenures import Sign
from reconciler.domain.request import Assurance, Requester
from reconciler.domain.text import visible
from reconciler.domain.times import from_millis
from reconciler.failpoints import failpoint
from reconciler.ports.observations import Attributed, Attributions, Recognise, Traces

# A registry tells its time so.
_IN_WHOLE_SECONDS: Final = timedelta(seconds=1)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Attributing:
    """Explains observations, oldest first: a tenure that goes on under another name comes after its beginning."""

    def __init__(self, session: Session, served: Served, holds_lease: Callable[[Connection, int], bool]) -> None:
        self._session = session
        self._served = served
        self._holds_lease = holds_lease

    def attribute(self, fence: int, traces: Traces, recognise: Recognise) -> Attributions | None:
        """As `ports.observations.Observations.attribute`."""
        done: list[Attributed] = []
        left = False
        for query in (BEGINNINGS, ENDS):
            for rows, names in self._unexplained(query, traces):
                # The snapshot is over: no transaction is held while the registry is asked.
                found = recognise(names.moves) if names.moves else Recognised({})
                explained = {row.id: _with(found, row, traces, names) for row in rows}
                left = left or any(why is None for why in explained.values())
                if all(explained[row.id] is None and row.looked_again for row in rows):
                    continue
                with self._session.recording() as recording:
                    if not self._holds_lease(recording.connection, fence):
                        return None
                    done += self._write(recording, rows, explained)
                    failpoint("attributions to be committed")
        return Attributions(done, left)

    def _unexplained(self, query: Any, traces: Traces) -> Iterator[tuple[Sequence[Any], _Names]]:
        """In parts, with all that may explain them."""
        after = 0
        while True:
            here = self._served.columns
            asked = {**here, "after": after, "most": WRITTEN_TOGETHER}
            with self._session.snapshot() as connection:
                rows = connection.execute(query, asked).all()
                names = _Names(of_another_version(connection, rows))
                sure = replace(traces, people_hide=False)
                doubtful = [row for row in rows if _is_exception(_explained(row, sure, names))]
                approved = {row.id for row in doubtful if approved_under_an_earlier_name(connection, row, here)}
                people = {row.id: resolved_under_an_earlier_name(connection, row, here) for row in doubtful}
                names = names._replace(people={id: found for id, found in people.items() if found is not None})
                left = [row for row in doubtful if row.id not in approved and row.id not in names.people]
                moves = earlier_moves(connection, left)
            if not rows:
                return
            after = rows[-1].id
            yield rows, names._replace(approved=approved, moves=moves)

    def _write(
        self, recording: Recording, rows: Sequence[Any], explained: Mapping[int, Explained | None]
    ) -> Iterator[Attributed]:
        connection, row = recording.connection, UnattributedRow
        ids = [one.id for one in rows]
        waiting = set(connection.scalars(select(row.observation_id).where(row.observation_id.in_(ids))))
        new = [(one, why) for one in rows if one.id in waiting and (why := explained[one.id]) is not None]
        recording.add_many(AttributionRow, [_row_of(one.id, why) for one, why in new])
        connection.execute(delete(row).where(row.observation_id.in_([one.id for one, _ in new])))
        left = [one.id for one in rows if explained[one.id] is None and not one.looked_again]
        if left:
            connection.execute(update(row).where(row.observation_id.in_(left)).values(looked_again=True))
        for one, why in new:
            began = one.seen == HELD
            if began:
                held = update(HolderRow).where(HolderRow.tenure_id == one.id)
                connection.execute(held.values(cause=str(why.cause)))
            yield Attributed(one.id if began else one.tenure_id, place_of(one), began, why, one.at)


class _Names(NamedTuple):
    """What is on record of names that are not those of one version for ever.

    Args:
        of_another: observations, each with a decision about an earlier version of the same name and number.
        approved: observations of versions that held by approval under another name.
        moves: decisions that may have moved a version under another name.
        people: by observation, what a person did that brought a version there under another name.
    """

    of_another: Set[tuple[int, str]] = frozenset()
    approved: Set[int] = frozenset()
    moves: Sequence[EarlierMove] = ()
    people: Mapping[int, Any] = MappingProxyType({})


def _with(found: Recognised, row: Any, traces: Traces, names: _Names) -> Explained | None:
    return None if row.id in found.unread else _explained(row, traces, names, found.moves.get(row.id))


def _is_exception(why: Explained | None) -> bool:
    """Also what somebody unknown did: a daemon that was killed before it removed the request looks the same."""
    if why is None:
        return False
    return why.cause is Cause.BYPASS or (why.cause is Cause.PERSON and why.resolution_id is None)


def _explained(row: Any, traces: Traces, names: _Names, moved: EarlierMove | None = None) -> Explained | None:
    if row.sign == Sign.RENAMED and row.seen == HELD and row.continued_by_approval is None:
        # What it continues is not explained yet.
        return None
    resolved = names.people.get(row.id, row)
    resolution_id = row.resolution_id if resolved is row else resolved.id
    person = None if resolution_id is None else Requester(resolved.decider, Assurance(resolved.decider_assurance))
    found = Found(
        Sign(row.sign),
        decision_id=_decision(row, names) if moved is None else moved.decision_id,
        moved_as=_name_then(row, resolved, moved),
        pending=bool(row.pending),
        resolution_id=resolution_id,
        person=person,
        changed=resolved.resolution == "changed",
        open=bool(row.open) and not traces.kept,
        held_by_approval=row.id in names.approved or bool(row.held_by_approval) or _approved_before(row, traces, names),
        continued_by_approval=bool(row.continued_by_approval),
        continues_bypass=bool(row.continues_bypass),
        first_look=bool(row.first_look),
        looked_again=bool(row.looked_again),
        people_hide=traces.people_hide,
    )
    return began_by(found) if row.seen == HELD else ended_by(found)


def _name_then(row: Any, resolved: Any, moved: EarlierMove | None) -> str:
    """The name that a model had when it was moved, where it has another one now."""
    if moved is not None:
        return moved.request.model
    return "" if resolved is row else str(resolved.model)


def _decision(row: Any, names: _Names) -> str | None:
    overtaken = row.seen == HELD and row.moved_since
    return None if overtaken or (row.id, row.decision_id) in names.of_another else row.decision_id


def _approved_before(row: Any, traces: Traces, names: _Names) -> bool:
    """Whether an approval came between two looks, and was not seen to be held. One about an earlier model of the same
    name, which was deleted, counts nothing."""
    decided = row.earlier_decision_id
    if decided is not None and (row.id, decided) not in names.of_another:
        return True
    created = (None if row.created_ms is None else from_millis(row.created_ms)) or _LONG_AGO
    if row.approved_at is not None and row.approved_at >= created:
        return True
    # The database's time of what the registry's clock says of the version, and never less.
    here = created - (traces.ahead or timedelta()) + _IN_WHOLE_SECONDS
    return row.seen_approved_at is not None and bool(row.seen_approved_at >= here)


def _row_of(observation_id: int, why: Explained) -> dict[str, object]:
    return {
        "observation_id": observation_id,
        "cause": str(why.cause),
        "by_approval": why.by_approval,
        "decision_id": why.decision_id,
        "resolution_id": why.resolution_id,
        "person": None if why.person is None else why.person.name,
        "person_assurance": None if why.person is None else str(why.person.assurance),
        "detail": visible(why.detail),
    }
