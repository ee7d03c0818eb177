"""Databases that treat other letters as equal: a name equal to a protected one is refused. On a real MariaDB."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.exceptions import MlflowException
from sqlalchemy import create_engine, text

from reconciler.mlflow_app.identity import Caller
from tests.mlflow_app.test_fuzz_servers import mariadb
from tests.mlflow_app.test_wall import PRODUCTION, World, refused, walled

pytestmark = [
    pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="MariaDB belongs to the long run: LONG_TESTS=1"),
    pytest.mark.skipif(
        shutil.which("mariadbd") is None, reason="there is no mariadbd here: apt install mariadb-server"
    ),
]


@pytest.fixture(params=["utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_bin"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    pytest.importorskip("pymysql", reason="there is no driver for MariaDB here: pip install pymysql")
    with mariadb(tmp_path / "mariadb") as uri:
        engine = create_engine(uri)
        with engine.begin() as connection:
            connection.execute(text(f"ALTER DATABASE COLLATE {request.param}"))
        engine.dispose()
        with walled(World(uri, tmp_path / "artifacts")) as world:
            yield world


def test_names_that_the_database_treats_as_protected_ones_are_refused(world: World) -> None:
    """In each collation: names that it treats as equal are refused, and names that it distinguishes are allowed."""
    store = world.store
    world.model()
    for alias in ("champıon", "chämpion", "CHAMPION", "ｃｈａｍｐｉｏｎ"):
        reached(world, "alias", alias, partial(store.set_registered_model_alias, "m", alias, "2"))
    for key in ("tranßition_requeßt.ßtage.Production", "trànsition_request.stage.Production"):
        tag = ModelVersionTag(key, "x")
        reached(world, "tag", key, partial(store.set_model_version_tag, "m", "2", tag))
    for key in ("mlflow.prompt.iß_prompt", "mlflow.prompt.ïs_prompt"):
        mark = RegisteredModelTag(key, "true")
        reached(world, "prompt", key, partial(store.set_registered_model_tag, "m", mark))
    world.approve("m", 1, PRODUCTION)
    refused(store.transition_model_version_stage, "m", "1", "Archived", False)


ASKED = {
    "alias": "SELECT count(*) FROM registered_model_aliases WHERE alias = 'champion'",
    "tag": "SELECT count(*) FROM model_version_tags WHERE `key` LIKE 'transition\\_request.%'",
    "prompt": "SELECT count(*) FROM registered_model_tags WHERE `key` = 'mlflow.prompt.is_prompt'",
}


def reached(world: World, kind: str, name: str, call: Callable[[], None]) -> None:
    """Whatever the call did, the database finds nothing by the protected name."""
    with contextlib.suppress(MlflowException):
        call()
    with world.store.engine.connect() as connection:
        assert connection.exec_driver_sql(ASKED[kind].replace("%", "%%")).scalar() == 0, name


def test_keys_that_the_database_treats_as_protected_ones_are_refused(world: World) -> None:
    """In each collation: nobody gets a tag there that the database finds by a protected key, or changes one."""
    store = world.store
    world.model()
    world.model("free")
    world.somebody.now = Caller("root", admin=True)
    store.set_registered_model_tag("m", RegisteredModelTag("tier", "1"))
    store.set_model_version_tag("m", "1", ModelVersionTag("tier", "1"))
    world.somebody.now = Caller("ada")
    for key in (
        "tıer",
        "TİER",
        "tiér",
        "TIER",
        "ｔｉｅｒ",
        "tier ",
        "ti\u200ber",
        "ti\u00ader",
        "tier\x01",
        "ti\x7fer",
    ):
        for do in (
            partial(store.set_registered_model_tag, "m", RegisteredModelTag(key, "2")),
            partial(store.set_registered_model_tag, "free", RegisteredModelTag(key, "2")),
            partial(store.set_registered_model_tag, "FREE", RegisteredModelTag(key, "2")),
            partial(store.delete_registered_model_tag, "M", key),
            partial(store.set_model_version_tag, "m", "2", ModelVersionTag(key, "2")),
            partial(store.set_model_version_tag, "M", "1", ModelVersionTag(key, "2")),
            partial(store.delete_model_version_tag, "m", "1", key),
            partial(store.create_model_version, "free", "s3://b/m", tags=[ModelVersionTag(key, "2")]),
        ):
            with contextlib.suppress(MlflowException):
                do()
            assert by_protected_key(world) == [("m", 0, "tier", "1"), ("m", 1, "tier", "1")], (key, do)


def by_protected_key(world: World) -> list[tuple[Any, ...]]:
    found = world.rows("SELECT name, 0, `key`, value FROM registered_model_tags WHERE `key` = 'tier'")
    return found + world.rows("SELECT name, version, `key`, value FROM model_version_tags WHERE `key` = 'tier'")
