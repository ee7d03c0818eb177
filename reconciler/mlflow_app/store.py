"""MLflow's own registry store, and several of its steps in one transaction."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.prompt.constants import IS_PROMPT_TAG_KEY
from mlflow.protos.databricks_pb2 import NOT_IMPLEMENTED
from mlflow.server import handlers
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlModelVersionTag, SqlRegisteredModelTag
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore
from sqlalchemy import Engine, and_, delete, insert, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from reconciler.domain.holding.groups import HeldRow
from reconciler.domain.request import Request, Requester
from reconciler.domain.tag_format import REQUEST_PREFIX, request_tag
from reconciler.domain.target import STAGES, Target
from reconciler.mlflow_app import held, history
from reconciler.mlflow_app.holders import OURS, PERMIT, Model, Permit, chunks, lock

# MLflow's name for the stage of a deleted version; its tags stay behind.
_DELETED = "Deleted_Internal"

_OURS: Final = {OURS: True}


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """A request tag, and the version that it is on."""

    model: str
    version: str
    key: str
    value: str
    stage: str


def registry_store() -> SqlAlchemyStore:
    """Raises MlflowException if the registry is not in a database."""
    store = handlers._get_model_registry_store()
    if not isinstance(store, SqlAlchemyStore):
        raise MlflowException("transition requests need a model registry in a database", NOT_IMPLEMENTED)
    return store


def tracking_engine() -> Engine | None:
    """The engine of the tracking store; None if runs are not kept in a database."""
    store = handlers._get_tracking_store()
    return store.engine if isinstance(store, TrackingStore) else None


def active_workspace() -> str:
    """The workspace that the call being served names; MLflow's default one on a server without workspaces."""
    store: Any = registry_store()
    return str(store._get_active_workspace())


class Registry:
    """The store, with the few statements that MLflow has no method for. Created for each request to the server."""

    def __init__(self, store: SqlAlchemyStore, session: Session | None = None) -> None:
        self.mlflow: Any = store
        self._session = session

    @contextlib.contextmanager
    def transaction(self, model: str, *, moves: bool = False) -> Iterator[Registry]:
        """Commit everything done through the yielded registry together, or nothing.

        No other transaction changes the model's holders until the end.

        Args:
            model: our tags may be written on its versions.
            moves: a request is resolved, so its targets may change. Otherwise that is judged as any caller's change.
        """
        # The stack exits last: what it holds is released after the commit.
        with contextlib.ExitStack() as until, self.mlflow.ManagedSessionMaker(read_only=False) as session:
            locked = Model(self.mlflow._get_active_workspace(), model)
            lock(session.connection(), [locked])
            session.info[PERMIT] = Permit(locked, moves, until)
            bound = copy.copy(self.mlflow)
            # Each method of the store opens, commits and closes a session of its own; here they share this one.
            bound.ManagedSessionMaker = lambda read_only=True: contextlib.nullcontext(session)
            yield Registry(bound, session)

    @property
    def workspace(self) -> str:
        """The active workspace; "" on a server without workspaces."""
        return str(self.mlflow._get_active_workspace()) if self.mlflow.supports_workspaces else ""

    # --- request tags ----------------------------------------------------------------------------------------

    def find(
        self,
        *,
        models: Sequence[str] = (),
        version: str | None = None,
        targets: Sequence[Target] = (),
        after: tuple[str, int, str] | None = None,
        limit: int | None = None,
    ) -> list[Found]:
        """Request tags of versions that exist, by model, version and key; no `models` or `targets` means all."""
        tag = SqlModelVersionTag
        wanted = (
            select(tag.name, tag.version, tag.key, tag.value, SqlModelVersion.current_stage)
            .join(SqlModelVersion, self._same_version(SqlModelVersion))
            .where(self._here(), self._keys(targets), SqlModelVersion.current_stage != _DELETED)
            .order_by(tag.name, tag.version, tag.key)
        )
        if models:
            wanted = wanted.where(tag.name.in_(list(models)))
        if version is not None:
            wanted = wanted.where(tag.version == int(version))
        if after is not None:
            wanted = wanted.where(_beyond(after))
        with self._reading() as session:
            rows = session.execute(wanted.limit(limit)).all()
        return [Found(name, str(number), key, value or "", stage) for name, number, key, value, stage in rows]

    def versions(self, found: Sequence[Found]) -> dict[tuple[str, str], ModelVersion]:
        """The versions that these tags are on, with all tags, in few statements; without aliases, as from a search."""
        row, tag = SqlModelVersion, SqlModelVersionTag
        keys = sorted({request.key for request in found})
        wanted = {(request.model, request.version) for request in found}
        versions: dict[tuple[str, str], ModelVersion] = {}
        with self._reading() as session:
            for names in chunks({request.model for request in found}):
                rows = session.scalars(
                    select(row)
                    .join(tag, self._same_version(row))
                    .where(self._here(), tag.name.in_(names), tag.key.in_(keys))
                    .options(*self.mlflow._get_eager_model_version_query_options())
                )
                for version in rows.unique():
                    if (version.name, str(version.version)) in wanted:
                        versions[version.name, str(version.version)] = version.to_mlflow_entity()
        return versions

    def add_tag(self, model: str, version: str, key: str, value: str) -> bool:
        """False if the tag exists already: of two requests at once the database accepts one."""
        values = {"name": model, "version": int(version), "key": key, "value": value}
        row = insert(SqlModelVersionTag).values(workspace=self.mlflow._get_active_workspace(), **values)
        try:
            self._inside().execute(row, execution_options=_OURS)
        except IntegrityError:
            return False
        return True

    def take_tag(self, found: Found) -> bool:
        """Remove exactly this tag with exactly this value. False if another call was faster."""
        tag = SqlModelVersionTag
        same = (tag.name == found.model, tag.version == int(found.version), tag.key == found.key)
        gone = delete(tag).where(self._here(), *same, tag.value == found.value)
        result: Any = self._inside().execute(gone.execution_options(synchronize_session=False, **_OURS))
        return bool(result.rowcount == 1)

    def tell(self, what: history.What, request: Request, by: Requester, said: str) -> None:
        """Write it into the history, after all that this transaction does: who tells waits for who has told."""
        session, workspace = self._inside(), self.mlflow._get_active_workspace()
        session.flush()
        about = workspace, request.model, int(request.version), request.target
        event = history.Event(what, *about, by, said, request.id or None)
        history.write(session.connection(), event)

    def told_of(self, decision_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of the history that name these decisions of the daemon, the oldest first."""
        with self._reading() as session:
            workspace = self.mlflow._get_active_workspace()
            return history.rows_of_decisions(session.connection(), workspace, decision_ids)

    def told_after(self, number: int) -> history.Part:
        """As `history.rows_after`, of the active workspace."""
        with self._reading() as session:
            return history.rows_after(session.connection(), self.mlflow._get_active_workspace(), number)

    def held(self, targets: Sequence[Target], *, of_prompts: bool = False) -> list[HeldRow]:
        """As `held.rows_of`, of the active workspace."""
        with self._reading() as session:
            here = session.connection(), self.mlflow._get_active_workspace()
            return held.rows_of(*here, targets, of_prompts=of_prompts)

    def prompts(self, models: Iterable[str]) -> frozenset[str]:
        """Those of these models that are prompts: MLflow keeps both in the same tables."""
        tag = SqlRegisteredModelTag
        found: set[str] = set()
        with self._reading() as session:
            for names in chunks(set(models)):
                marked = select(tag.name).where(
                    tag.workspace == self.mlflow._get_active_workspace(),
                    tag.name.in_(names),
                    tag.key == IS_PROMPT_TAG_KEY,
                    tag.value == "true",
                )
                found |= set(session.scalars(marked))
        return frozenset(found)

    # --- inside ----------------------------------------------------------------------------------------------

    def _inside(self) -> Session:
        assert self._session is not None, "only within a transaction"
        return self._session

    def _reading(self) -> contextlib.AbstractContextManager[Session]:
        session: contextlib.AbstractContextManager[Session] = self.mlflow.ManagedSessionMaker(read_only=True)
        return session

    def _here(self) -> Any:
        return SqlModelVersionTag.workspace == self.mlflow._get_active_workspace()

    def _same_version(self, row: Any) -> Any:
        tag = SqlModelVersionTag
        return and_(row.workspace == tag.workspace, row.name == tag.name, row.version == tag.version)

    def _keys(self, targets: Sequence[Target]) -> Any:
        # Named keys are found through the primary key; LIKE reads every tag in databases that do not sort by bytes.
        if targets:
            return SqlModelVersionTag.key.in_([request_tag(target) for target in targets])
        stages = [request_tag(Target.parse(stage)) for stage in STAGES]
        return or_(SqlModelVersionTag.key.in_(stages), SqlModelVersionTag.key.like(f"{REQUEST_PREFIX}alias.%"))


def _beyond(after: tuple[str, int, str]) -> Any:
    """After this (model, version, key), spelled out: not every database compares rows."""
    tag = SqlModelVersionTag
    name, version, key = after
    return or_(
        tag.name > name,
        and_(tag.name == name, tag.version > version),
        and_(tag.name == name, tag.version == version, tag.key > key),
    )
