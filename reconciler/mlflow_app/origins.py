"""What a holder was made of: the places of its files, its run, its logged model, their experiments.

An upload must find out in one indexed lookup whether it would land in a holder. MLflow's tables have no index on a
version's location, and one place has many spellings. So the transaction that makes a version a holder writes digests
of its places to a table of ours. Whether the version is still a holder is read from MLflow's tables.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlRegisteredModelAlias
from sqlalchemy import Connection, Engine, and_, bindparam, delete, insert, or_, select

from reconciler.domain.target import Target
from reconciler.mlflow_app.changes import Targets, protected_alias
from reconciler.mlflow_app.digest_lookup import DigestLookup
from reconciler.mlflow_app.digests import Digest, Origin
from reconciler.mlflow_app.holders import OURS, Holder, Model, all_holders, chunks, is_held, lock
from reconciler.mlflow_app.locations import Located, Places, and_above
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
_VERSION, _ALIAS = SqlModelVersion.__table__, SqlRegisteredModelAlias.__table__


class Held(NamedTuple):
    """A holder that a call would touch, and one protected target that it holds."""

    holder: Holder
    target: Target
    digest: Digest


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

    def located(self, uri: str | None) -> Located | None:
        """Where a URI leads; None if it names no place."""
        return self._places.located(uri) if uri else None

    def located_below(self, root: str, path: str, workspace: str | None) -> Located | None:
        """Where a path under a repository's root leads; None if the root names no place."""
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
            return Origin()
        uris = [uri for uri in (row.storage_location, row.source) if uri]
        if self._tracking is None:
            return Origin.at(self._located(uris, workspace))
        if self._tracking.url == connection.engine.url:
            return self._traced(connection, uris, row.run_id, workspace, held=until is not None)
        if until is None:
            with self._tracking.connect() as other:
                return self._traced(other, uris, row.run_id, workspace, held=False)
        return self._traced(until.enter_context(self._tracking.begin()), uris, row.run_id, workspace, held=True)

    def _located(self, uris: Iterable[str], workspace: str) -> list[Located]:
        return [found for uri in uris if (found := self._places.located(uri, workspace)) is not None]

    def _traced(
        self, connection: Connection, uris: Sequence[str], run_id: str | None, workspace: str, held: bool
    ) -> Origin:
        """Follows `runs:/` and `models:/m-…` to their files, and files to the run or logged model they lie in."""
        direct = self._located(uris, workspace)
        places = {found.place for found in direct}
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
        located = [*direct, *(found for found in behind.values() if found is not None)]
        things = frozenset({(thing.kind, thing.id) for thing in (*mine, *experiments)})
        return replace(Origin.at(located), things=things, gone=gone, unplaced=unplaced)

    def _contains(self, thing: Thing, places: Iterable[str]) -> bool:
        root = self._places.canonical(thing.uri) if thing.uri else None
        return root is not None and any(root in and_above(place) for place in places)

    def _behind(self, name: Named, things: Iterable[Thing]) -> Located | None:
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
        """Remember every holder that the table lacks, or whose files lie elsewhere by now.

        It lacks those from before the app, or from other protected targets. Files lie elsewhere if a folder or
        `--artifacts-destination` was moved and the server started again.
        """
        with self._registry.connect() as connection:
            every = all_holders(connection, self._targets)
            known = {(Holder(Model(*row[:2]), row[2]), row[3]) for row in connection.execute(_KNOWN)}
            moved = list(self._moved(connection, sorted(holder for holder, _ in every & known)))
        missing = sorted({*(holder for holder, _ in every - known), *moved})
        for batch in chunks(missing):
            with self._registry.begin() as connection:
                lock(connection, {holder.model for holder in batch})
                for holder in batch:
                    self.remember(connection, holder, self.of(connection, holder))

    def _moved(self, connection: Connection, holders: Sequence[Holder]) -> Iterator[Holder]:
        """Those whose files are where the table does not know them, by the URIs that name a place themselves."""
        for batch in chunks(holders):
            digests: dict[Holder, set[str]] = {}
            for workspace, name, version, digest in connection.execute(_DIGESTS.where(_any_of(table, batch))):
                digests.setdefault(Holder(Model(workspace, name), version), set()).add(digest)
            for workspace, name, version, *uris in connection.execute(_URIS.where(_any_of(_VERSION, batch))):
                located = self._located(filter(None, uris), workspace)
                holder = Holder(Model(workspace, name), version)
                if not Origin.at(located).digests <= digests.get(holder, set()):
                    yield holder


_DIGESTS = select(table.c.workspace, table.c.name, table.c.version, table.c.digest)
_URIS = select(
    _VERSION.c.workspace, _VERSION.c.name, _VERSION.c.version, _VERSION.c.storage_location, _VERSION.c.source
)
_KNOWN = select(table.c.workspace, table.c.name, table.c.version, table.c.created_ms).distinct()


def _any_of(rows: Any, holders: Iterable[Holder]) -> Any:
    return or_(
        *(
            and_(rows.c.workspace == model.workspace, rows.c.name == model.name, rows.c.version == version)
            for model, version in holders
        )
    )


def _of(holder: Holder) -> tuple[Any, ...]:
    (workspace, name), version = holder
    return (table.c.workspace == workspace, table.c.name == name, table.c.version == version)
