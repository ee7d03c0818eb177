"""Protected tags at the store, in this process: only approvers and administrators change what is read under their keys.

Whether something was written is told by triggers in MLflow's own database, which know nothing of the app.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.entities.workspace import Workspace, WorkspaceDeletionMode
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.dbmodels.models import SqlModelVersionTag, SqlRegisteredModel, SqlRegisteredModelTag
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from mlflow.store.model_registry.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore
from mlflow.store.workspace.sqlalchemy_store import SqlAlchemyStore as WorkspaceStore
from mlflow.utils.workspace_context import WorkspaceContext
from sqlalchemy import delete, insert, text, update

from reconciler.mlflow_app.identity import Caller
from tests.mlflow_app.test_wall import (
    PRODUCTION,
    World,
    mlflow_database,
    mlflow_file,
    on_each_database,
    refused,
    sqlite,
    walled,
    world,
)
from tests.mlflow_app.witness import Witness

__all__ = ["mlflow_database", "mlflow_file", "on_each_database", "sqlite", "world"]
# Each test installs and removes the wall, as those of test_wall.py do.
pytestmark = pytest.mark.xdist_group("wall")

ADA, MIA, ROOT = Caller("ada"), Caller("mia"), Caller("root", admin=True)
TIER, DATE = RegisteredModelTag("tier", "1"), ModelVersionTag("validated.at", "2026-11-01")
PROMPT = RegisteredModelTag("mlflow.prompt.is_prompt", "true")
TAGGED = [("m", 0, "tier", "1"), ("m", 1, "validated.at", "2026-11-01")]
ASK = " is not allowed: only approvers and administrators may, so ask one of them."

# All that MLflow's store can do to a protected tag.
WAYS: dict[str, Callable[[SqlAlchemyStore], Any]] = {
    "another value": lambda store: store.set_registered_model_tag("m", RegisteredModelTag("tier", "2")),
    "an empty value": lambda store: store.set_registered_model_tag("m", RegisteredModelTag("tier", "")),
    "delete": lambda store: store.delete_registered_model_tag("m", "tier"),
    "set": lambda store: store.set_registered_model_tag("free", TIER),
    "another value on a version": lambda store: store.set_model_version_tag("m", "1", ModelVersionTag(DATE.key, "x")),
    "delete on a version": lambda store: store.delete_model_version_tag("m", "1", DATE.key),
    "set on a version": lambda store: store.set_model_version_tag("m", "2", DATE),
    "a model's key on a version": lambda store: store.set_model_version_tag("m", "2", ModelVersionTag("tier", "1")),
    "with a new version": lambda store: store.create_model_version("m", "s3://b/m", tags=[DATE]),
    "with a new model": lambda store: store.create_registered_model("new", [RegisteredModelTag("team", "a"), TIER]),
    "with a new prompt": lambda store: store.create_registered_model("new", [PROMPT, TIER]),
    "delete the version": lambda store: store.delete_model_version("m", "1"),
    "delete the model": lambda store: store.delete_registered_model("m"),
    "rename the model": lambda store: store.rename_registered_model("m", "new"),
}  # fmt: skip


@pytest.fixture
def tagged(world: World) -> World:
    return with_tags(world)


def with_tags(world: World) -> World:
    """`m` has the tag tier, and its version 1 validated.at; version 2 has none, nor has `free`. Ada calls."""
    world.somebody.now = ROOT
    world.model()
    world.model("free")
    world.store.set_registered_model_tag("m", TIER)
    world.store.set_model_version_tag("m", "1", DATE)
    world.somebody.now = ADA
    return world


@pytest.fixture
def witness(tagged: World) -> Iterator[Witness]:
    """Sees what is committed from now on, by triggers."""
    witness = Witness(tagged.url)
    witness.install()
    yield witness
    witness.close()


def tags(world: World) -> list[tuple[Any, ...]]:
    of_models = world.rows("SELECT name, 0, key, value FROM registered_model_tags")
    return sorted(of_models + world.rows("SELECT name, version, key, value FROM model_version_tags"))


def told(world: World) -> list[tuple[Any, ...]]:
    return world.rows("SELECT model, version, decider, what, sentence FROM transition_requests_history ORDER BY number")


def test_nobody_else_changes_a_protected_tag(on_each_database: World) -> None:
    world = with_tags(on_each_database)
    witness = Witness(world.url)
    witness.install()
    for way, call in WAYS.items():
        said = refused(call, world.store)
        assert said.endswith(ASK), way
        assert "the protected tag" in said
        assert witness.changes() == [], way
    assert tags(world) == TAGGED
    assert world.rows("SELECT count(*) FROM registered_models") == [(2,)]
    witness.close()


@pytest.mark.parametrize("caller", [MIA, ROOT], ids=["approver", "administrator"])
@pytest.mark.parametrize("way", WAYS)
def test_approvers_and_administrators_do_and_it_is_on_record(
    tagged: World, witness: Witness, way: str, caller: Caller
) -> None:
    tagged.somebody.now = caller
    if not caller.admin:
        tagged.somebody.decides_about = frozenset({"m", "free"} if "prompt" in way else {"m", "free", "new"})
        tagged.somebody.decides_about_prompts = frozenset({"new"} if "prompt" in way else ())
    before = len(told(tagged))
    WAYS[way](tagged.store)
    assert any(change.thing == "protected tag" for change in witness.changes())
    rows = told(tagged)[before:]
    assert [(row[2], row[3]) for row in rows] == [(caller.name, "changed")]
    assert ("administrator root, directly" if caller.admin else "approver mia") in rows[0][4]


def test_the_record_says_what_a_tag_said_and_says(tagged: World) -> None:
    tagged.somebody.now, tagged.somebody.decides_about = MIA, frozenset({"m"})
    long = "\u202e" + "9" * 3000
    for do in (
        lambda: tagged.store.set_registered_model_tag("m", RegisteredModelTag("tier", long)),
        lambda: tagged.store.delete_registered_model_tag("m", "tier"),
        lambda: tagged.store.set_registered_model_tag("m", TIER),
        lambda: tagged.store.set_model_version_tag("m", "2", DATE),
    ):
        do()
    changed, deleted, made, dated = (row[4] for row in told(tagged)[-4:])
    assert changed.startswith("Changing the protected tag tier 20")
    assert " by approver mia. It said '1', and says '\\u202e999" in changed
    assert len(changed) < 300
    assert deleted.startswith("Deleting the protected tag tier ")
    assert made.endswith(" by approver mia. It says '1'.")
    assert dated.endswith(" It says '2026-11-01'.")
    assert told(tagged)[-1][:2] == ("m", 2)


def test_an_act_that_cannot_be_recorded_is_not_done(sqlite: str, tmp_path: Path) -> None:
    with walled(World(sqlite, tmp_path / "artifacts")) as world:
        world.model()
        world.somebody.now, world.somebody.decides_about = MIA, frozenset({"m"})
        world.rows(
            "CREATE TRIGGER full BEFORE INSERT ON transition_requests_history BEGIN SELECT RAISE(ABORT, 'x'); END"
        )
        with pytest.raises(MlflowException) as failed:
            world.store.set_registered_model_tag("m", TIER)
        assert failed.value.get_http_status_code() == 503
        assert tags(world) == []


# --- who is an approver, of what ---------------------------------------------------------------------------------


def test_an_approver_of_one_model_changes_no_other_and_gives_no_tag_another_name(tagged: World) -> None:
    tagged.somebody.now, tagged.somebody.decides_about = MIA, frozenset({"m"})
    refused(tagged.store.set_registered_model_tag, "free", TIER)
    # A name that she may not decide about would get the tags of one that she may.
    refused(tagged.store.rename_registered_model, "m", "new")
    tagged.somebody.decides_about = frozenset({"new"})
    refused(tagged.store.rename_registered_model, "m", "new")
    tagged.somebody.decides_about = frozenset({"m", "new"})
    tagged.store.rename_registered_model("m", "new")
    assert tags(tagged) == [("new", *row[1:]) for row in TAGGED]


def test_approvers_of_models_are_none_of_prompts_and_the_other_way_round(tagged: World) -> None:
    store, somebody = tagged.store, tagged.somebody
    somebody.now, somebody.decides_about = MIA, frozenset({"p", "m"})
    store.create_registered_model("p", [PROMPT])
    for call in (
        lambda: store.set_registered_model_tag("p", TIER),
        lambda: store.create_model_version("p", "prompt-template", tags=[DATE]),
        lambda: store.create_registered_model("q", [PROMPT, TIER]),
    ):
        refused(call)
    somebody.decides_about, somebody.decides_about_prompts = frozenset(), frozenset({"p", "m"})
    store.set_registered_model_tag("p", TIER)
    refused(store.set_registered_model_tag, "m", RegisteredModelTag("tier", "2"))
    store.delete_registered_model("p")


def test_an_approver_is_not_let_through_to_anything_else(tagged: World) -> None:
    tagged.approve("m", 1, PRODUCTION)
    tagged.somebody.now, tagged.somebody.decides_about = MIA, frozenset({"m", "n"})
    store = tagged.store
    for call in (
        lambda: store.transition_model_version_stage("m", "2", "Production", False),
        lambda: store.delete_model_version("m", "1"),
        lambda: store.rename_registered_model("m", "n"),
        lambda: store.set_model_version_tag("m", "1", ModelVersionTag("transition_decision.stage.Production", "x")),
        lambda: store.set_registered_model_tag("m", PROMPT),
    ):
        refused(call)
    assert tagged.stages() == [(1, "Production"), (1, "None"), (2, "None"), (2, "None")]


# --- what stays free ---------------------------------------------------------------------------------------------


def test_everything_else_stays_free(tagged: World, witness: Witness) -> None:
    store = tagged.store
    store.set_registered_model_tag("m", RegisteredModelTag("team", "risk"))
    store.set_registered_model_tag("m", TIER)  # changes nothing
    store.set_model_version_tag("m", "1", ModelVersionTag("tiers", "1"))
    store.delete_model_version_tag("m", "1", "tiers")
    store.delete_registered_model_tag("free", "tier")  # there is none
    store.create_model_version("m", "s3://b/m", tags=[ModelVersionTag("k", "v")])
    store.update_model_version("m", "1", "described")
    store.update_registered_model("m", "described")
    store.transition_model_version_stage("m", "1", "Staging", False)
    store.delete_model_version("m", "2")
    store.rename_registered_model("free", "freer")
    store.delete_registered_model("freer")
    assert [change for change in witness.changes() if change.thing == "protected tag"] == []


def test_a_version_that_is_gone_keeps_no_model(tagged: World) -> None:
    """MLflow keeps the tags of a deleted version where nobody sees them."""
    tagged.somebody.now = ROOT
    tagged.store.delete_registered_model_tag("m", "tier")
    tagged.store.delete_model_version("m", "1")
    tagged.somebody.now = ADA
    tagged.store.rename_registered_model("m", "n")
    tagged.store.delete_registered_model("n")


# --- spellings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["TIER", "Tier", "tier ", "tiér", "ｔｉｅｒ", "ᵗier", "tier\n"])
def test_a_key_that_some_database_takes_for_a_protected_one_is_refused(tagged: World, key: str) -> None:
    refused(tagged.store.set_registered_model_tag, "free", RegisteredModelTag(key, "2"))
    refused(tagged.store.set_model_version_tag, "m", "2", ModelVersionTag(key, "2"))
    assert tags(tagged) == TAGGED


# --- ways that no call of MLflow's takes -------------------------------------------------------------------------


def test_statements_and_rows_of_a_session_are_judged_too(tagged: World, witness: Witness) -> None:
    row: Any = SqlRegisteredModelTag
    of_version: Any = SqlModelVersionTag
    where, is_m = {"workspace": "default", "name": "m"}, SqlRegisteredModel.name == "m"

    def another_key(session: Any) -> None:
        session.get(row, ("default", "tier", "m")).key = "note"

    def another_model(session: Any) -> None:
        session.get(row, ("default", "tier", "m")).name = "free"

    def another_version(session: Any) -> None:
        session.get(of_version, ("default", "validated.at", "m", 1)).version = 2

    def by_the_model(session: Any) -> None:
        model = session.get(SqlRegisteredModel, ("default", "m"))
        model.registered_model_tags.append(row(**where, key="Tier", value=""))

    def with_a_new_name(session: Any) -> None:
        model = session.get(SqlRegisteredModel, ("default", "free"))
        model.name = "freer"
        session.add(row(workspace="default", name="free", key="tier", value="2"))

    for do in (
        another_key, another_model, another_version, by_the_model, with_a_new_name,
        lambda session: session.execute(update(row).values(value="2")),
        lambda session: session.execute(delete(row)),
        lambda session: session.execute(insert(row).values(**where, key="tier", value="2")),
        lambda session: session.query(of_version).update({"value": "2"}),
        lambda session: session.bulk_insert_mappings(of_version, [{**where, "version": 2, "key": "tier"}]),
        lambda session: session.bulk_save_objects([of_version(**where, version=2, key="tier", value="2")]),
        lambda session: session.execute(text("UPDATE registered_model_tags SET value = '2'")),
        lambda session: session.execute(text("INSERT INTO registered_model_tags (workspace, name, key, value) VALUES "
                                             "('default', 'm', 'tier', '2') ON CONFLICT DO NOTHING")),
        lambda session: session.execute(update(SqlRegisteredModel).where(is_m).values(name="n")),
        lambda session: session.execute(delete(SqlRegisteredModel).where(is_m)),
    ):  # fmt: skip
        refused(_within, tagged, do)
    assert witness.changes() == []
    assert tags(tagged) == TAGGED


def _within(world: World, do: Callable[[Any], Any]) -> None:
    with world.store.ManagedSessionMaker(read_only=False) as session:
        do(session)


def test_the_wall_that_only_observes_lets_it_pass_and_says_so(
    sqlite: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with walled(World(sqlite, tmp_path / "artifacts")) as world:
        world.refusals.observe = True
        world.model()
        world.somebody.now = ADA
        world.store.set_registered_model_tag("m", TIER)
        assert tags(world) == [TAGGED[0]]
        assert told(world) == []
    assert "would refuse ada: Setting the protected tag tier is not allowed" in caplog.text


# --- workspaces --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [WorkspaceDeletionMode.CASCADE, WorkspaceDeletionMode.SET_DEFAULT])
def test_the_approver_of_one_workspace_is_none_of_another(
    sqlite: str, tmp_path: Path, mode: WorkspaceDeletionMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    with walled(World(sqlite, tmp_path / "artifacts", WorkspaceAwareSqlAlchemyStore)) as world:
        workspaces = WorkspaceStore(sqlite)
        workspaces.create_workspace(Workspace(name="team-a"))
        world.somebody.now, world.somebody.decides_about = MIA, frozenset({"m"})
        with WorkspaceContext("team-a"):
            world.model()
            world.store.set_registered_model_tag("m", TIER)
        with WorkspaceContext("default"):
            refused(workspaces.delete_workspace, "team-a", mode)
        world.somebody.now = ROOT
        with WorkspaceContext("default"):
            workspaces.delete_workspace("team-a", mode)
        left = [("default", "m")] if mode is WorkspaceDeletionMode.SET_DEFAULT else []
        assert world.rows("SELECT workspace, name FROM registered_model_tags") == left


# --- at the same moment ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["delete the model", "rename the model", "delete the version"])
def test_a_deletion_waits_for_a_tag_that_is_being_written(on_each_database: World, way: str) -> None:
    world = on_each_database
    world.model(versions=1)
    world.somebody.now, world.somebody.decides_about = MIA, frozenset({"m", "new"})
    with ThreadPoolExecutor(1) as people:
        with world.store.ManagedSessionMaker(read_only=False) as session:
            session.merge(SqlModelVersionTag(workspace="default", name="m", version=1, key="tier", value="1"))
            session.flush()
            world.somebody.now, world.somebody.decides_about = ADA, frozenset()
            deletion = people.submit(WAYS[way], world.store)
            with pytest.raises(TimeoutError):
                deletion.result(timeout=1.5)
        with pytest.raises(MlflowException) as failed:
            deletion.result(60)
    assert failed.value.get_http_status_code() == 403, failed.value
    assert tags(world) == [("m", 1, "tier", "1")]
