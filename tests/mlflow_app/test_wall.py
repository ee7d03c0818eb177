"""The wall at the store, in this process, on MLflow's own stores: no route, no guard, only sessions.

What it says is checked in the database, by a connection that the wall does not know.
"""

from __future__ import annotations

import asyncio
import io
import re
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.entities.workspace import Workspace, WorkspaceDeletionMode
from mlflow.exceptions import MlflowException
from mlflow.store.artifact import artifact_repository_registry
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion, SqlRegisteredModel, SqlRegisteredModelAlias
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.model_registry.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore
from mlflow.store.tracking.dbmodels.models import SqlExperimentTag, SqlRun, SqlTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore
from mlflow.store.workspace.sqlalchemy_store import SqlAlchemyStore as WorkspaceStore
from mlflow.utils.workspace_context import WorkspaceContext
from sqlalchemy import (
    Engine,
    NullPool,
    bindparam,
    create_engine,
    delete,
    event,
    insert,
    literal,
    make_url,
    select,
    text,
    update,
)

from reconciler.domain.target import Target
from reconciler.mlflow_app import creating
from reconciler.mlflow_app.artifact_wall import ArtifactWall
from reconciler.mlflow_app.carrying_out import move
from reconciler.mlflow_app.digests import digests_of_removal, digests_of_write
from reconciler.mlflow_app.errors import Answered
from reconciler.mlflow_app.identity import Caller, Identity
from reconciler.mlflow_app.locations import Places
from reconciler.mlflow_app.origins import Origins
from reconciler.mlflow_app.protected_tags import ProtectedTags
from reconciler.mlflow_app.refusals import Refusals
from reconciler.mlflow_app.store import Registry
from reconciler.mlflow_app.wall import Wall
from tests.postgres import PostgresServer

TARGETS = frozenset({Target.parse("Production"), Target.parse("@champion")})
TAGS = ProtectedTags(frozenset({"tier", "validated.at"}))
PRODUCTION, CHAMPION = Target.parse("Production"), Target.parse("@champion")
# Each test installs and removes the wall, so the tests run one after the other.
pytestmark = pytest.mark.xdist_group("wall")


class Somebody(Identity):
    """The caller that the test sets, and the models and prompts that the caller may decide about."""

    def __init__(self) -> None:
        self.now = Caller("")
        self.decides_about: frozenset[str] = frozenset()
        self.decides_about_prompts: frozenset[str] = frozenset()

    def caller(self) -> Caller:
        return self.now

    def may_approve(self, caller: Caller, model: str, is_prompt: bool = False) -> bool:
        return model in (self.decides_about_prompts if is_prompt else self.decides_about)


class World:
    """A registry behind the wall."""

    def __init__(
        self, url: str, artifacts: Path, store: type[SqlAlchemyStore] = SqlAlchemyStore, runs: str | None = None
    ) -> None:
        self.url = url
        self.tracking = TrackingStore(runs or url, str(artifacts))
        self.store = store(url)
        self.somebody = Somebody()
        self.refusals = Refusals(observe=False)
        creating.create(self.store.engine)
        self.origins = Origins(TARGETS, Places(str(artifacts)), self.store.engine, self.tracking.engine)
        self.wall = Wall(
            TARGETS,
            TAGS,
            self.somebody,
            lambda: self.store._get_active_workspace(),
            self.refusals,
            self.origins,
        )

    def model(self, name: str = "m", versions: int = 2, source: str = "s3://bucket/model", **more: Any) -> str:
        self.store.create_registered_model(name)
        for _ in range(versions):
            self.store.create_model_version(name, source, **more)
        return name

    def approve(self, name: str, version: int, target: Target) -> None:
        registry = Registry(self.store)
        with registry.transaction(name, moves=True) as within:
            move(within, name, str(version), target, False)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of the database, read by SQL without MLflow's code or ours."""
        url = make_url(self.url)
        if url.get_backend_name() == "sqlite":
            import sqlite3

            with sqlite3.connect(url.database or "") as connection:
                return connection.execute(statement).fetchall()
        if url.get_backend_name() == "mysql":
            with create_engine(url, poolclass=NullPool).connect() as plainly:
                return [tuple(row) for row in plainly.exec_driver_sql(statement)]
        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain) as connection:
            return connection.execute(statement.encode()).fetchall()

    def stages(self) -> list[tuple[int, str]]:
        return [(row[0], row[1]) for row in self.rows("SELECT version, current_stage FROM model_versions ORDER BY 1")]


@contextmanager
def walled(world: World) -> Iterator[World]:
    world.wall.install()
    try:
        yield world
    finally:
        world.wall.remove()
        world.store.engine.dispose()
        world.tracking.engine.dispose()


@pytest.fixture(scope="module")
def mlflow_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and nothing in them: copying it is faster than sixty migrations."""
    place = tmp_path_factory.mktemp("empty")
    made(f"sqlite:///{place}/mlflow.db", place)
    return place / "mlflow.db"


@pytest.fixture(scope="module")
def mlflow_database(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    url = postgres.new_database()
    made(url, tmp_path_factory.mktemp("empty"))
    return url


def made(url: str, place: Path) -> None:
    store = TrackingStore(url, str(place))
    store.engine.dispose()


@pytest.fixture
def sqlite(mlflow_file: Path, tmp_path: Path) -> str:
    shutil.copyfile(mlflow_file, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def world(sqlite: str, tmp_path: Path) -> Iterator[World]:
    with walled(World(sqlite, tmp_path / "artifacts")) as world:
        yield world


@pytest.fixture(params=["sqlite", "postgresql"])
def on_each_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "sqlite":
        url: str = request.getfixturevalue("sqlite")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.new_database(like=request.getfixturevalue("mlflow_database"))
    with walled(World(url, tmp_path / "artifacts")) as world:
        yield world


@pytest.fixture
def held(world: World) -> World:
    """Version 1 holds Production and @champion, version 2 nothing."""
    world.model()
    world.approve("m", 1, PRODUCTION)
    world.approve("m", 1, CHAMPION)
    return world


def refused(call: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    with pytest.raises(MlflowException) as failed:
        call(*arguments, **named)
    assert failed.value.get_http_status_code() == 403, failed.value
    return str(failed.value)


# --- what it refuses ---------------------------------------------------------------------------------------------


def test_no_call_of_mlflows_store_changes_a_holder(held: World) -> None:
    store, before = held.store, held.stages()
    refusals = [
        refused(store.transition_model_version_stage, "m", "2", "Production", False),
        refused(store.transition_model_version_stage, "m", " 1", "Archived", False),
        refused(store.transition_model_version_stage, "m", "+1", "Staging", False),
        refused(store.delete_model_version, "m", "0_1"),
        refused(store.delete_registered_model, "m"),
        refused(store.rename_registered_model, "m", "else"),
        refused(store.set_registered_model_alias, "m", "champion", "2"),
        refused(store.set_registered_model_alias, "m", "Chämpion", "2"),
        refused(store.delete_registered_model_alias, "m", "champion"),
        refused(store.set_model_version_tag, "m", "2", ModelVersionTag("transition_request.stage.Production", "x")),
        refused(store.set_model_version_tag, "m", "2", ModelVersionTag("Transition_Decision.x", "x")),
        refused(store.set_registered_model_tag, "m", RegisteredModelTag("mlflow.prompt.is_prompt", "true")),
    ]
    assert all("not allowed" in sentence and "\n" not in sentence for sentence in refusals)
    assert held.stages() == before
    assert held.rows("SELECT alias, version FROM registered_model_aliases") == [("champion", 1)]
    assert held.rows("SELECT count(*) FROM model_version_tags") == [(0,)]


@pytest.mark.parametrize(
    "column", ["source", "storage_location", "status", "run_id", "run_link", "user_id", "status_message"]
)
def test_every_column_of_a_holder_is_defended(held: World, column: str) -> None:
    def change() -> None:
        with held.store.ManagedSessionMaker(read_only=False) as session:
            row = session.get(SqlModelVersion, ("default", "m", 1))
            setattr(row, column, "changed")

    assert column in refused(change)
    assert held.rows(f"SELECT count(*) FROM model_versions WHERE {column} = 'changed'") == [(0,)]


def test_what_is_not_protected_stays_free(held: World) -> None:
    store = held.store
    store.update_model_version("m", "1", "a description")
    store.set_model_version_tag("m", "1", ModelVersionTag("k", "v"))
    store.transition_model_version_stage("m", "2", "Staging", True)
    store.set_registered_model_alias("m", "challenger", "2")
    store.delete_registered_model_alias("m", "challenger")
    store.set_registered_model_tag("m", RegisteredModelTag("team", "risk"))
    store.create_model_version("m", "s3://bucket/model", tags=[ModelVersionTag("k", "v")])
    store.delete_model_version("m", "2")
    held.model("other")
    store.rename_registered_model("other", "another")
    store.delete_registered_model("another")


def test_our_tags_are_deleted_and_moved_with_a_model_that_holds_nothing(world: World) -> None:
    world.model()
    with Registry(world.store).transaction("m") as within:
        within.add_tag("m", "1", "transition_request.stage.Production", "please")
    world.store.rename_registered_model("m", "n")
    assert world.rows("SELECT name FROM model_version_tags") == [("n",)]
    world.store.delete_registered_model("n")
    assert world.rows("SELECT count(*) FROM model_version_tags") == [(0,)]


def test_a_model_becomes_a_prompt_at_its_creation_only(world: World) -> None:
    mark = RegisteredModelTag("mlflow.prompt.is_prompt", "true")
    world.store.create_registered_model("p", [mark])
    world.store.set_registered_model_tag("p", mark)  # changes nothing
    refused(world.store.set_registered_model_tag, "p", RegisteredModelTag("mlflow.prompt.is_prompt", "false"))
    refused(world.store.delete_registered_model_tag, "p", "mlflow.prompt.is_prompt")
    world.store.delete_registered_model("p")


# --- statements that no session flushes --------------------------------------------------------------------------


def test_core_statements_bulk_calls_and_text_never_write_the_registry(held: World) -> None:
    before = held.stages()
    table: Any = SqlModelVersion.__table__
    by_core = update(table).where(table.c.version == 1).values(current_stage="Archived")
    by_many = update(table).where(table.c.version == bindparam("v")).values(current_stage="Archived")

    def in_session(do: Callable[[Any], Any]) -> Callable[[], None]:
        def run() -> None:
            with held.store.ManagedSessionMaker(read_only=False) as session:
                do(session)

        return run

    writes = ["UPDATE model_versions SET current_stage = 'Archived'", 'DELETE FROM "registered_model_aliases"',
              "INSERT OR REPLACE INTO model_version_tags VALUES ('m', 1, 'k', 'v', 'default')",
              "update  main.[registered_models] set name = 'n'", "REPLACE INTO model_versions (name) VALUES ('m')",
              "/* x */ DROP TABLE model_versions"]  # fmt: skip
    calls = [
        in_session(lambda session: session.execute(by_core)),
        in_session(lambda session: session.execute(by_many, [{"v": 1}])),
        in_session(lambda session: session.query(SqlModelVersion).update({"current_stage": "Archived"})),
        in_session(lambda session: session.query(SqlRegisteredModelAlias).delete()),
        in_session(lambda session: session.bulk_update_mappings(
            SqlModelVersion, [{"workspace": "default", "name": "m", "version": 1, "current_stage": "Archived"}])),
        in_session(lambda session: session.bulk_insert_mappings(
            SqlRegisteredModelAlias, [{"workspace": "default", "name": "m", "alias": "champion", "version": 2}])),
        *[in_session(lambda session, write=write: session.execute(text(write))) for write in writes],
    ]  # fmt: skip
    for call in calls:
        refused(call)
    for write in writes:
        with held.store.engine.connect() as connection, pytest.raises(Answered):
            connection.exec_driver_sql(write)
    assert held.stages() == before


def test_text_that_only_reads_the_registry_or_writes_other_tables_passes(held: World) -> None:
    with held.store.ManagedSessionMaker(read_only=False) as session:
        session.execute(text("SELECT * FROM model_versions WHERE description LIKE '%update%'"))
        session.execute(text("INSERT INTO experiment_tags (experiment_id, key, value) VALUES (0, 'k', 'v')"))
    assert held.rows("SELECT value FROM experiment_tags") == [("v",)]


@pytest.mark.parametrize("make", [update, delete], ids=["update", "delete"])
@pytest.mark.parametrize("table", [SqlRegisteredModel, SqlRegisteredModel.__table__], ids=["orm", "core"])
def test_a_statement_on_models_by_a_condition_is_judged_by_the_rows_that_match(
    held: World, make: Any, table: Any
) -> None:
    held.store.create_registered_model("free")

    def change(name: str) -> None:
        statement = make(table).where(SqlRegisteredModel.name == bindparam("of_name"))
        statement = statement.values(name="else") if make is update else statement
        with held.store.ManagedSessionMaker(read_only=False) as session:
            session.execute(statement, {"of_name": name}, execution_options={"synchronize_session": False})

    before = held.rows("SELECT name FROM registered_models ORDER BY name")
    refused(change, "m")
    assert held.rows("SELECT name FROM registered_models ORDER BY name") == before
    change("free")
    assert ("free",) not in held.rows("SELECT name FROM registered_models")


@pytest.mark.parametrize("table", [SqlRun, SqlRun.__table__], ids=["orm", "core"])
def test_runs_deleted_for_good_by_a_condition_are_judged(on_each_database: World, table: Any) -> None:
    world = on_each_database
    (kept, files), (free, _) = a_run(world), a_run(world)
    world.model(versions=1, source=f"{files}/model", run_id=kept)
    world.approve("m", 1, PRODUCTION)

    def remove(*runs: str) -> None:
        with world.tracking.ManagedSessionMaker(read_only=False) as session:
            session.execute(delete(SqlTag))
            session.execute(
                delete(table).where(SqlRun.run_uuid.in_(runs)), execution_options={"synchronize_session": False}
            )

    refused(remove, free, kept)
    remove(free)
    assert world.rows("SELECT run_uuid FROM runs") == [(kept,)]


def test_a_write_inside_another_statement_is_found(
    postgres: PostgresServer, mlflow_database: str, tmp_path: Path
) -> None:
    """PostgreSQL lets a SELECT, or a write to another table, carry a DELETE along."""
    world = World(postgres.new_database(like=mlflow_database), tmp_path / "artifacts")
    versions: Any = SqlModelVersion.__table__
    with walled(world):
        world.model()
        world.approve("m", 1, PRODUCTION)
        gone = delete(versions).where(versions.c.version == 1).returning(versions.c.version).cte("gone")
        carriers = [
            select(gone.c.version),
            insert(SqlExperimentTag.__table__).from_select(
                ["experiment_id", "key", "value"], select(gone.c.version - 1, literal("k"), literal("v"))
            ),
        ]
        for carrier in carriers:
            # Twice: what has been compiled and found once stays found.
            for _ in range(2):
                with world.store.engine.connect() as connection, pytest.raises(Answered):
                    connection.execute(carrier)
        assert world.stages() == [(1, "Production"), (2, "None")]


# --- workspaces --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(WorkspaceDeletionMode))
def test_no_way_to_delete_a_workspace_reaches_a_holder(
    sqlite: str, tmp_path: Path, mode: WorkspaceDeletionMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    with walled(World(sqlite, tmp_path / "artifacts", WorkspaceAwareSqlAlchemyStore)) as world:
        workspaces = WorkspaceStore(sqlite)
        for name in ("team-a", "team-b"):
            workspaces.create_workspace(Workspace(name=name))
        with WorkspaceContext("team-a"):
            world.model()
            world.approve("m", 1, PRODUCTION)
        with WorkspaceContext("team-b"):
            world.model("other")
        before = world.rows("SELECT workspace, name, version, current_stage FROM model_versions ORDER BY 1, 2, 3")
        with pytest.raises(MlflowException) as failed:
            workspaces.delete_workspace("team-a", mode)
        assert mode is WorkspaceDeletionMode.RESTRICT or failed.value.get_http_status_code() == 403
        seen = world.rows("SELECT workspace, name, version, current_stage FROM model_versions ORDER BY 1, 2, 3")
        assert seen == before
        # A workspace without a holder is deleted as on a server without the app.
        if mode is not WorkspaceDeletionMode.RESTRICT:
            workspaces.delete_workspace("team-b", mode)
            assert ("team-b",) not in world.rows("SELECT name FROM workspaces")


# --- administrators ----------------------------------------------------------------------------------------------


def test_an_administrators_act_is_recorded_in_the_same_transaction_and_stays(held: World) -> None:
    held.somebody.now = Caller("root", admin=True)
    held.store.transition_model_version_stage("m", "2", "Production", True)
    notes = held.rows("SELECT version, value FROM model_version_tags WHERE key LIKE 'transition_decision.%' ORDER BY 1")
    assert {(version, "by administrator root" in value) for version, value in notes} == {(1, True), (2, True)}
    held.store.delete_registered_model("m")
    kept = held.rows("SELECT model, version, target, decider FROM transition_requests_history ORDER BY number")
    assert ("m", 2, "Production", "root") in kept
    assert kept[-1][0] == "m"
    assert held.rows("SELECT count(*) FROM registered_models") == [(0,)]


@pytest.mark.parametrize(
    "act", ["transition_model_version_stage", "delete_registered_model", "rename_registered_model"]
)
def test_an_act_that_cannot_be_recorded_is_not_done(held: World, act: str) -> None:
    before = held.stages()
    held.somebody.now = Caller("root", admin=True)
    held.rows("CREATE TRIGGER full BEFORE INSERT ON transition_requests_history BEGIN SELECT RAISE(ABORT, 'full'); END")
    arguments = {
        "transition_model_version_stage": ("m", "1", "Archived", False),
        "delete_registered_model": ("m",),
        "rename_registered_model": ("m", "n"),
    }
    with pytest.raises(MlflowException) as failed:
        getattr(held.store, act)(*arguments[act])
    assert failed.value.get_http_status_code() == 503
    assert "SQL" not in str(failed.value)
    assert held.stages() == before
    assert held.rows("SELECT name FROM registered_models") == [("m",)]


# --- no window between check and write ---------------------------------------------------------------------------


class Paused:
    """Stops the thread that is about to run a statement like this one, once, until it is released."""

    def __init__(self, beginning: str) -> None:
        self._beginning = beginning
        self._once = threading.Lock()
        self.reached, self.go = threading.Event(), threading.Event()

    def __enter__(self) -> Paused:
        event.listen(Engine, "before_cursor_execute", self._stop)
        return self

    def __exit__(self, *_: object) -> None:
        self.go.set()
        event.remove(Engine, "before_cursor_execute", self._stop)

    def _stop(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(self._beginning) and self._once.acquire(blocking=False):
            self.reached.set()
            assert self.go.wait(60)


UPDATE = "UPDATE model_versions"


@contextmanager
def one_waits_for_the_other(first: Callable[[], Any], second: Callable[[], Any]) -> Iterator[tuple[Future[Any], ...]]:
    """The first stops before its UPDATE until the second is known to wait; then both continue."""
    with ThreadPoolExecutor(2) as people, Paused(UPDATE) as pause:
        ahead = people.submit(first)
        assert pause.reached.wait(60)
        behind = people.submit(second)
        with pytest.raises(TimeoutError):
            behind.result(timeout=1.5)
        pause.go.set()
        yield ahead, behind


def test_an_approval_waits_for_a_change_that_was_checked_before_it(on_each_database: World) -> None:
    world = on_each_database
    world.model()
    move, approve = world.store.transition_model_version_stage, world.approve
    with one_waits_for_the_other(lambda: move("m", "1", "Staging", False), lambda: approve("m", 1, PRODUCTION)) as (
        change,
        approval,
    ):
        change.result(60)
        approval.result(60)
    assert world.stages() == [(1, "Production"), (2, "None")]


@pytest.mark.parametrize("call", ["to Staging", "delete", "rename"])
def test_a_change_that_waits_for_an_approval_is_refused_then(on_each_database: World, call: str) -> None:
    world = on_each_database
    world.model()
    calls: dict[str, Callable[[], Any]] = {
        "to Staging": lambda: world.store.transition_model_version_stage("m", "1", "Staging", False),
        "delete": lambda: world.store.delete_model_version("m", "1"),
        "rename": lambda: world.store.rename_registered_model("m", "n"),
    }
    with one_waits_for_the_other(lambda: world.approve("m", 1, PRODUCTION), calls[call]) as (approval, change):
        approval.result(60)
        with pytest.raises(MlflowException) as failed:
            change.result(60)
    assert failed.value.get_http_status_code() == 403
    assert world.stages() == [(1, "Production"), (2, "None")]
    assert world.rows("SELECT name FROM registered_models") == [("m",)]


# --- where a holder came from --------------------------------------------------------------------------------------


def a_run(world: World) -> tuple[str, str]:
    """Its id and the place of its files."""
    run = world.tracking.create_run("0", "ada", 1, [], "run")
    return run.info.run_id, run.info.artifact_uri


def test_the_run_and_the_experiment_of_a_holder_cannot_be_deleted(on_each_database: World) -> None:
    world = on_each_database
    experiment = world.tracking.create_experiment("e")
    run = world.tracking.create_run(experiment, "ada", 1, [], "run").info
    free = world.tracking.create_run(experiment, "ada", 1, [], "free").info.run_id
    world.model(versions=1, source=f"{run.artifact_uri}/model", run_id=run.run_id)
    world.approve("m", 1, PRODUCTION)
    refusal = refused(world.tracking.delete_run, run.run_id)
    assert f"Deleting the run {run.run_id}" in refusal
    refused(world.tracking.delete_experiment, experiment)
    world.tracking.delete_run(free)
    stages = world.rows(f"SELECT lifecycle_stage FROM runs WHERE run_uuid = '{run.run_id}'")
    assert stages == [("active",)]
    world.approve("m", 1, Target.parse("Archived"))
    world.tracking.delete_run(run.run_id)
    world.tracking.delete_experiment(experiment)


def test_a_run_is_found_by_the_files_and_not_by_what_the_version_claims(world: World) -> None:
    """Otherwise a user who names another user's run in a version could keep that run from being deleted."""
    run_id, files = a_run(world)
    claimed, _ = a_run(world)
    world.model(versions=1, source=f"{files}/model", run_id=claimed)
    world.approve("m", 1, CHAMPION)
    refused(world.tracking.delete_run, run_id)
    world.tracking.delete_run(claimed)


def test_a_version_that_claims_a_deleted_run_cannot_be_approved(world: World) -> None:
    claimed, _ = a_run(world)
    world.model(versions=1, run_id=claimed)
    world.tracking.delete_run(claimed)
    with pytest.raises(MlflowException, match="deleted"):
        world.approve("m", 1, CHAMPION)


def test_the_run_that_logged_the_model_of_a_holder_cannot_be_deleted(world: World) -> None:
    run_id, _ = a_run(world)
    logged = world.tracking.create_logged_model("0", "model", source_run_id=run_id)
    world.store.create_registered_model("m")
    with world.store.ManagedSessionMaker(read_only=False) as session:
        session.add(SqlModelVersion(workspace="default", name="m", version=1, source=f"models:/{logged.model_id}",
                                    storage_location=logged.artifact_location, run_id=run_id))  # fmt: skip
    world.approve("m", 1, PRODUCTION)
    refused(world.tracking.delete_run, run_id)


def test_the_logged_model_of_a_holder_cannot_be_deleted(world: World) -> None:
    logged = world.tracking.create_logged_model("0", "model")
    world.store.create_registered_model("m")
    with world.store.ManagedSessionMaker(read_only=False) as session:
        session.add(SqlModelVersion(workspace="default", name="m", version=1, source=f"models:/{logged.model_id}",
                                    storage_location=logged.artifact_location))  # fmt: skip
    world.approve("m", 1, PRODUCTION)
    refused(world.tracking.delete_logged_model, logged.model_id)
    free = world.tracking.create_logged_model("0", "model")
    world.tracking.delete_logged_model(free.model_id)


def test_a_version_whose_run_is_deleted_cannot_be_approved(on_each_database: World) -> None:
    world = on_each_database
    run_id, files = a_run(world)
    world.model(versions=1, source=f"{files}/model", run_id=run_id)
    world.tracking.delete_run(run_id)
    with pytest.raises(MlflowException, match="deleted") as failed:
        world.approve("m", 1, PRODUCTION)
    assert failed.value.get_http_status_code() == 409
    assert world.stages() == [(1, "None")]


def test_of_an_approval_and_the_deletion_of_its_run_one_finds_the_other(on_each_database: World) -> None:
    world = on_each_database
    run_id, files = a_run(world)
    world.model(versions=1, source=f"{files}/model", run_id=run_id)
    with ThreadPoolExecutor(2) as people, Paused("UPDATE runs") as pause:
        deletion = people.submit(world.tracking.delete_run, run_id)
        assert pause.reached.wait(60)
        approval = people.submit(world.approve, "m", 1, PRODUCTION)
        try:
            approval.result(timeout=1.5)
        except TimeoutError:
            pass  # it waits for the deletion
        except MlflowException:
            pass
        pause.go.set()
        ends = [failure is None for failure in (deletion.exception(60), approval.exception(60))]
    assert ends.count(True) == 1
    deleted = world.rows(f"SELECT lifecycle_stage FROM runs WHERE run_uuid = '{run_id}'") == [("deleted",)]
    assert deleted != (world.stages() == [(1, "Production")])


def test_holders_from_before_the_app_are_known_at_its_start(sqlite: str, tmp_path: Path) -> None:
    world = World(sqlite, tmp_path / "artifacts")
    run_id, files = a_run(world)
    world.model(versions=1, source=f"{files}/model", run_id=run_id)
    world.store.transition_model_version_stage("m", "1", "Production", False)
    world.origins.catch_up()
    with walled(world):
        refused(world.tracking.delete_run, run_id)
        # A second start finds nothing to add.
        count = world.rows("SELECT count(*) FROM transition_requests_origins")
        world.origins.catch_up()
        assert world.rows("SELECT count(*) FROM transition_requests_origins") == count


def test_what_a_renamed_holder_came_from_stays_known(world: World) -> None:
    run_id, files = a_run(world)
    world.model(versions=1, source=f"{files}/model", run_id=run_id)
    world.approve("m", 1, PRODUCTION)
    world.somebody.now = Caller("root", admin=True)
    world.store.rename_registered_model("m", "n")
    world.somebody.now = Caller("")
    refused(world.tracking.delete_run, run_id)


@pytest.mark.parametrize(
    "spelling",
    [
        "runs:/{}/model", "runs:///{}/model", "RUNS:/{}/model", "runs:/{}/model?x=1", "runs:/{}/model#x",
        "runs:\t/{}/model", " runs:/{}/model", "runs:/{}/mod%65l", "runs:/{}//model",
    ],
)  # fmt: skip
def test_a_source_by_the_name_of_a_run_is_defended_where_mlflow_would_read_it(world: World, spelling: str) -> None:
    run_id, files = a_run(world)
    world.model(versions=1, source=spelling.format(run_id), run_id=run_id)
    world.approve("m", 1, CHAMPION)
    place = world.origins.located(f"{files}/model/MLmodel")
    assert place is not None
    held = world.origins.touched(digests_of_write(place))
    assert held is not None
    assert held.holder.model.name == "m"
    refused(world.tracking.delete_run, run_id)


@pytest.mark.parametrize("source", ["runs:/", "runs:/0123456789abcdef0123456789abcdef/model", "runs:x"])
def test_a_source_that_names_no_files_is_not_approved(world: World, source: str) -> None:
    world.model(versions=1, source=source, run_id="0123456789abcdef0123456789abcdef")
    with pytest.raises(MlflowException, match="names no files") as failed:
        world.approve("m", 1, PRODUCTION)
    assert failed.value.get_http_status_code() == 409


def test_a_recreated_model_of_the_same_name_is_another_model(world: World) -> None:
    """The first neither defends its files forever nor hides those of the second."""
    first, _ = a_run(world)
    second, files = a_run(world)
    for run_id in (first, second):
        world.model(versions=1, source=f"runs:/{run_id}/model", run_id=run_id)
        world.approve("m", 1, PRODUCTION)
        if run_id == first:
            world.approve("m", 1, Target.parse("Archived"))
            world.store.delete_registered_model("m")
    world.tracking.delete_run(first)
    refused(world.tracking.delete_run, second)
    place = world.origins.located(f"{files}/model/MLmodel")
    assert place is not None
    assert world.origins.touched(digests_of_write(place)) is not None


def test_files_that_were_moved_are_defended_after_the_next_start(sqlite: str, tmp_path: Path) -> None:
    world = World(sqlite, tmp_path / "artifacts")
    run_id, files = a_run(world)
    with walled(world):
        world.model(versions=1, source=f"{files}/model", run_id=run_id)
        world.approve("m", 1, PRODUCTION)
    place = Path(files.removeprefix("file://")).parent
    place.mkdir(parents=True, exist_ok=True)
    place.rename(place.with_name("moved"))
    place.symlink_to(place.with_name("moved"))
    written = world.origins.located(f"{files}/model/MLmodel")
    assert written is not None
    assert "/moved/" in written.place
    assert world.origins.touched(digests_of_write(written)) is None
    world.origins.catch_up()
    assert world.origins.touched(digests_of_write(written)) is not None
    link = world.origins.located(str(place))
    assert link is not None
    assert world.origins.touched(digests_of_removal(link)) is not None
    count = world.rows("SELECT count(*) FROM transition_requests_origins")
    world.origins.catch_up()
    assert world.rows("SELECT count(*) FROM transition_requests_origins") == count


def test_rows_of_a_deleted_model_do_not_hide_new_holders_at_the_start(sqlite: str, tmp_path: Path) -> None:
    world = World(sqlite, tmp_path / "artifacts")
    first, _ = a_run(world)
    second, _ = a_run(world)
    with walled(world):
        world.model(versions=1, source=f"runs:/{first}/model", run_id=first)
        world.approve("m", 1, PRODUCTION)
        world.approve("m", 1, Target.parse("Archived"))
        world.store.delete_registered_model("m")
    # For some time the server runs without the app.
    world.model(versions=1, source=f"runs:/{second}/model", run_id=second)
    world.store.set_registered_model_alias("m", "champion", "1")
    world.origins.catch_up()
    with walled(world):
        refused(world.tracking.delete_run, second)


def test_experiments_that_share_a_place_are_kept_for_what_was_made_in_them_only(world: World) -> None:
    made_in = world.tracking.create_experiment("made in", "s3://bucket/ml")
    beside = world.tracking.create_experiment("beside", "s3://bucket/ml")
    run = world.tracking.create_run(made_in, "ada", 1, [], "run").info
    world.model(versions=1, source=f"{run.artifact_uri}/model", run_id=run.run_id)
    world.approve("m", 1, PRODUCTION)
    world.tracking.delete_experiment(beside)
    refused(world.tracking.delete_experiment, made_in)


def test_with_two_databases_an_administrators_act_is_recorded_beside_the_models(sqlite: str, tmp_path: Path) -> None:
    shutil.copyfile(tmp_path / "mlflow.db", tmp_path / "runs.db")
    world = World(sqlite, tmp_path / "artifacts", runs=f"sqlite:///{tmp_path}/runs.db")
    with walled(world):
        run_id, files = a_run(world)
        world.model(versions=1, source=f"{files}/model", run_id=run_id)
        world.approve("m", 1, PRODUCTION)
        refused(world.tracking.delete_run, run_id)
        world.somebody.now = Caller("root", admin=True)
        world.tracking.delete_run(run_id)
        assert world.rows("SELECT decider FROM transition_requests_history") == [("root",)]


def test_with_two_databases_too_a_deletion_waits_for_the_approval(
    postgres: PostgresServer, mlflow_database: str, tmp_path: Path
) -> None:
    runs = postgres.new_database(like=mlflow_database)
    world = World(postgres.new_database(like=mlflow_database), tmp_path / "artifacts", runs=runs)
    with walled(world):
        run_id, files = a_run(world)
        world.model(versions=1, source=f"{files}/model", run_id=run_id)
        with one_waits_for_the_other(
            lambda: world.approve("m", 1, PRODUCTION), lambda: world.tracking.delete_run(run_id)
        ) as (approval, deletion):
            approval.result(60)
            with pytest.raises(MlflowException) as failed:
                deletion.result(60)
        assert failed.value.get_http_status_code() == 403


def _send(repository: Any, file: Path, folder: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"other"

    asyncio.run(repository.log_artifact_from_async_stream(chunks(), file.name, folder))


WRITES: dict[str, Callable[[Any, Path, str], Any]] = {
    "a file": lambda repository, file, folder: repository.log_artifact(str(file), folder),
    "a folder": lambda repository, file, folder: repository.log_artifacts(str(file.parent), folder),
    "a stream": lambda repository, file, folder: repository.log_artifact_from_stream(io.BytesIO(), file.name, folder),
    "chunks": _send,
}


@contextmanager
def what_the_driver_is_given(engine: Engine) -> Iterator[list[str]]:
    """Statements as the driver gets them, whether by SQLAlchemy or past it, on what is connected from now on too."""
    statements: list[str] = []

    class Noting(psycopg.Cursor[Any]):
        def execute(self, query: Any, *arguments: Any, **named: Any) -> Any:
            statements.append(psycopg.ClientCursor(self.connection).mogrify(query, *arguments[:1]))
            return super().execute(query, *arguments, **named)

    def connect(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection = connect_as_ever(*arguments, **named)
        note(connection)
        return connection

    def note(connection: Any, *_: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_trace_callback(statements.append)
        else:
            connection.cursor_factory = Noting

    def let_be(connection: Any, *_: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_trace_callback(None)
        else:
            connection.cursor_factory = psycopg.Cursor

    connect_as_ever = sqlite3.dbapi2.connect
    event.listen(engine, "checkout", note)
    event.listen(engine, "checkin", let_be)
    sqlite3.dbapi2.connect = connect
    try:
        yield statements
    finally:
        sqlite3.dbapi2.connect = connect_as_ever
        event.remove(engine, "checkout", note)
        event.remove(engine, "checkin", let_be)


@pytest.mark.parametrize("way", WRITES)
def test_each_way_of_writing_to_the_servers_disk_checks_once_before_it_touches_anything(
    world: World, tmp_path: Path, way: str
) -> None:
    _, files = a_run(world)
    world.model(versions=1, source=f"{files}/model")
    world.approve("m", 1, PRODUCTION)
    (tmp_path / "here").mkdir()
    file = tmp_path / "here" / "MLmodel"
    file.write_bytes(b"other")
    guard = ArtifactWall(world.somebody, Refusals(observe=False), world.origins)
    guard.install()
    try:
        repository = artifact_repository_registry.get_artifact_repository(files)
        with what_the_driver_is_given(world.store.engine) as statements:
            refused(WRITES[way], repository, file, "model/data")
            assert not list(Path(files).rglob("*"))
            statements.clear()
            WRITES[way](repository, file, "plots")
    finally:
        guard.remove()
    assert (Path(files) / "plots" / "MLmodel").exists()
    assert len(statements) == 1


def test_an_upload_costs_one_indexed_lookup(on_each_database: World) -> None:
    world = on_each_database
    place = world.origins.located("s3://bucket/a/b/c/d")
    assert place is not None
    with what_the_driver_is_given(world.store.engine) as statements:
        world.origins.touched(digests_of_write(place))
    [statement] = statements
    explain = "EXPLAIN QUERY PLAN " if world.url.startswith("sqlite") else "EXPLAIN "
    with world.store.engine.begin() as connection:
        if not world.url.startswith("sqlite"):
            # An empty table is read whole, whatever indexes it has.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(explain + statement))
    assert re.search(r"USING (COVERING )?INDEX|USING PRIMARY KEY|Index", plan), plan
    assert "SCAN transition_requests_origins" not in plan
    assert "Seq Scan on transition_requests_origins" not in plan
