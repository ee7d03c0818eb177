"""The app's history of requests: one row for each act, in the act's transaction, in the order of the commits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore
from sqlalchemy import create_engine, inspect, make_url, text
from sqlalchemy.exc import DBAPIError

from reconciler.domain.request import Assurance, Requester
from reconciler.domain.target import Target
from reconciler.mlflow_app import creating, history
from reconciler.mlflow_app.governed import Governed
from reconciler.mlflow_app.history import Event, What
from reconciler.mlflow_app.identity import Caller, Identity, Seal
from reconciler.mlflow_app.options import Options
from reconciler.mlflow_app.requests import TransitionRequests
from reconciler.mlflow_app.store import Registry
from reconciler.mlflow_app.wire import Call
from tests.acceptance.test_daemon import until
from tests.mariadb import mariadb, on_mariadb
from tests.mlflow_app.conftest import Person
from tests.mlflow_app.test_wall import TARGETS, World, made, walled
from tests.postgres import PostgresServer

pytestmark = pytest.mark.xdist_group("wall")
DECISION = "1f0c7a52-6b0e-4c0e-9d3f-2a9b8c7d6e5f"
SAID = (
    f"Approved m version 1 for Production: accuracy. Decided 2026-11-26T10:00:00Z (decision {DECISION}, policy abc123)"
)
ROWS = "SELECT number, what, model, version, target, decider, assurance, decision_id FROM transition_requests_history"


@pytest.fixture(params=["sqlite", "postgresql", pytest.param("mariadb", marks=on_mariadb)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with MLflow's tables, and none of the app's."""
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            place = f"sqlite:///{tmp_path}/mlflow.db"
        elif request.param == "mariadb":
            place = stack.enter_context(mariadb(tmp_path / "mariadb"))
        else:
            server: PostgresServer = request.getfixturevalue("postgres")
            place = server.new_database()
        made(place, tmp_path)
        yield place


@pytest.fixture
def world(url: str, tmp_path: Path) -> Iterator[World]:
    with walled(World(url, tmp_path / "artifacts")) as world:
        world.model()
        yield world


def calls(world: World) -> TransitionRequests:
    options = Options(targets=TARGETS)
    registry = Registry(world.store)
    return TransitionRequests(registry, Identity(options), options, Seal(None), Governed(world.store.engine))


def asked(world: World, **more: Any) -> Call:
    call = Call({"name": "m", "version": "1", "stage": "Production", **more})
    calls(world).create(call, Caller(""))
    return call


def rows(world: World) -> list[tuple[Any, ...]]:
    return world.rows(f"{ROWS} ORDER BY number")


def test_each_act_is_one_row_with_its_number_and_who_did_it(world: World) -> None:
    calls(world).reject(asked(world, requester="ada"), Caller("mia"))
    calls(world).delete(asked(world, requester="ada"), Caller(""))
    calls(world).approve(asked(world, comment=SAID), Caller("svc"))
    place = ("m", 1, "Production")
    assert rows(world) == [
        (1, "filed", *place, "ada", "asserted", None),
        (2, "rejected", *place, "mia", "authenticated", None),
        (3, "filed", *place, "ada", "asserted", None),
        (4, "withdrawn", *place, "", "asserted", None),
        (5, "filed", *place, "", "unknown", None),
        (6, "approved", *place, "svc", "authenticated", DECISION),
    ]
    ids = world.rows("SELECT request_id FROM transition_requests_history ORDER BY number")
    assert ids[0] == ids[1] != ids[2] == ids[3] != ids[4] == ids[5]
    [(earliest, latest)] = world.rows("SELECT min(at_ms), max(at_ms) FROM transition_requests_history")
    assert 0 <= latest - earliest < 600_000


@pytest.mark.parametrize("act", ["create", "approve", "reject", "delete"])
def test_an_act_that_the_history_cannot_take_is_not_done(world: World, act: str) -> None:
    call = Call({"name": "m", "version": "1", "stage": "Production"}) if act == "create" else asked(world)
    tags = "SELECT * FROM model_version_tags"
    before = world.rows(tags), world.stages(), rows(world)
    with world.store.engine.begin() as connection:
        full = "DROP TABLE transition_requests_counter"
        connection.execute(text(full), execution_options={"transition_requests_ours": True})
    with pytest.raises((MlflowException, DBAPIError)):
        getattr(calls(world), act)(call, Caller(""))
    assert (world.rows(tags), world.stages(), rows(world)) == before


def test_history_outlives_its_model_and_keeps_its_name(world: World) -> None:
    calls(world).reject(asked(world), Caller(""))
    world.store.rename_registered_model("m", "n")
    world.store.delete_registered_model("n")
    assert [row[2] for row in rows(world)] == ["m", "m"]


@pytest.mark.parametrize("change", ["UPDATE transition_requests_history SET decider = 'x'",
                                    "DELETE FROM transition_requests_history"])  # fmt: skip
def test_history_can_be_neither_changed_nor_deleted(world: World, change: str) -> None:
    asked(world)
    engine = create_engine(world.url)
    with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
        connection.execute(text(change), execution_options={"transition_requests_ours": True})
    engine.dispose()
    assert len(rows(world)) == 1


def event(model: str) -> Event:
    requester = Requester("ada", Assurance.AUTHENTICATED)
    return Event(What.FILED, "default", model, 1, Target.parse("Production"), requester, "", None)


def test_who_writes_later_commits_later_so_that_a_reader_by_number_misses_none(postgres: PostgresServer) -> None:
    engine = create_engine(postgres.new_database())
    creating.create(engine)
    plain = make_url(str(engine.url.render_as_string(hide_password=False))).set(drivername="postgresql")
    second = threading.Thread(target=lambda: committed(engine, "second"))
    with psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True) as reader:
        read = "SELECT number, model FROM transition_requests_history ORDER BY number"
        with engine.begin() as first:
            history.write(first, event("first"))
            second.start()
            # The second wants to commit before the first does, and waits for its number.
            until(lambda: reader.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() != (0,), "it")
            assert reader.execute(read).fetchall() == []
        second.join(60)
        assert reader.execute(read).fetchall() == [(1, "first"), (2, "second")]
    engine.dispose()


def committed(engine: Any, model: str) -> None:
    with engine.begin() as connection:
        history.write(connection, event(model))


# --- the tables --------------------------------------------------------------------------------------------------

FIRST_RELEASE = """CREATE TABLE transition_requests_history (number {number}, at_ms BIGINT NOT NULL,
workspace VARCHAR(63) NOT NULL, model VARCHAR(256) NOT NULL, version INTEGER, target VARCHAR(256),
decider VARCHAR(256) NOT NULL, sentence TEXT NOT NULL)"""
NUMBERS = {"sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT", "postgresql": "BIGSERIAL PRIMARY KEY",
           "mysql": "BIGINT PRIMARY KEY AUTO_INCREMENT"}  # fmt: skip
OLD_ROW = """INSERT INTO transition_requests_history (at_ms, workspace, model, version, target, decider, sentence)
VALUES (1, 'default', 'm', 1, 'Production', 'root', 'Moved')"""


@pytest.mark.parametrize("old", [False, True], ids=["new", "of the first release"])
def test_many_workers_create_the_tables_at_once_and_keep_the_rows(url: str, old: bool) -> None:
    engine = create_engine(url)
    if old:
        with engine.begin() as connection:
            connection.execute(text(FIRST_RELEASE.format(number=NUMBERS[engine.dialect.name])))
            connection.execute(text(OLD_ROW))
    workers = [create_engine(url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(creating.create, workers))
    with engine.begin() as connection:
        history.write(connection, event("new"))
        assert connection.execute(text("SELECT version FROM transition_requests_schema")).fetchall() == [(2,)]
        kept = connection.execute(text("SELECT number, model, what FROM transition_requests_history ORDER BY 1"))
        was = [(1, "m", "changed")] if old else []
        assert [tuple(row) for row in kept] == [*was, (len(was) + 1, "new", "filed")]
    for each in (engine, *workers):
        each.dispose()


def test_a_start_with_all_tables_in_place_writes_nothing(url: str) -> None:
    engine = create_engine(url)
    creating.create(engine)
    said: list[str] = []
    from sqlalchemy import event as events

    events.listen(engine, "before_cursor_execute", lambda _c, _u, statement, *_: said.append(statement))
    creating.create(engine)
    assert [line for line in said if line.split()[0] not in {"SELECT", "PRAGMA", "DESCRIBE"}] == []
    engine.dispose()


def test_tables_of_a_newer_release_are_refused_in_one_line(url: str) -> None:
    engine = create_engine(url)
    creating.create(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE transition_requests_schema SET version = 3"))
    with pytest.raises(MlflowException, match=r"have version 3, and this release knows 2 at most"):
        creating.create(engine)
    engine.dispose()


def test_mlflows_own_upgrade_and_check_of_its_tables_ignore_ours(url: str, tmp_path: Path) -> None:
    from mlflow.store.db.utils import _upgrade_db

    engine = create_engine(url)
    before = engine.connect().execute(text("SELECT version_num FROM alembic_version")).fetchall()
    creating.create(engine)
    _upgrade_db(engine)
    TrackingStore(url, str(tmp_path)).engine.dispose()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).fetchall() == before
    assert "transition_requests_history" in inspect(engine).get_table_names()
    engine.dispose()


# --- by the list call --------------------------------------------------------------------------------------------


def test_the_list_tells_what_became_of_the_decisions_that_it_is_asked_for(somebody: Person) -> None:
    model = somebody.model("told-in-the-list")
    id = DECISION.replace("1f0c", "1f0d")
    somebody.request("create", model)
    somebody.request("approve", model, archive_existing_versions=False, comment=SAID.replace(DECISION, id))
    asked_for = {"model": model, "decision": [id, DECISION.replace("1f0c", "1f0e")]}
    answer = somebody.call("GET", "transition-requests/list", params=asked_for)
    [row] = answer["decided"]
    assert (row["decision_id"], row["what"], row["name"], row["version"]) == (id, "approved", model, "1")
    assert answer["requests"] == []
    assert "decided" not in somebody.call("GET", "transition-requests/list", params={"model": model})
    status = somebody.code("GET", "transition-requests/list", params={"decision": "x"})
    assert status == (400, "INVALID_PARAMETER_VALUE")
