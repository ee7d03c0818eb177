"""What explains a beginning or an end: our decisions, what people did, and what was there before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, select, update

from reconciler.audit.holding.attribution_queries import BEGINNINGS, ENDS, approved_under_an_earlier_name
from reconciler.audit.holding.earlier_moves import earlier_moves, of_another_version
from reconciler.audit.holding.looks import HELD
from reconciler.audit.holding.tables import AttributionRow, HolderRow, UnattributedRow
from reconciler.audit.log.appending import Recording
from reconciler.audit.session import Session
from reconciler.audit.statements import WRITTEN_TOGETHER, Served
from reconciler.domain.causes import Cause, Explained, Found, began_by, ended_by
from reconciler.domain.earlier_names import EarlierMove, Recognised
from reconciler.domain.holding import Sign
from reconciler.domain.looks import Place
from reconciler.domain.request import Assurance, Requester
from reconciler.domain.target import Target
from reconciler.domain.text import visible
from reconciler.domain.times import from_millis
from reconciler.failpoints import failpoint
from reconciler.ports.observations import Attributed, Attributions, Recognise, Traces


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
            here = {"registry": self._served.registry, "workspace": self._served.workspace}
            asked = {**here, "after": after, "most": WRITTEN_TOGETHER}
            with self._session.snapshot() as connection:
                rows = connection.execute(query, asked).all()
                names = _Names(of_another_version(connection, rows))
                sure = replace(traces, people_hide=False)
                doubtful = [row for row in rows if _is_exception(_explained(row, sure, names))]
                approved = {row.id for row in doubtful if approved_under_an_earlier_name(connection, row, here)}
                moves = earlier_moves(connection, [row for row in doubtful if row.id not in approved])
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
            model = one.model if one.name is None else json.loads(one.name)
            place = Place(model, one.version, Target.parse(one.target))
            yield Attributed(one.id if began else one.tenure_id, place, began, why, one.at)


class _Names(NamedTuple):
    """What is on record of names that are not those of one version for ever.

    Args:
        of_another: observations whose decision was about an earlier version of the same name and number.
        approved: observations of versions that held by approval under another name.
        moves: decisions that may have moved a version under another name.
    """

    of_another: Set[int] = frozenset()
    approved: Set[int] = frozenset()
    moves: Sequence[EarlierMove] = ()


def _with(found: Recognised, row: Any, traces: Traces, names: _Names) -> Explained | None:
    return None if row.id in found.unread else _explained(row, traces, names, found.moves.get(row.id))


def _is_exception(why: Explained | None) -> bool:
    return why is not None and why.cause is Cause.BYPASS


def _explained(row: Any, traces: Traces, names: _Names, moved: EarlierMove | None = None) -> Explained | None:
    if row.sign == Sign.RENAMED and row.seen == HELD and row.continued_by_approval is None:
        # What it continues is not explained yet.
        return None
    person = None if row.resolution_id is None else Requester(row.decider, Assurance(row.decider_assurance))
    found = Found(
        Sign(row.sign),
        decision_id=_decision(row, names) if moved is None else moved.decision_id,
        moved_as="" if moved is None else moved.request.model,
        pending=bool(row.pending),
        resolution_id=row.resolution_id,
        person=person,
        changed=row.resolution == "changed",
        open=bool(row.open) and not traces.kept,
        held_by_approval=row.id in names.approved or bool(row.held_by_approval) or _approved_before(row, names),
        continued_by_approval=bool(row.continued_by_approval),
        continues_bypass=bool(row.continues_bypass),
        first_look=bool(row.first_look),
        looked_again=bool(row.looked_again),
        people_hide=traces.people_hide,
    )
    return began_by(found) if row.seen == HELD else ended_by(found)


def _decision(row: Any, names: _Names) -> str | None:
    overtaken = row.seen == HELD and row.moved_since
    return None if overtaken or row.id in names.of_another else row.decision_id


def _approved_before(row: Any, names: _Names) -> bool:
    """Whether an approval came between two looks, and was not seen to be held. One about an earlier model of the same
    name, which was deleted, counts nothing."""
    decided_at = None if row.id in names.of_another else row.decided_at
    moments = [moment for moment in (decided_at, row.approved_at) if moment is not None]
    created = None if row.created_ms is None else from_millis(row.created_ms)
    return bool(moments) and (created is None or max(moments) >= created)


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
