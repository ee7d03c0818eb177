"""No call of the server changes the files of a version that holds a protected target."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from reconciler.demo.server import mlflow_server
from reconciler.mlflow_app.locations import Places, and_above
from tests.mlflow_app.conftest import Person

APP = ("--app-name", "transition-requests")
PROXY = "/api/2.0/mlflow-artifacts"


@dataclass
class Server:
    person: Person
    files: Path

    def run(self) -> tuple[str, str]:
        """The id of a new run, and the path of its files below the artifact proxy."""
        info = self.person.call("POST", "runs/create", json={"experiment_id": "0"})["run"]["info"]
        return info["run_id"], info["artifact_uri"].removeprefix("mlflow-artifacts:/")

    def put(self, path: str, prefix: str = PROXY) -> requests.Response:
        return self.person.send("PUT", f"{prefix}/artifacts/{path}", data=b"bytes")

    def remove(self, path: str) -> requests.Response:
        return self.person.send("DELETE", f"{PROXY}/artifacts/{path}")

    def holder(self) -> tuple[str, str, str]:
        """Name, run and files of a model whose version 1 holds Production."""
        run, path = self.logged()
        return self.approved(run, path), run, path

    def logged(self) -> tuple[str, str]:
        """Run and files of a model that is logged."""
        run, path = self.run()
        assert self.put(f"{path}/model/MLmodel").status_code == 200
        assert self.put(f"{path}/model/data/weights").status_code == 200
        return run, path

    def approved(self, run: str, path: str) -> str:
        """The name of the model, whose version 1 holds Production from now on."""
        name = f"held-{run}"
        self.person.call("POST", "registered-models/create", json={"name": name})
        body = {"name": name, "source": f"mlflow-artifacts:/{path}/model", "run_id": run}
        self.person.call("POST", "model-versions/create", json=body)
        self.person.request("create", name)
        self.person.request("approve", name)
        return name

    def seen(self) -> dict[str, str]:
        """The witness: every file on the disk, and its sha256."""
        return {
            str(file.relative_to(self.files)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in sorted(self.files.rglob("*"))
            if file.is_file()
        }


@pytest.fixture(scope="module", params=["uvicorn", "gunicorn"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("bytes")
    options = ["--gunicorn-opts="] if request.param == "gunicorn" else []
    with mlflow_server(directory, *APP, *options) as uri:
        yield Server(Person(uri), directory / "artifacts")


SPELLINGS: list[Callable[[str], str]] = [
    lambda path: f"{path}/model/MLmodel",
    lambda path: f"{path}/model/new-file",
    lambda path: f"{path}/./model//MLmodel",
    lambda path: f"{path}/%6dodel/MLmodel",
    lambda path: f"{path}/model%2FMLmodel",
    lambda path: f"{path}/%256dodel/MLmodel",
    lambda path: f"/{path}/model/MLmodel",
]


@pytest.mark.parametrize("spelling", range(len(SPELLINGS)))
@pytest.mark.parametrize("prefix", [PROXY, "/ajax-api/2.0/mlflow-artifacts"])
def test_no_upload_and_no_deletion_reaches_a_holders_files(server: Server, spelling: int, prefix: str) -> None:
    _, _, path = server.holder()
    before = server.seen()
    place = SPELLINGS[spelling](path)
    for reply in (server.put(place, prefix), server.person.send("DELETE", f"{prefix}/artifacts/{place}")):
        assert 400 <= reply.status_code < 500, reply.text
    assert server.seen() == before


def test_a_run_that_was_moved_and_linked_before_the_approval_is_defended_by_both_names(server: Server) -> None:
    run, path = server.logged()
    place, moved = server.files / path.removesuffix("/artifacts"), server.files / f"moved-{run}"
    place.rename(moved)
    place.symlink_to(moved)
    server.approved(run, path)
    before = server.seen()
    for reply in (
        server.put(f"{path}/model/MLmodel"),
        server.remove(f"{path}/model"),
        server.put(f"moved-{run}/artifacts/model/MLmodel"),
        # The link itself: without it, the version's files would be others.
        server.put(path.removesuffix("/artifacts")),
        server.remove(path.removesuffix("/artifacts")),
        server.remove(path.split("/", maxsplit=1)[0]),
    ):
        assert reply.status_code == 403, reply.text
    assert server.seen() == before
    assert place.is_symlink()
    assert server.put(f"{path}/plots/a.png").status_code == 200


def test_a_link_inside_a_holders_files_is_neither_replaced_nor_written_through(server: Server) -> None:
    run, path = server.logged()
    blobs, model = server.files / f"blobs-{run}", server.files / path / "model"
    (blobs / "folder").mkdir(parents=True)
    (blobs / "file").write_bytes(b"linked")
    (blobs / "folder/part").write_bytes(b"linked")
    (model / "file").symlink_to(blobs / "file")
    (model / "folder").symlink_to(blobs / "folder")
    (model / "outside").symlink_to("/nowhere")
    server.approved(run, path)
    before = server.seen()
    for name in ("file", "folder/part", "folder/new", "outside"):
        assert server.put(f"{path}/model/{name}").status_code == 403
        assert server.remove(f"{path}/model/{name}").status_code == 403
    assert server.seen() == before
    assert (model / "outside").is_symlink()


def test_the_refusal_names_the_version_and_says_what_to_do(server: Server) -> None:
    name, _, path = server.holder()
    reply = server.put(f"{path}/model/MLmodel")
    assert reply.status_code == 403
    message = reply.json()["message"]
    assert f"version 1 of '{name}'" in message
    assert "register a new version" in message


def test_folders_above_a_holder_cannot_be_deleted_and_its_neighbours_can(server: Server) -> None:
    _, run, path = server.holder()
    assert server.put(f"{path}/plots/a.png").status_code == 200
    before = server.seen()
    for folder in (f"{path}/model", path, path.split("/", maxsplit=1)[0], f"0/{run}"):
        assert server.person.send("DELETE", f"{PROXY}/artifacts/{folder}").status_code == 403
    assert server.seen() == before
    assert server.person.send("DELETE", f"{PROXY}/artifacts/{path}/plots").status_code == 200
    assert server.put(f"{path}/model-2/MLmodel").status_code == 200
    assert server.person.send("GET", f"{PROXY}/artifacts/{path}/model/MLmodel").content == b"bytes"


def test_the_upload_of_the_web_page_is_refused_too(server: Server) -> None:
    _, run, _ = server.holder()
    before = server.seen()
    query = {"run_uuid": run, "path": "model/MLmodel"}
    reply = server.person.send("POST", "/ajax-api/2.0/mlflow/upload-artifact", params=query, data=b"other")
    assert (reply.status_code, reply.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert server.seen() == before


def test_files_of_a_version_that_no_longer_holds_anything_can_be_changed(server: Server) -> None:
    name, _, path = server.holder()
    server.person.request("create", name, "Archived")
    server.person.request("approve", name, "Archived")
    assert server.put(f"{path}/model/MLmodel").status_code == 200


def test_the_run_of_a_holder_stays_and_the_refusal_names_it(server: Server) -> None:
    _, run, _ = server.holder()
    reply = server.person.send("POST", "runs/delete", json={"run_id": run})
    assert reply.status_code == 403
    assert run in reply.json()["message"]
    reply = server.person.send("POST", "experiments/delete", json={"experiment_id": "0"})
    assert reply.status_code == 403


def test_every_spelling_of_a_place_has_one_canonical_form() -> None:
    places = Places("/srv/artifacts")
    same = {
        places.canonical(uri)
        for uri in (
            "mlflow-artifacts:/0/run/artifacts/model", "mlflow-artifacts://mlflow.example.com/0/run/artifacts/model/",
            "http://mlflow:5000/api/2.0/mlflow-artifacts/artifacts/0/run/artifacts/model",
            "https://mlflow.example.com/prefix/ajax-api/2.0/mlflow-artifacts/artifacts/0/run//artifacts/./model",
            "/srv/artifacts/0/run/artifacts/model", "file:///srv/artifacts/0/run/artifacts/model",
            "file:/srv/artifacts/0/run/artifacts/%6dodel", "mlflow-artifacts:/0/other/../run/artifacts/model",
        )
    }  # fmt: skip
    assert same == {"file:///srv/artifacts/0/run/artifacts/model"}


def test_a_proxied_place_of_a_workspace_may_omit_the_workspace() -> None:
    places = Places("s3://bucket/root", default_workspace="default")
    assert places.canonical("mlflow-artifacts:/0/run", "team-a") == "s3://bucket/root/workspaces/team-a/0/run"
    whole = "mlflow-artifacts:/workspaces/team-a/0/run"
    assert places.canonical(whole, "team-a") == "s3://bucket/root/workspaces/team-a/0/run"
    assert places.canonical("mlflow-artifacts:/0/run", "default") == "s3://bucket/root/0/run"


@pytest.mark.parametrize("name", ["new\0", "new%00", "new%2500", "new\n", "new%0A"])
def test_a_control_character_is_part_of_a_name_as_mlflow_writes_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "real/model").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    found = Places(None).below(str(tmp_path / "link"), f"model/{name}")
    assert found is not None
    assert f"file://{tmp_path.resolve()}/real/model" in list(and_above(found.place))
    assert found.place.rpartition("/")[2] in {"new%00", "new%0a"}


def test_links_that_lead_to_themselves_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    found = Places(None).located(str(tmp_path / "a/model"))
    assert found is not None
    assert found.place.endswith("/model")


def test_names_are_not_places_and_nothing_is_above_a_bucket() -> None:
    places = Places(None)
    assert places.canonical("runs:/abc/model") is None
    assert places.canonical("models:/m/1") is None
    assert list(and_above("s3://bucket/a/b")) == ["s3://bucket/a/b", "s3://bucket/a", "s3://bucket"]
    assert places.canonical("s3a://Bucket/a//b/") == "s3://bucket/a/b"


def test_links_are_followed_anywhere_in_a_path_and_whenever_they_were_created(tmp_path: Path) -> None:
    places = Places(None)
    for folder in ("held/model", "plain/model"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "file").symlink_to(tmp_path / "held/model/MLmodel")
    (tmp_path / "folder").symlink_to(tmp_path / "held")
    held = f"file://{tmp_path.resolve()}/held/model/MLmodel"
    assert places.canonical(str(tmp_path / "file")) == held
    assert places.canonical(str(tmp_path / "folder/model/MLmodel")) == held
    below = places.below(str(tmp_path / "folder"), "model/new/../MLmodel")
    assert below is not None
    assert (below.place, below.links) == (held, {f"file://{tmp_path.resolve()}/folder"})
    assert places.canonical(str(tmp_path / "plain/model/MLmodel")) == held.replace("held", "plain")
    (tmp_path / "plain").rename(tmp_path / "was-plain")
    (tmp_path / "plain").symlink_to(tmp_path / "held")
    assert places.canonical(str(tmp_path / "plain/model/MLmodel")) == held
