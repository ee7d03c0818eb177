"""The wall at MLflow's store: protected targets are defended where they are written, whatever route led there.

It listens to SQLAlchemy's `Session` class, so it sees every store of this process: the registry's, the workspaces'
with an engine of its own, the tracking store's. Three kinds of change pass: those of the app's own transaction for an
approval, an administrator's, and an approver's of protected tags. The latter two are recorded in the same transaction.

It cannot see other processes: MLflow's job subprocesses, `mlflow gc`, a second server without the app.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModel
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun
from sqlalchemy import Connection, event, select
from sqlalchemy.orm import Session

from reconciler.domain.text import quoted, visible_name
from reconciler.domain.times import iso
from reconciler.mlflow_app import notes
from reconciler.mlflow_app.changes import (
    Change,
    Kind,
    Targets,
)
from reconciler.mlflow_app.digests import Origin, digest
from reconciler.mlflow_app.errors import conflict
from reconciler.mlflow_app.holders import PERMIT, Holder, Model, Permit
from reconciler.mlflow_app.identity import Identity
from reconciler.mlflow_app.login import Caller
from reconciler.mlflow_app.net import Net, Written
from reconciler.mlflow_app.origins import Origins
from reconciler.mlflow_app.protected_tags import ProtectedTags
from reconciler.mlflow_app.refusals import Refusals
from reconciler.mlflow_app.row_changes import LockedHolders, RowChanges, whole
from reconciler.mlflow_app.rows import REGISTRY, TRACKING, Row, rows_of
from reconciler.mlflow_app.things import Thing, experiments_of, logged_models_of, runs_of

_ROWS: Final = "transition_requests_rows"
_READ: Final[dict[str, Callable[..., list[Thing]]]] = {
    SqlRun.__tablename__: runs_of,
    SqlLoggedModel.__tablename__: logged_models_of,
    SqlExperiment.__tablename__: experiments_of,
}


class Wall:
    """Judges every flush and statement of every SQLAlchemy session in this process."""

    def __init__(
        self,
        targets: Targets,
        tags: ProtectedTags,
        identity: Identity,
        workspace: Callable[[], str],
        refusals: Refusals,
        origins: Origins,
    ) -> None:
        """`workspace`: the one that the call being served names, in which the identity tells levels."""
        self._targets = targets
        self._tags = tags
        self._identity = identity
        self._workspace = workspace
        self._refusals = refusals
        self._origins = origins
        self._rows = RowChanges(targets, tags)
        self._net = Net(self._before_statement)

    def install(self) -> None:
        event.listen(Session, "before_flush", self._before_flush)
        event.listen(Session, "after_flush", self._after_flush)
        self._net.install()

    def remove(self) -> None:
        event.remove(Session, "before_flush", self._before_flush)
        event.remove(Session, "after_flush", self._after_flush)
        self._net.remove()

    # --- the events ------------------------------------------------------------------------------------------

    def _before_flush(self, session: Session, _context: Any, _instances: Any) -> None:
        rows = session.info[_ROWS] = rows_of(session, REGISTRY)
        if not rows:
            return
        connection = session.connection()
        self._net.let_flush(connection)
        self._judge(self._rows.changes(rows, connection), connection, session.info.get(PERMIT))

    def _after_flush(self, session: Session, _context: Any) -> None:
        """Runs, logged models and experiments: after the flush, when their rows are locked and no approval that
        holds them can still be in progress."""
        rows = session.info.pop(_ROWS, None)
        if rows:
            connection = session.connection()
            self._net.end_flush(connection)
            taken = list(self._rows.taken_for_ours(rows, connection))
            self._judge(taken, connection, session.info.get(PERMIT))
        lost = {_thing(row.item) for row in rows_of(session, TRACKING) if _is_lost(row)}
        if lost:
            self._judge_loss(lost, session.connection())

    def _before_statement(self, connection: Connection, written: Written) -> None:
        """Judge an UPDATE or DELETE by a condition. MLflow uses these on whole workspaces only."""
        if written.table.name == SqlRegisteredModel.__tablename__:
            self._judge(list(self._changes_of_models(connection, written)), connection)
        else:
            self._judge_loss(_things_of(connection, written), connection)

    # --- what would change -------------------------------------------------------------------------------------

    def _changes_of_models(self, connection: Connection, written: Written) -> Iterator[Change]:
        """A statement on models counts as one on all their versions and aliases, which follow by cascades."""
        holders = LockedHolders(connection, self._targets)
        for model in _models_of(connection, written):
            after = None if written.deletes else _after(model, written)
            yield from self._rows.of_whole_model(model, after, holders)

    def _judge_loss(self, lost: Iterable[Thing], connection: Connection) -> None:
        """Judge the loss of runs, logged models and experiments."""
        digests = {}
        for thing in lost:
            named = digests[digest(thing.kind, thing.id)] = f"{thing.kind} {thing.id}"
            # What `mlflow gc` removes of an experiment are its runs and logged models; several may share one location.
            found = None if thing.kind == "experiment" else self._origins.located(thing.uri)
            if found is not None:
                digests |= {digest("above", place): named for place in (found.place, found.name)}
        held = self._origins.touched(digests, connection)
        if held is not None:
            what = f"Deleting the {digests[held.digest]}, from which version {held.holder.version} of "
            what += f"{quoted(held.holder.model.name)} was made,"
            self._judge([whole(Kind.ORIGIN, what, held.holder.model, held.holder.version, held.target)], connection)

    # --- judging -------------------------------------------------------------------------------------------------

    def _judge(self, changes: list[Change], connection: Connection, permit: Permit | None = None) -> None:
        others = [change for change in changes if not _permitted(change, permit)]
        if others:
            self._judge_caller(others, connection)
        for change in changes:
            if change.takes and change.version is not None:
                self._remember(connection, change, permit if _permitted(change, permit) else None)
            if change.moved_to is not None and change.version is not None:
                holder = Holder(Model(change.workspace, change.model), change.version)
                self._origins.follow(connection, holder, Model(*change.moved_to))

    def _judge_caller(self, changes: list[Change], connection: Connection) -> None:
        caller = self._identity.caller()
        may = [change for change in changes if self._may(caller, change)]
        if len(may) < len(changes):
            self._refusals.refuse(next(change for change in changes if change not in may), caller)
        if not may:
            return
        at = datetime.now(UTC)
        with self._origins.registry(connection) as registry:
            for change in may:
                notes.write(registry, change, caller.name, _told(change, caller, at))

    def _may(self, caller: Caller, change: Change) -> bool:
        if caller.admin or change.kind is not Kind.PROTECTED_TAG:
            return caller.admin
        after = change.moved_to or (change.workspace, change.model)
        # Of other workspaces the login would tell what the caller may do in this one.
        if {change.workspace, after[0]} != {self._workspace()}:
            return False
        names = {change.model, after[1]}
        return all(self._identity.may_approve(caller, name, change.of_prompt) for name in names)

    def _remember(self, connection: Connection, change: Change, permit: Permit | None) -> None:
        assert change.version is not None
        holder = Holder(Model(change.workspace, change.model), change.version)
        origin = self._origins.of(connection, holder, permit.until if permit is not None else None)
        if permit is not None and (reason := _cannot_be_approved(origin)) is not None:
            named = f"Version {change.version} of {quoted(change.model)}"
            raise conflict(f"{named} cannot be approved, since {reason}, or reject the request.")
        self._origins.remember(connection, holder, origin)


def _told(change: Change, caller: Caller, at: datetime) -> str:
    who = (
        f"administrator {visible_name(caller.name)}, directly"
        if caller.admin
        else f"approver {visible_name(caller.name)}"
    )
    values = f" {change.values}" if change.values else ""
    return f"{change.what.rstrip(',')} {iso(at)} by {who}.{values}"


def _permitted(change: Change, permit: Permit | None) -> bool:
    if permit is None or permit.model != (change.workspace, change.model):
        return False
    return permit.moves or change.kind is Kind.TAG


def _is_lost(row: Row) -> bool:
    return row.is_deleted or ("lifecycle_stage" in row.changed and row.will_be("lifecycle_stage") == "deleted")


def _cannot_be_approved(origin: Origin) -> str | None:
    if origin.gone is not None:
        return f"its {origin.gone} is deleted and its files may be removed for good: restore it"
    if origin.unplaced is not None:
        return f"{visible_name(origin.unplaced)} names no files that this server knows: register it from another source"
    return None


def _thing(item: SqlRun | SqlLoggedModel | SqlExperiment) -> Thing:
    if isinstance(item, SqlRun):
        return Thing("run", str(item.run_uuid), item.experiment_id, item.artifact_uri, deleted=True)
    if isinstance(item, SqlLoggedModel):
        return Thing("logged model", str(item.model_id), item.experiment_id, item.artifact_location, deleted=True)
    return Thing("experiment", str(item.experiment_id), item.experiment_id, item.artifact_location, deleted=True)


def _after(model: Model, written: Written) -> Model:
    return Model(written.values.get("workspace", model.workspace), written.values.get("name", model.name))


def _models_of(connection: Connection, written: Written) -> list[Model]:
    columns = written.table.c.workspace, written.table.c.name
    return sorted(itertools.starmap(Model, connection.execute(_matching(written, *columns))))


def _things_of(connection: Connection, written: Written) -> list[Thing]:
    [key] = written.table.primary_key
    return _READ[written.table.name](connection, connection.scalars(_matching(written, key)), held=False)


def _matching(written: Written, *columns: Any) -> Any:
    """These columns of the rows that match a statement's condition."""
    return select(*columns) if written.condition is None else select(*columns).where(written.condition)
