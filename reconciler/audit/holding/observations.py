"""What holds a governed target: seen, explained, and kept as working state. One replica writes it, by a lease."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from reconciler.audit.holding import arrivals, drifting, looks, readable, tenures
from reconciler.audit.holding.attributing import Attributing
from reconciler.audit.holding.bypasses import open_bypasses
from reconciler.audit.holding.earlier_moves import created_of
from reconciler.audit.holding.earlier_resolutions import begun_elsewhere
from reconciler.audit.holding.looks import HELD, LEFT, WATCHED
from reconciler.audit.holding.strays import Strays
from reconciler.audit.holding.tables import HolderRow, ObservationRow, UnattributedRow, WatchedScopeRow
from reconciler.audit.log.appending import Recording
from reconciler.audit.requests.resolution_tables import ResolutionRow
from reconciler.audit.session import Session
from reconciler.audit.statements import Served, parts
from reconciler.audit.tables import DecisionRow, OpenRequestRow
from reconciler.domain.evidence.holder_facts import Arrival
from reconciler.domain.evidence.tenure_facts import TimeHeld
from reconciler.domain.holding.baselines import Holding
from reconciler.domain.holding.looks import Tenure
from reconciler.domain.place import ModelTarget, Place
from reconciler.domain.scope import Scope
from reconciler.domain.text import visible_name
from reconciler.failpoints import failpoint
from reconciler.ports.observations import (
    Approved,
    Attributions,
    Drift,
    EndOfTenure,
    Looked,
    NewTenure,
    Recognise,
    Stray,
    Traces,
    Watch,
)

# A model, a version and a target, as they are shown.
Key = tuple[str, str, str]


class SqlObservations:
    """`Observations` of one registry and workspace. `daemon` names who looks."""

    def __init__(self, session: Session, served: Served, daemon: str) -> None:
        self._session = session
        self._served = served
        self._daemon = daemon
        self._lease = timedelta()
        self._strays = Strays(session, served)
        self._attributing = Attributing(session, served, self._holds_lease)

    def watch(self, known_fence: int | None, lease: timedelta) -> Watch | None:
        self._lease = lease
        with self._session.snapshot() as connection:
            watch = looks.watch(connection, self._served, self._daemon, known_fence)
            free = watch is None and looks.is_free(connection, self._served)
        if watch is None and free:
            with self._session.transaction() as connection:
                looks.take(connection, self._served, self._daemon, lease)
                failpoint("lease to be committed")
                watch = looks.watch(connection, self._served, self._daemon, known_fence)
        return watch

    def keep(self, connection: Connection, looked: Looked) -> None:
        """Keeps what a look leaves, in the transaction of the heartbeat."""
        looks.keep(connection, self._served, looked, self._lease)

    def release(self, connection: Connection) -> None:
        """Another replica may look from now on."""
        looks.release(connection, self._served, self._daemon)

    # --- what is seen ----------------------------------------------------------------------------------------

    def observe(self, fence: int, ended: Sequence[EndOfTenure], began: Sequence[NewTenure]) -> Sequence[Tenure] | None:
        begun: list[Tenure] = []
        for ends in parts(ended):
            with self._session.recording() as recording:
                if not self._holds_lease(recording.connection, fence):
                    return None
                self._end(recording, ends)
                failpoint("ends to be committed")
        for begins in parts(began):
            with self._session.recording() as recording:
                if not self._holds_lease(recording.connection, fence):
                    return None
                begun += self._begin(recording, begins)
                failpoint("observations to be committed")
        return begun

    def _holds_lease(self, connection: Connection, fence: int) -> bool:
        return looks.holds_lease(connection, self._served, self._daemon, fence)

    def _end(self, recording: Recording, ends: Sequence[EndOfTenure]) -> None:
        ids = [one.ended.tenure.id for one in ends]
        known = self._still_open(recording.connection, ids)
        rows = [
            {
                **self._place(one.ended.tenure.place),
                "seen": LEFT,
                "not_since": one.held_at,
                "tenure_id": one.ended.tenure.id,
                "first_look": False,
                "sign": WATCHED if one.ended.tenure.watched else str(one.ended.sign),
                "continues_id": None,
                "created_ms": one.ended.tenure.created,
            }
            for one in ends
            if one.ended.tenure.id in known
        ]
        self._unexplained(recording, rows, frozenset())
        recording.connection.execute(delete(HolderRow).where(HolderRow.tenure_id.in_(ids)))

    def _still_open(self, connection: Connection, ids: Collection[int]) -> set[int]:
        return set(connection.scalars(select(HolderRow.tenure_id).where(HolderRow.tenure_id.in_(ids))))

    def _begin(self, recording: Recording, begins: Sequence[NewTenure]) -> Iterator[Tenure]:
        names = {one.began.place.shown: one.began for one in begins}
        known = self._held_already(recording.connection, [one.began.place.model for one in begins])
        rows = [
            {
                **self._place(one.began.place),
                "seen": HELD,
                "not_since": one.not_since,
                "tenure_id": None,
                "first_look": one.first_look,
                "sign": _sign(one),
                "continues_id": None if one.began.continues is None else one.began.continues.id,
                "created_ms": one.began.created,
            }
            for one in begins
            if one.began.place not in known
        ]
        asked = {one.began.place.shown for one in begins if one.requested}
        added = self._unexplained(recording, rows, asked | self._requested(recording.connection, begins))
        holders = []
        for row in added:
            began = names[str(row["model"]), str(row["version"]), str(row["target"])]
            holders.append(looks.holder_of(row, json.dumps(began.place.model)))
            watched = row["sign"] == WATCHED
            yield Tenure(int(str(row["id"])), began.place, began.created, _moment(row["at"]), watched)
        if holders:
            recording.connection.execute(insert(HolderRow), holders)

    def _held_already(self, connection: Connection, models: Collection[str]) -> set[Place]:
        named = HolderRow.name.in_([json.dumps(model) for model in models])
        found = connection.execute(select(HolderRow.__table__).where(self._served.among(HolderRow), named))
        return {looks.place_of(row) for row in found}

    def _requested(self, connection: Connection, begins: Sequence[NewTenure]) -> set[Key]:
        """Places that the picture of open requests has."""
        row, models = OpenRequestRow, {visible_name(one.began.place.model) for one in begins}
        named = select(row.model, row.version, row.target).where(self._served.among(row), row.model.in_(models))
        remade = {one.began.place.shown for one in begins if one.remade}
        return {(one.model, one.version, one.target) for one in connection.execute(named)} - remade

    def _unexplained(
        self, recording: Recording, rows: Sequence[Mapping[str, object]], requested: Collection[Key]
    ) -> list[Any]:
        added = recording.add_many(ObservationRow, rows)
        unexplained = [row for row in added if row["sign"] != WATCHED]
        if unexplained:
            here: dict[str, object] = {**self._served.columns, "looked_again": False}
            newest = select(select(func.max(DecisionRow.id)).scalar_subquery().label("decisions_to"))
            newest = newest.add_columns(select(func.max(ResolutionRow.id)).scalar_subquery().label("resolutions_to"))
            here |= recording.connection.execute(newest).one()._asdict()
            waiting = [
                {
                    **here,
                    "observation_id": row["id"],
                    "requested": (row["model"], row["version"], row["target"]) in requested,
                }
                for row in unexplained
            ]
            recording.connection.execute(insert(UnattributedRow), waiting)
        return added

    def _place(self, place: Place) -> dict[str, object]:
        model, version, target = place.shown
        return {**self._served.columns, "model": model, "version": version, "target": target}

    def keep_scope(self, fence: int, scope: Scope, since: datetime) -> bool | None:
        with self._session.recording() as recording:
            if not self._holds_lease(recording.connection, fence):
                return None
            if looks.watched_scope(recording.connection, self._served) == looks.scope_in(looks.scope_text(scope)):
                return False
            row = {**self._served.columns, "since": since, "scope": looks.scope_text(scope)}
            recording.add_many(WatchedScopeRow, [row])
            failpoint("scope to be committed")
        return True

    # --- what explains it ------------------------------------------------------------------------------------

    def attribute(self, fence: int, traces: Traces, recognise: Recognise) -> Attributions | None:
        return self._attributing.attribute(fence, traces, recognise)

    def arrivals(self, holdings: Sequence[Holding]) -> Mapping[Place, Arrival]:
        with self._session.snapshot() as connection:
            return arrivals.arrivals_of(connection, self._served, holdings)

    def times_held(self, holdings: Sequence[Holding]) -> Mapping[Place, TimeHeld]:
        with self._session.snapshot() as connection:
            return tenures.times_held(connection, self._served, holdings)

    def held(self, asked: Collection[ModelTarget]) -> Mapping[ModelTarget, Sequence[str]]:
        with self._session.snapshot() as connection:
            return arrivals.held(connection, self._served, asked)

    def open_bypasses(self) -> int:
        with self._session.snapshot() as connection:
            return open_bypasses(connection, self._served)

    # --- what changed after an approval ----------------------------------------------------------------------

    def approved(self, tenure_ids: Sequence[int]) -> Sequence[Approved]:
        with self._session.snapshot() as connection:
            return drifting.approved(connection, tenure_ids)

    def begun_elsewhere(self, key: str) -> Sequence[Place]:
        with self._session.snapshot() as connection:
            return begun_elsewhere(connection, self._served, key)

    def created(self, decision_ids: Collection[str]) -> Mapping[str, int]:
        with self._session.snapshot() as connection:
            return created_of(connection, decision_ids)

    def drifted(self, fence: int, drifts: Sequence[Drift]) -> bool | None:
        for some in parts(drifts):
            with self._session.recording() as recording:
                if not self._holds_lease(recording.connection, fence):
                    return None
                drifting.record(recording, some)
        return True

    # --- tags that are no requests ---------------------------------------------------------------------------

    def keep_strays(self, fence: int, seen: Sequence[Stray], *, all_seen: bool) -> Sequence[Stray] | None:
        return self._strays.keep(seen, all_seen=all_seen, may_write=lambda one: self._holds_lease(one, fence))

    def pointed_out(self, strays: Sequence[Stray]) -> None:
        self._strays.pointed_out(strays)

    # --- what can be read ------------------------------------------------------------------------------------

    def keep_shown(self, fence: int, groups: Mapping[int, str]) -> bool | None:
        with self._session.transaction() as connection:
            if not self._holds_lease(connection, fence):
                return None
            readable.keep_shown(connection, self._served, groups)
        return True

    def hide(self, fence: int, seen: Mapping[int, datetime | None]) -> bool | None:
        with self._session.transaction() as connection:
            if not self._holds_lease(connection, fence):
                return None
            readable.hide(connection, seen)
        return True


def _sign(new: NewTenure) -> str:
    if new.watched:
        return WATCHED
    return "" if new.began.continues is None else "renamed"


def _moment(value: Any) -> datetime:
    assert isinstance(value, datetime)
    return value
