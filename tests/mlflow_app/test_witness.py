"""The witness sees every change that it watches for, on each database, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mlflow_app.fuzz_world import World, build
from tests.mlflow_app.witness import Change, FileWitness, Witness
from tests.postgres import PostgresServer

_FRAUD_2 = "workspace = 'default' AND name = 'fraud' AND version = 2"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def watched(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Witness, World]]:
    directory = tmp_path_factory.mktemp("watched")
    uri = f"sqlite:///{directory}/mlflow.db"
    if request.param == "postgresql":
        postgres: PostgresServer = request.getfixturevalue("postgres")
        uri = postgres.new_database()
    world = build(uri, directory, direct="file")
    witness = Witness(uri)
    witness.install()
    yield witness, world
    witness.close()


@pytest.mark.parametrize(
    ("statement", "seen"),
    [
        (f"UPDATE model_versions SET current_stage = 'Archived' WHERE {_FRAUD_2}", [("version", "update", "2")]),
        (f"UPDATE model_versions SET storage_location = 's3://x' WHERE {_FRAUD_2}", [("version", "update", "2")]),
        ("UPDATE model_versions SET current_stage = 'Production' WHERE name = 'free' AND version = 1",
         [("version", "update", "1")]),
        ("UPDATE model_versions SET run_link = 'x' WHERE name = 'score' AND version = 1", [("version", "update", "1")]),
        ("UPDATE model_versions SET run_link = 'x' WHERE name = 'score' AND version = 2",
         [("free version", "update", "2")]),
        (f"UPDATE model_versions SET description = 'x', last_updated_time = 7 WHERE {_FRAUD_2}", []),
        ("UPDATE registered_model_aliases SET version = 3 WHERE name = 'fraud' AND alias = 'champion'",
         [("alias", "update", "2")]),
        ("DELETE FROM registered_model_aliases WHERE name = 'greeting'", [("alias", "delete", "1")]),
        ("DELETE FROM registered_model_aliases WHERE alias = 'challenger'", []),
        ("INSERT INTO registered_model_aliases (workspace, name, alias, version) "
         "VALUES ('default', 'free', 'Champion', 1)", [("alias", "insert", "1")]),
        ("DELETE FROM model_version_tags WHERE name = 'score'", [("tag", "delete", "2")]),
        ("INSERT INTO model_version_tags (workspace, name, version, key, value) "
         "VALUES ('default', 'free', 1, 'Transition_Decision.stage.Production', 'x')", [("tag", "insert", "1")]),
        ("INSERT INTO model_version_tags (workspace, name, version, key, value) "
         "VALUES ('default', 'free', 1, 'note', 'x')", []),
        ("INSERT INTO registered_model_tags (workspace, name, key, value) "
         "VALUES ('default', 'fraud', 'mlflow.prompt.is_prompt', 'true')", [("prompt tag", "insert", "")]),
        ("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = '{place.run}'", [("run", "update", "")]),
        ("UPDATE runs SET name = 'x', lifecycle_stage = 'active' WHERE run_uuid = '{place.run}'", []),
        ("UPDATE logged_models SET lifecycle_stage = 'deleted'", [("logged model", "update", "")]),
        ("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE experiment_id = {place.experiment}",
         [("experiment", "update", "")]),
        ("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE experiment_id = 0", []),
    ],
)  # fmt: skip
def test_the_witness_sees_this(
    watched: tuple[Witness, World], statement: str, seen: list[tuple[str, str, str]]
) -> None:
    witness, world = watched
    witness.rows(statement.format(place=world.places[0]))
    assert [(change.thing, change.kind, change.version) for change in witness.changes()] == seen
    witness.restore()
    assert witness.changes() == []


def test_a_rolled_back_change_is_not_seen(watched: tuple[Witness, World]) -> None:
    witness, _ = watched
    witness.rows("BEGIN")
    witness.rows("DELETE FROM registered_model_aliases WHERE name = 'fraud'")
    witness.rows("ROLLBACK")
    assert witness.changes() == []


def test_files_that_are_new_gone_or_other_are_seen_and_put_back(tmp_path: Path) -> None:
    holder = tmp_path / "run" / "model"
    holder.mkdir(parents=True)
    for name in ("MLmodel", "model.pkl"):
        (holder / name).write_text("approved")
    witness = FileWitness(tmp_path, ["run/model"], tmp_path / "kept")
    (holder / "MLmodel").write_text("other")
    (holder / "model.pkl").unlink()
    (holder / "new").write_text("new")
    (tmp_path / "run" / "elsewhere").write_text("free")
    kinds = {Path(change.name).name: change.kind for change in witness.changes()}
    assert kinds == {"MLmodel": "update", "model.pkl": "delete", "new": "insert"}
    witness.restore()
    assert witness.changes() == []


def test_our_tags_are_distinguished_from_free_versions() -> None:
    assert Change("free version", "delete", "", "m").free
    assert not Change("tag", "delete", "", "m").free
