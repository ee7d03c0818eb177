"""The registry that the fuzz test attacks: versions that hold Production and @champion, and what they came from.

Made through MLflow's own stores, without the app, as a program of its own, since MLflow reads its settings once:

    python -m tests.mlflow_app.fuzz_world --uri sqlite:///mlflow.db --directory DIR [--workspaces] [--auth]
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from tests import forker

PASSWORD = "a-long-enough-password"
ADMINISTRATOR, APPROVER, READER, EDITOR, MANAGER = "root", "ann", "rita", "ed", "mia"
USERS = (APPROVER, READER, EDITOR, MANAGER, "spare")
# team-a has the same names as default, so that they can be confused; team-b can be merged into default.
WORKSPACES = {"default": "", "team-a": "", "team-b": "-b"}
PROTECTED = "Production,@champion"
# What the policy rests on, where users log in: on `tagged`, and on its first version.
PROTECTED_KEYS = {"tier": "1", "validated.at": "2026-11-01"}
GRANTS = {EDITOR: "EDIT", MANAGER: "MANAGE"}
# An experiment that keeps its artifacts elsewhere, without the proxy.
DIRECT = "direct"
BYTES = "the bytes that were approved\n"


@dataclass(frozen=True)
class Place:
    """A workspace, or the whole of a server without workspaces; paths are below the artifacts' destination."""

    workspace: str
    suffix: str
    experiment: str
    run: str
    other_run: str
    logged_model: str
    run_path: str
    logged_model_path: str
    direct_experiment: str = ""
    direct_run: str = ""


@dataclass(frozen=True)
class World:
    """What the calls are about. `holders` are directories whose bytes an approved version is made of."""

    places: tuple[Place, ...]
    holders: tuple[str, ...]

    @classmethod
    def read(cls, directory: Path) -> World:
        data = json.loads((directory / "world.json").read_text())
        return cls(tuple(Place(**place) for place in data["places"]), tuple(data["holders"]))


def build(uri: str, directory: Path, *, workspaces: bool = False, auth: bool = False, direct: str = "") -> World:
    """In a process of its own. `direct` is the scheme of the artifacts that are not proxied; "" means none."""
    directory.mkdir(parents=True, exist_ok=True)
    arguments = ["--uri", uri, "--directory", str(directory), "--direct", direct]
    arguments += ["--workspaces"] if workspaces else []
    arguments += ["--auth"] if auth else []
    made = forker.run(forker.MLFLOW, __name__, *arguments, environment=_environment(uri, directory, workspaces))
    if made.returncode:
        raise AssertionError(f"the world was not made: {made.stderr[-2000:]}")
    return World.read(directory)


def auth_config(directory: Path, workspaces: bool) -> Path:
    """basic-auth with its default, READ for every user; passwords are checked once, not in each of 5,000 calls."""
    config = directory / "basic_auth.ini"
    config.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{directory}/auth.db\n"
        f"admin_username = {ADMINISTRATOR}\nadmin_password =\nauth_cache_ttl_seconds = 3600\n"
        f"grant_default_workspace_access = {'true' if workspaces else 'false'}\n"
    )
    return config


def _environment(uri: str, directory: Path, workspaces: bool) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if "MLFLOW" not in name}
    clean |= {"MLFLOW_TRACKING_URI": uri, "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD, "HOME": str(directory)}
    clean |= {"MLFLOW_ENABLE_WORKSPACES": "true", "MLFLOW_WORKSPACE_STORE_URI": uri} if workspaces else {}
    return clean | {
        "MLFLOW_AUTH_CONFIG_PATH": str(auth_config(directory, workspaces)),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a secret of this test",
    }


# --- in the process that builds it ---------------------------------------------------------------------------


class _Maker:
    def __init__(self, uri: str, directory: Path, workspaces: bool, direct: str) -> None:
        self._directory = directory
        self._direct = direct
        self._suffix = ""
        self._workspaces = workspaces
        self.tracking, self.registry = _stores(uri, workspaces)
        self.holders: list[str] = []

    def place(self, workspace: str) -> Place:
        self._suffix = WORKSPACES[workspace]
        experiment = self.tracking.create_experiment(f"work in {workspace}")
        run, other = (self._run(experiment) for _ in range(2))
        logged = self.tracking.create_logged_model(experiment, source_run_id=other.info.run_id)
        self.tracking.finalize_logged_model(logged.model_id, _ready())
        run_path = self._files(f"{run.info.artifact_uri}/model", holds=True)
        logged_path = self._files(logged.artifact_location, holds=True)
        self._files(f"{other.info.artifact_uri}/model", holds=False)
        self._models(run, other, logged.model_id)
        direct_experiment, direct_run = self._direct_holder(workspace)
        return Place(
            workspace, self._suffix, experiment, run.info.run_id, other.info.run_id, logged.model_id, run_path,
            logged_path,            direct_experiment, direct_run,
        )  # fmt: skip

    def _run(self, experiment: str) -> Any:
        return self.tracking.create_run(experiment, "ed", 0, [], "a run")

    def _models(self, run: Any, other: Any, logged: str) -> None:
        self._model("fraud", 0)
        self._version("fraud", "s3://bucket/first")
        self._version("fraud", f"{run.info.artifact_uri}/model", run.info.run_id, "Production", ["champion"])
        self._version("fraud", f"{other.info.artifact_uri}/model", other.info.run_id, aliases=["challenger"])
        self._version("fraud", "s3://bucket/fourth", stage="Staging")
        self._model("score", 0)
        self._version("score", f"models:/{logged}", aliases=["champion"])
        self._version("score", "s3://bucket/second")
        self._model("free", 2)
        self._tagged()
        self._model("greeting", 0, prompt=True)
        self._version("greeting", "prompt-template", aliases=["champion"], prompt=True)
        self._version("greeting", "prompt-template", prompt=True)
        self._ask("fraud", "3", "stage.Production", READER, "r-1")
        self._ask("fraud", "3", "alias.champion", EDITOR, "r-2")
        self._ask("fraud", "2", "stage.Archived", READER, "r-3")
        self._ask("score", "2", "alias.champion", APPROVER, "r-4")
        self._ask("free", "1", "stage.Production", MANAGER, "r-5")
        self._ask("free", "2", "stage.Staging", READER, "r-6")

    def _tagged(self) -> None:
        from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag

        self._model("tagged", 2)
        tier, validated = PROTECTED_KEYS.items()
        self.registry.set_registered_model_tag("tagged" + self._suffix, RegisteredModelTag(*tier))
        self.registry.set_model_version_tag("tagged" + self._suffix, "1", ModelVersionTag(*validated))

    def _direct_holder(self, workspace: str) -> tuple[str, str]:
        if not self._direct or self._workspaces:
            return "", ""
        where = f"{self._direct}://{self._directory / DIRECT}"
        experiment = self.tracking.create_experiment(f"direct in {workspace}", where)
        run = self._run(experiment)
        self._files(f"{run.info.artifact_uri}/model", holds=True)
        self._model("direct", 0)
        self._version("direct", f"{run.info.artifact_uri}/model", run.info.run_id, "Production")
        self._version("direct", "s3://bucket/second")
        return experiment, run.info.run_id

    def _files(self, uri: str, *, holds: bool) -> str:
        """Puts bytes where this location is; returns its path below the destination."""
        parsed = urlparse(uri)
        proxied = parsed.scheme == "mlflow-artifacts"
        place = self._directory / "artifacts" / parsed.path.lstrip("/") if proxied else Path(parsed.path)
        place.mkdir(parents=True)
        for name in ("MLmodel", "model.pkl"):
            (place / name).write_text(BYTES)
        (place / "data").mkdir()
        (place / "data" / "weights.bin").write_text(BYTES)
        inside = str(place.relative_to(self._directory))
        if holds:
            self.holders.append(inside)
        return inside.removeprefix("artifacts/")

    def _model(self, name: str, versions: int, *, prompt: bool = False) -> None:
        from mlflow.entities.model_registry import RegisteredModelTag

        tags = [RegisteredModelTag("mlflow.prompt.is_prompt", "true")] if prompt else []
        self.registry.create_registered_model(name + self._suffix, tags)
        for _ in range(versions):
            self._version(name, "s3://bucket/model")

    def _version(
        self, name: str, source: str, run: str | None = None, stage: str = "", aliases: Sequence[str] = (),
        *, prompt: bool = False,
    ) -> None:  # fmt: skip
        from mlflow.entities.model_registry import ModelVersionTag

        keys = {"mlflow.prompt.is_prompt": "true", "mlflow.prompt.text": "hello"} if prompt else {}
        tags = [ModelVersionTag(key, value) for key, value in keys.items()]
        made = self.registry.create_model_version(name + self._suffix, source, run, tags)
        if stage:
            self.registry.transition_model_version_stage(name + self._suffix, made.version, stage, False)
        for alias in aliases:
            self.registry.set_registered_model_alias(name + self._suffix, alias, made.version)

    def _ask(self, name: str, version: str, target: str, who: str, id: str) -> None:
        from mlflow.entities.model_registry import ModelVersionTag

        value = {"id": id, "requester": who, "requested_at": "2026-01-02T03:04:05.000Z", "comment": "please"}
        tag = ModelVersionTag(f"transition_request.{target}", json.dumps(value))
        self.registry.set_model_version_tag(name + self._suffix, version, tag)


def _ready() -> Any:
    from mlflow.entities import LoggedModelStatus

    return LoggedModelStatus.READY


def _stores(uri: str, workspaces: bool) -> tuple[Any, Any]:
    if workspaces:
        from mlflow.store.model_registry.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore as Registry
        from mlflow.store.tracking.sqlalchemy_workspace_store import WorkspaceAwareSqlAlchemyStore as Tracking
    else:
        from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as Registry
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Tracking
    return Tracking(uri, "mlflow-artifacts:/"), Registry(uri)


@contextmanager
def _inside(workspace: str, workspaces: bool) -> Iterator[None]:
    if not workspaces:
        yield
        return
    from mlflow.utils.workspace_context import WorkspaceContext

    with WorkspaceContext(workspace):
        yield


def _make_workspace(uri: str, name: str) -> None:
    from mlflow.entities.workspace import Workspace
    from mlflow.store.workspace.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(uri).create_workspace(Workspace(name))


def _make_users(directory: Path, workspaces: bool) -> None:
    from mlflow.server import auth

    auth.store.init_db(f"sqlite:///{directory}/auth.db")
    auth.store.create_user(ADMINISTRATOR, PASSWORD, is_admin=True)
    for user in USERS:
        auth.store.create_user(user, PASSWORD)
    for workspace in WORKSPACES if workspaces else ("default",):
        with _inside(workspace, workspaces):
            _grant(auth.store, workspace, workspaces)


def _grant(store: Any, workspace: str, workspaces: bool) -> None:
    for user in USERS:
        if workspaces:
            store.set_workspace_permission(workspace, user, "USE")
        level = GRANTS.get(user, "READ")
        for kind in ("registered_model", "prompt"):
            store.grant_user_permission(user, kind, "*", level)
        # A user who creates models owns the experiments that they come from.
        store.grant_user_permission(user, "experiment", "*", "MANAGE" if user in GRANTS else "READ")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--uri", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--workspaces", action="store_true")
    parser.add_argument("--auth", action="store_true")
    parser.add_argument("--direct", default="")
    arguments = parser.parse_args()
    maker = _Maker(arguments.uri, arguments.directory, arguments.workspaces, arguments.direct)
    places = []
    for workspace in WORKSPACES if arguments.workspaces else ("default",):
        if workspace != "default":
            _make_workspace(arguments.uri, workspace)
        with _inside(workspace, arguments.workspaces):
            places.append(maker.place(workspace))
    if arguments.auth:
        _make_users(arguments.directory, arguments.workspaces)
    world = World(tuple(places), tuple(maker.holders))
    (arguments.directory / "world.json").write_text(json.dumps(asdict(world)))


if __name__ == "__main__":
    main()
