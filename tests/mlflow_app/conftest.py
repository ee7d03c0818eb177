"""Users with third-party clients, against a real `mlflow server` with the app."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.service.ml import ModelRegistryAPI

from reconciler.demo.server import mlflow_server

API = "/api/2.0/mlflow"
PASSWORD = "a-long-enough-password"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Person:
    """A user of the server; `user` is "" on a server without authentication. With `headers`, these say who it is."""

    uri: str
    user: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def send(self, method: str, path: str, **arguments: Any) -> requests.Response:
        auth = (self.user, PASSWORD) if self.user and not self.headers else None
        whole = path if path.startswith("/") else f"{API}/{path}"
        headers = {**self.headers, **arguments.pop("headers", {})}
        return requests.request(method, self.uri + whole, auth=auth, headers=headers, timeout=60, **arguments)

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        reply = self.send(method, path, **arguments)
        assert reply.status_code == 200, (reply.status_code, reply.text)
        return reply.json()

    def code(self, method: str, path: str, **arguments: Any) -> tuple[int, str]:
        """Status and `error_code`."""
        reply = self.send(method, path, **arguments)
        return reply.status_code, reply.json()["error_code"] if reply.status_code != 200 else ""

    def model(self, name: str, versions: int = 1) -> str:
        self.call("POST", "registered-models/create", json={"name": name})
        for _ in range(versions):
            self.call("POST", "model-versions/create", json={"name": name, "source": "s3://bucket/model"})
        return name

    def shown(self, name: str, version: str = "1") -> dict[str, Any]:
        row = self.call("GET", "model-versions/get", params={"name": name, "version": version})["model_version"]
        row["tags"] = {tag["key"]: tag.get("value", "") for tag in row.get("tags", [])}
        return dict(row)

    def request(self, call: str, name: str, stage: str = "Production", **more: Any) -> Any:
        """One of create, approve, reject."""
        body = {"name": name, "version": "1", "stage": stage, **more}
        return self.call("POST", f"transition-requests/{call}", json=body)

    def sdk(self) -> ModelRegistryAPI:
        """The official client, unchanged."""
        way_in = {"username": self.user, "password": PASSWORD} if self.user else {"token": "none"}
        kind = "basic" if self.user else "pat"
        config = Config(host=self.uri, auth_type=kind, retry_timeout_seconds=5, **way_in)
        return WorkspaceClient(config=config).model_registry


@pytest.fixture
def name() -> Callable[[], str]:
    return lambda: f"model-{next(_numbers)}"


@pytest.fixture
def somebody(app_uri: str) -> Person:
    return Person(app_uri)


@pytest.fixture(scope="session")
def auth_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("auth") / "mlflow-server.log"


# On the server of each login.
PROTECTED = {"TRANSITION_REQUESTS_PROTECTED_TAGS": "tier,validated.at"}


@pytest.fixture(scope="session")
def auth_uri(auth_log: Path) -> Iterator[str]:
    with basic_auth_server(auth_log.parent, **PROTECTED) as uri:
        yield uri


@contextmanager
def basic_auth_server(directory: Path, **more: str) -> Iterator[str]:
    """On basic-auth, fail-closed as by MLflow's default; `svc` and `mia` are the approvers. `more`: variables.

    A password is checked once: in every call that would cost more than all else together.
    """
    config = directory / "basic_auth.ini"
    config.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{directory}/auth.db\n"
        "admin_username = root\nadmin_password =\nauth_cache_ttl_seconds = 3600\n"
    )
    variables = {
        "TRANSITION_REQUESTS_AUTH": "basic-auth",
        "TRANSITION_REQUESTS_TARGETS": "Production,@champion",
        "TRANSITION_REQUESTS_APPROVERS": "svc,mia",
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a secret of this test",
        **more,
    }
    with mlflow_server(directory, "--app-name", "transition-requests", variables=variables) as uri:
        for user in ("ada", "bob", "mia", "svc"):
            _make(uri, user)
        yield uri


def _make(uri: str, user: str) -> None:
    Person(uri, "root").call("POST", "users/create", json={"username": user, "password": PASSWORD})
