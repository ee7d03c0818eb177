"""The product as its users meet it: its command line against a real MLflow server."""

from __future__ import annotations

import inspect
import itertools
import json
import math
import os
import subprocess
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pytest
import requests

from reconciler.audit import schema
from reconciler.registry.endpoint import Endpoint
from reconciler.registry.transport import Transport
from tests import command
from tests.servers import OlderServers, label, tried

if TYPE_CHECKING:
    from tests.acceptance.laboratory import Laboratory

API = "/api/2.0/mlflow"
REQUEST = "transition_request.stage.Production"
DECISION = "transition_decision.stage.Production"
_NAMES_IN_JSON = {"nan": "NaN", "inf": "Infinity"}
_numbers = itertools.count(1)
LONG = bool(os.environ.get("LONG_TESTS"))


@dataclass
class Server:
    """A person with the MLflow UI and a training script."""

    uri: str
    protocol: str = "tags"
    release: str = mlflow.__version__
    experiment: str = "0"

    @property
    def has_logged_models(self) -> bool:
        return self._at_least(3, 0)

    @property
    def shows_outputs_in_searches(self) -> bool:
        """Which models a run logged, without reading the run by itself."""
        return self._at_least(3, 17)

    @property
    def has_workspaces(self) -> bool:
        return self._at_least(3, 10)

    @property
    def longest_tag(self) -> int:
        return 100_000 if self._at_least(3, 0) else 5_000

    @property
    def lacks(self) -> str:
        """How `check` ends what it says of this server."""
        lists = "lists of names in a search (each request is read on its own)"
        lacking = [] if self.takes_lists_of_names else [lists]
        lacking += [] if self.has_logged_models else ["logged models"]
        lacking += [] if self.has_workspaces else ["workspaces"]
        return f"; it has no {', no '.join(lacking)}" if lacking else ""

    @property
    def takes_lists_of_names(self) -> bool:
        """`name IN (…)` in a filter for versions."""
        return self._at_least(3, 17)

    def _at_least(self, *release: int) -> bool:
        return tuple(int(part) for part in self.release.split(".")[:2]) >= release

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        reply = requests.request(method, f"{self.uri}{API}/{path}", timeout=60, **arguments)
        reply.raise_for_status()
        return reply.json()

    def version(
        self, model: str, *, metric: float | None = None, run: bool = True, key: str = "validation_accuracy"
    ) -> str:
        """A new version of a new model, measured on a real run; returns the run's id."""
        run_id = self._run(metric) if run else ""
        self.call("POST", "registered-models/create", json={"name": model})
        body = {"name": model, "source": f"runs:/{run_id}/model" if run else "s3://bucket/model"}
        self.call("POST", "model-versions/create", json=body | ({"run_id": run_id} if run else {}))
        return run_id

    def _run(self, metric: float | None) -> str:
        run = self.call("POST", "runs/create", json={"experiment_id": self.experiment})["run"]["info"]["run_id"]
        if metric is not None:
            value = metric if math.isfinite(metric) else _NAMES_IN_JSON[str(metric)]
            body = {"run_id": run, "key": "validation_accuracy", "value": value, "timestamp": 1, "step": 0}
            self.call("POST", "runs/log-metric", json=body)
        self.call("POST", "runs/update", json={"run_id": run, "status": "FINISHED", "end_time": 2})
        return str(run)

    def tag(self, model: str, value: str, key: str = REQUEST) -> None:
        self.call("POST", "model-versions/set-tag", json={"name": model, "version": "1", "key": key, "value": value})

    def ask(self, model: str, comment: str = "please") -> None:
        """Version 1 to Production, by whatever way this server has."""
        if self.protocol == "tags":
            self.tag(model, comment)
            return
        body = {"name": model, "version": "1", "stage": "Production", "comment": comment}
        self.call("POST", "transition-requests/create", json=body)

    def asked(self, model: str) -> str | None:
        """The comment of the open request."""
        value = self.shown(model)["tags"].get(REQUEST)
        return json.loads(value)["comment"] if value and value.startswith("{") else value

    def shown(self, model: str) -> dict[str, Any]:
        row = self.call("GET", "model-versions/get", params={"name": model, "version": "1"})["model_version"]
        row["tags"] = {tag["key"]: tag.get("value", "") for tag in row.get("tags", [])}
        return dict(row)


@dataclass
class Product:
    """The installed command, with an audit database and a policy of its own."""

    uri: str
    place: Path
    mode: str = "enforce"
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "RECONCILER_REGISTRY__URI": self.uri,
            "RECONCILER_AUDIT__URL": f"sqlite:///{self.place}/audit.db",
            "RECONCILER_POLICY": str(self.place / "policy.yaml"),
            "RECONCILER_MODE": self.mode,
            "COLUMNS": "80",
            **self.variables,
        }

    def policy(self, text: str) -> None:
        (self.place / "policy.yaml").write_text(text, encoding="utf-8")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return command.run(*arguments, environment=self.environment())

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
        return done.stdout

    def decisions(self, *arguments: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.ok("audit", "list", "--format", "json", *arguments))
        return rows


_TAGS, _APP = "tags", "transition-requests"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What a test does on a server is done on each; what only needs one to be there, on the newest.

    But for the loop itself, a test goes to one of the older servers, in turn; in the long run to all.
    """
    if "tried_server" not in metafunc.fixturenames:
        return
    servers = [_TAGS]
    if metafunc.definition.get_closest_marker("either_protocol"):
        servers.append(_APP)
    if {"server", "lab", "lab3"} & inspect.signature(metafunc.function).parameters.keys():
        on_each = LONG or metafunc.module.__name__.endswith("test_loop")
        servers += tried() if on_each else [tried()[zlib.crc32(metafunc.definition.nodeid.encode()) % len(tried())]]
    metafunc.parametrize("tried_server", servers, ids=label, indirect=True)


@pytest.fixture
def tried_server(request: pytest.FixtureRequest) -> Server:
    """The newest MLflow server, plain or with the app; or an older one, plain."""
    if request.param in {_TAGS, _APP}:
        uri = request.getfixturevalue("mlflow_uri" if request.param == _TAGS else "app_uri")
        return Server(uri, request.param)
    older: OlderServers = request.getfixturevalue("older_servers")
    return Server(older.uri(request.param), release=request.param)


@pytest.fixture
def server(tried_server: Server) -> Iterator[Server]:
    yield from _to_itself(tried_server)


def served(uri: str, protocol: str) -> Iterator[Server]:
    yield from _to_itself(Server(uri, protocol))


def _to_itself(server: Server) -> Iterator[Server]:
    """A test neither finds open requests of others nor leaves any."""
    _clear(server)
    yield server
    _clear(server)


def _clear(server: Server) -> None:
    (_take_tags_back if server.protocol == _TAGS else _withdraw_all)(server.uri)


def _take_tags_back(uri: str) -> None:
    transport = Transport(Endpoint(uri))
    for key in (REQUEST, "transition_request.alias.champion"):
        found = transport.get(f"{API}/model-versions/search", {"filter": f"tags.`{key}` LIKE '%'"})
        for row in found.get("model_versions", []):
            transport.delete(
                f"{API}/model-versions/delete-tag", {"name": row["name"], "version": row["version"], "key": key}
            )
    transport.close()


def _withdraw_all(uri: str) -> None:
    transport = Transport(Endpoint(uri))
    for row in transport.get(f"{API}/transition-requests/list")["requests"]:
        body = {"name": row["name"], "version": row["version"], "stage": row["to_stage"]}
        transport.delete(f"{API}/transition-requests/delete", body)
    transport.close()


@pytest.fixture
def name() -> Callable[[str], str]:
    """Model names that no other test uses."""
    unique = f"{uuid.uuid4().hex[:8]}-{next(_numbers)}"
    return lambda model: f"{model}-{unique}"


@pytest.fixture
def lab(server: Server, name: Callable[[str], str]) -> Laboratory:
    from tests.acceptance.laboratory import Laboratory

    return Laboratory(server, name)


@pytest.fixture
def lab3(lab: Laboratory) -> Laboratory:
    if not lab.server.has_logged_models:
        pytest.skip(f"MLflow {lab.server.release} has no logged models")
    return lab


@pytest.fixture
def product(server: Server, tmp_path: Path) -> Product:
    product = Product(server.uri, tmp_path)
    product.policy(
        "version: 1\n"
        "rules:\n"
        "  - name: production-accuracy\n"
        '    targets: [Production, "@champion"]\n'
        "    archive_existing: true\n"
        "    require:\n"
        "      - metric: validation_accuracy\n"
        "        min: 0.90\n"
    )
    schema.upgrade(f"sqlite:///{tmp_path}/audit.db")
    return product
