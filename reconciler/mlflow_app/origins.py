"""What a holder was made of: the places of its files, its run, its logged model, their experiments.

An upload must find out in one indexed lookup whether it would land in a holder. MLflow's tables have no index on a
version's location, and one place has many spellings. So the transaction that makes a version a holder writes digests
of its places to a table of ours. Whether the version is still a holder is read from MLflow's tables.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple, NewType

from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlRegisteredModelAlias
from sqlalchemy import Connection, Engine, bindparam, delete, insert, select

from reconciler.domain.target import Target
from reconciler.mlflow_app.changes import Targets, protected_alias
from reconciler.mlflow_app.digest_lookup import DigestLookup
from reconciler.mlflow_app.holders import OURS, Holder, Model, all_holders, chunks, is_held, lock
from reconciler.mlflow_app.locations import Places, and_above
from reconciler.mlflow_app.tables import origins as table
from reconciler.mlflow_app.things import (
    LOGGED_MODEL_ID,
    RUN_ID,
    Named,
    Thing,
    experiments_of,
    logged_models_of,
    named_by,
    runs_of,
)

_OURS: Final = {OURS: True}
_SNAPSHOTS: Final = frozenset({"mysql", "mariadb"})
_BATCH: Final = 100
_VERSION, _ALIAS = SqlModelVersion.__table__, SqlRegisteredModelAlias.__table__


Digest = NewType("Digest", str)


class Held(NamedTuple):
    """A holder that a call would touch, and one protected target that it holds."""

    holder: Holder
    target: Target
    digest: Digest


@dataclass(frozen=True, slots=True)
class Origin:
    """`gone` names what of it was deleted, such as "run 3f…". `unplaced` is the URI of its files if it names no known
    place, such as a run that does not exist. Both are None if all is well.
    """

    places: frozenset[str]
    things: frozenset[tuple[str, str]]  # ("run" | "logged model" | "experiment", id)
    gone: str | None = None
    unplaced: str | None = None

    @property
    def digests(self) -> frozenset[Digest]:
        at = {digest("at", place) for place in self.places}
        above = {digest("above", folder) for place in self.places for folder in and_above(place)}
        return frozenset(at | above | {digest(kind, id) for kind, id in self.things})


# A hundred uploads to one folder share most digests: those of the folders above.
@lru_cache(maxsize=1024)
def digest(kind: str, name: str) -> Digest:
    """SHA-256 in hex: of one length for any place, and compared byte by byte under every collation."""
    return Digest(hashlib.sha256(f"{kind}\0{name}".encode("utf-8", "surrogatepass")).hexdigest())


def digests_of_write(place: str) -> set[Digest]:
    """The digests that a holder has in the table if a file written at this place would land in it."""
    return {digest("at", folder) for folder in and_above(place)}


def digests_of_removal(place: str) -> set[Digest]:
    """The same for removing everything at this place or below."""
    return digests_of_write(place) | {digest("above", place)}


class Origins:
    """The table, for one registry and the tracking store beside it.

    Args:
        tracking: the tracking store's engine; None if its runs are in no database.
    """

    def __init__(self, targets: Targets, places: Places, registry: Engine, tracking: Engine | None) -> None:
        self._targets = targets
        self._places = places
        self._registry = registry
        self._tracking = tracking
        self._lookup = DigestLookup(registry)
        columns = table.c.workspace, table.c.name, table.c.version, table.c.created_ms
        wanted = table.c.digest.in_(bindparam("digests", expanding=True)), is_held(targets, *columns)
        self._look = select(*columns, table.c.digest).where(*wanted).limit(1)

    def place(self, uri: str | None) -> str | None:
        """The canonical place of a URI; None if it names no place."""
        return self._places.canonical(uri) if uri else None

    def place_below(self, root: str, path: str, workspace: str | None) -> str | None:
        """The canonical place of a path under a repository's root; None if the root names no place."""
        return self._places.below(root, path, workspace=workspace)

    @contextlib.contextmanager
    def registry(self, connection: Connection) -> Iterator[Connection]:
        """This connection if it is to the registry's database; else a new one with a transaction of its own."""
        if self._is_registrys(connection):
            yield connection
        else:
            with self._registry.begin() as own:
                yield own

    def _is_registrys(self, connection: Connection) -> bool:
        return connection.engine.url == self._registry.url

    # --- what would be touched -------------------------------------------------------------------------------

    def touched(self, digests: Iterable[Digest], connection: Connection | None = None) -> Held | None:
        """A holder that has one of these digests; None if there is none.

        Args:
            connection: read in its transaction if it is to the registry's database. Not on MySQL, where the
                transaction would show the table as it was when it began.
        """
        if connection is not None and self._is_registrys(connection) and connection.dialect.name not in _SNAPSHOTS:
            return self._touched(connection, digests)
        known = [chunk for chunk in chunks(set(digests)) if self._lookup.any_known(chunk)]
        if not known:
            return None
        with self._registry.connect() as own:
            return self._touched(own, itertools.chain.from_iterable(known))

    def _touched(self, connection: Connection, digests: Iterable[Digest]) -> Held | None:
        for chunk in chunks(set(digests)):
            row = connection.execute(self._look, {"digests": chunk}).first()
            if row is not None:
                holder = Holder(Model(row.workspace, row.name), row.version)
                return Held(holder, self._target_of(connection, holder), row.digest)
        return None

    def _target_of(self, connection: Connection, holder: Holder) -> Target:
        (workspace, name), version = holder
        stage = connection.scalar(
            select(_VERSION.c.current_stage).where(
                _VERSION.c.workspace == workspace, _VERSION.c.name == name, _VERSION.c.version == version
            )
        )
        if stage in {target.name for target in self._targets if target.is_stage}:
            return Target.parse(stage)
        aliases = connection.scalars(
            select(_ALIAS.c.alias).where(
                _ALIAS.c.workspace == workspace, _ALIAS.c.name == name, _ALIAS.c.version == version
            )
        )
        found = (protected_alias(alias, self._targets) for alias in aliases)
        return next((target for target in found if target is not None), min(self._targets))

    # --- what becomes a holder -------------------------------------------------------------------------------

    def of(self, connection: Connection, holder: Holder, until: contextlib.ExitStack | None = None) -> Origin:
        """What a version was made of.

        Args:
            until: keeps its run, logged model and experiments from being deleted until it is closed, after the
                transaction has ended.
        """
        (workspace, name), version = holder
        row = connection.execute(
            select(_VERSION.c.source, _VERSION.c.storage_location, _VERSION.c.run_id).where(
                _VERSION.c.workspace == workspace, _VERSION.c.name == name, _VERSION.c.version == version
            ),
            execution_options=_OURS,
        ).first()
        if row is None:
            return Origin(frozenset(), frozenset())
        uris = [uri for uri in (row.storage_location, row.source) if uri]
        if self._tracking is None:
            return Origin(self._placed(uris, workspace), frozenset())
        if self._tracking.url == connection.engine.url:
            return self._traced(connection, uris, row.run_id, workspace, held=until is not None)
        if until is None:
            with self._tracking.connect() as other:
                return self._traced(other, uris, row.run_id, workspace, held=False)
        return self._traced(until.enter_context(self._tracking.begin()), uris, row.run_id, workspace, held=True)

    def _placed(self, uris: Iterable[str], workspace: str) -> frozenset[str]:
        return frozenset(place for uri in uris if (place := self._places.canonical(uri, workspace)) is not None)

    def _traced(
        self, connection: Connection, uris: Sequence[str], run_id: str | None, workspace: str, held: bool
    ) -> Origin:
        """Follows `runs:/` and `models:/m-…` to their files, and files to the run or logged model they lie in."""
        places = self._placed(uris, workspace)
        named = {uri: name for uri in uris if (name := named_by(uri)) is not None}
        words = {word for place in places for word in place.split("/")}
        runs = {name.id for name in named.values() if name.kind == "run"} | {run_id or ""}
        models = {name.id for name in named.values() if name.kind == "logged model"}
        found = [
            *runs_of(connection, runs | {word for word in words if RUN_ID.fullmatch(word)}, held),
            *logged_models_of(connection, models | {word for word in words if LOGGED_MODEL_ID.fullmatch(word)}, held),
        ]
        by_name = {(name.kind, name.id) for name in named.values()}
        mine = [thing for thing in found if (thing.kind, thing.id) in by_name or self._contains(thing, places)]
        # A run id is a claim: MLflow accepts any. It counts if a logged model of the same experiment names that run.
        models_here = {(thing.source_run, thing.experiment) for thing in mine if thing.kind == "logged model"}
        claimed = [thing for thing in found if thing.kind == "run" and thing.id == run_id and thing not in mine]
        mine += [thing for thing in claimed if (thing.id, thing.experiment) in models_here]
        behind = {uri: self._behind(name, mine) for uri, name in named.items()}
        experiments = experiments_of(connection, {thing.experiment for thing in mine}, held)
        gone = next((f"{thing.kind} {thing.id}" for thing in (*mine, *claimed, *experiments) if thing.deleted), None)
        # MLflow loads the first of the two.
        unplaced = next((uri for uri in uris[:1] if uri in behind and behind[uri] is None), None)
        return Origin(
            places | {place for place in behind.values() if place is not None},
            frozenset({(thing.kind, thing.id) for thing in (*mine, *experiments)}),
            gone,
            unplaced,
        )

    def _contains(self, thing: Thing, places: Iterable[str]) -> bool:
        root = self._places.canonical(thing.uri) if thing.uri else None
        return root is not None and any(root in and_above(place) for place in places)

    def _behind(self, name: Named, things: Iterable[Thing]) -> str | None:
        thing = next((thing for thing in things if (thing.kind, thing.id) == (name.kind, name.id)), None)
        return self._places.below(thing.uri, name.path) if thing is not None and thing.uri else None

    def remember(self, connection: Connection, holder: Holder, origin: Origin) -> None:
        """Write the digests that are missing, and delete those that an earlier version of this number left."""
        created = self._created(connection, holder)
        connection.execute(delete(table).where(*_of(holder), table.c.created_ms != created), execution_options=_OURS)
        self._add(connection, holder, created, origin.digests)

    def _created(self, connection: Connection, holder: Holder) -> int:
        (workspace, name), version = holder
        same = (_VERSION.c.workspace == workspace, _VERSION.c.name == name, _VERSION.c.version == version)
        return connection.scalar(select(_VERSION.c.creation_time).where(*same)) or 0

    def _add(self, connection: Connection, holder: Holder, created: int, digests: Iterable[Digest]) -> None:
        (workspace, name), version = holder
        missing = sorted(set(digests) - set(connection.scalars(select(table.c.digest).where(*_of(holder)))))
        row = {"workspace": workspace, "name": name, "version": version, "created_ms": created}
        if missing:
            rows = [{"digest": value, **row} for value in missing]
            connection.execute(insert(table), rows, execution_options=_OURS)

    def follow(self, connection: Connection, holder: Holder, model: Model) -> None:
        """Copy what a holder was made of to the new name or workspace of its model."""
        created = self._created(connection, holder)
        same = (*_of(holder), table.c.created_ms == created)
        digests = connection.scalars(select(table.c.digest).where(*same)).all()
        moved = Holder(model, holder.version)
        connection.execute(delete(table).where(*_of(moved), table.c.created_ms != created), execution_options=_OURS)
        self._add(connection, moved, created, digests)

    def catch_up(self) -> None:
        """Remember every holder that the table lacks: from before the app, or from other protected targets."""
        with self._registry.connect() as connection:
            every = all_holders(connection, self._targets)
            known = {(Holder(Model(*row[:2]), row[2]), row[3]) for row in connection.execute(_KNOWN)}
        missing = sorted({holder for holder, _ in every - known})
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            with self._registry.begin() as connection:
                lock(connection, {holder.model for holder in batch})
                for holder in batch:
                    self.remember(connection, holder, self.of(connection, holder))


_KNOWN = select(table.c.workspace, table.c.name, table.c.version, table.c.created_ms).distinct()


def _of(holder: Holder) -> tuple[Any, ...]:
    (workspace, name), version = holder
    return (table.c.workspace == workspace, table.c.name == name, table.c.version == version)
