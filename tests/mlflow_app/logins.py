"""A server behind each login, and the same five people on it: the contract suite asks all of them the same.

ada may read, bob may edit (where the login knows levels), mia and svc approve, svc by a group where the login knows
groups, and root is an administrator.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from reconciler.demo.server import mlflow_server
from tests.mlflow_app.conftest import API, PROTECTED, Person
from tests.mlflow_app.ports import free_port
from tests.servers import app_beside, python_of_oidc

ROLES = ("ada", "bob", "mia", "svc", "root")
APP = ("--app-name", "transition-requests")
SECRET = "a-secret-that-the-proxy-sends-with-each-call"
COMMON = {"TRANSITION_REQUESTS_TARGETS": "Production,@champion", "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test"}


@dataclass(frozen=True)
class Scene:
    """A server with people. `grant` gives a level on a model, where the login knows levels.

    `respelt`: mia as the login may spell her another time, where that is one person.
    """

    uri: str
    people: Mapping[str, Person]
    grant: Callable[[str, str, str], None]
    log: Path
    respelt: Person | None = None
    levels: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, role: str) -> Person:
        return self.people[role]


def mail(role: str) -> str:
    return f"{role}@example.com"


def behind_a_proxy(uri: str, name: str, groups: str = "") -> Person:
    """Somebody as the proxy tells the server of them."""
    named = {"X-Forwarded-Email": name, "X-Transition-Requests-Secret": SECRET}
    return Person(uri, name, named | ({"X-Forwarded-Groups": groups} if groups else {}))


def secret_file(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "proxy-secret"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


def proxied(directory: Path) -> dict[str, str]:
    """The variables of a server behind a proxy."""
    return COMMON | {
        "TRANSITION_REQUESTS_AUTH": "header:X-Forwarded-Email",
        "TRANSITION_REQUESTS_PROXY_SECRET_FILE": str(secret_file(directory)),
        "TRANSITION_REQUESTS_GROUP_HEADER": "X-Forwarded-Groups",
        "TRANSITION_REQUESTS_APPROVER_GROUPS": "approvers",
        "TRANSITION_REQUESTS_APPROVERS": mail("mia"),
        "TRANSITION_REQUESTS_ADMINISTRATORS": mail("root"),
    }


@contextlib.contextmanager
def on_header(directory: Path) -> Iterator[Scene]:
    with mlflow_server(directory, *APP, variables=proxied(directory) | PROTECTED) as uri:
        people = {role: behind_a_proxy(uri, mail(role)) for role in ROLES}
        people["svc"] = behind_a_proxy(uri, mail("svc"), "staff, approvers")
        levels = {"ada": "CAN_EDIT", "bob": "CAN_EDIT", "mia": "CAN_MANAGE_PRODUCTION_VERSIONS", "root": "CAN_EDIT"}
        log = directory / "mlflow-server.log"
        yield Scene(uri, people, lambda *_: None, log, behind_a_proxy(uri, "Mia@Example.com"), levels)


@contextlib.contextmanager
def on_basic_auth(request: pytest.FixtureRequest) -> Iterator[Scene]:
    uri = request.getfixturevalue("auth_uri")
    people = {role: Person(uri, role) for role in ROLES}

    def grant(role: str, model: str, level: str) -> None:
        body = {"username": role, "resource_type": "registered_model", "resource_id": model, "permission": level}
        people["root"].call("POST", "/api/3.0/mlflow/users/permissions/grant", json=body)

    levels = {"ada": "CAN_READ", "bob": "CAN_EDIT", "mia": "CAN_MANAGE_PRODUCTION_VERSIONS", "root": "CAN_EDIT"}
    log = request.getfixturevalue("auth_log")
    yield Scene(uri, people, grant, log, levels=levels)


@contextlib.contextmanager
def on_oidc_auth(directory: Path) -> Iterator[Scene]:
    python = python_of_oidc()
    with provider(python, directory) as issuer:
        variables = (
            COMMON
            | PROTECTED
            | {
                "TRANSITION_REQUESTS_AUTH": "oidc-auth",
                "TRANSITION_REQUESTS_APPROVERS": mail("Mia"),
                "TRANSITION_REQUESTS_APPROVER_GROUPS": "approvers",
                "OIDC_DISCOVERY_URL": f"{issuer}/.well-known/openid-configuration",
                "OIDC_CLIENT_ID": "mlflow",
                "OIDC_CLIENT_SECRET": "known to both",
                "OIDC_USERS_DB_URI": f"sqlite:///{directory}/users.db",
                "SECRET_KEY": "for the sessions of this test",
                "DEFAULT_MLFLOW_PERMISSION": "READ",
            }
        )
        variables |= app_beside(directory / "path")
        with mlflow_server(directory, *APP, variables=variables, python=python) as uri:
            yield _people_of(uri, issuer, directory / "mlflow-server.log")


def _people_of(uri: str, issuer: str, log: Path) -> Scene:
    groups = {"svc": ["mlflow", "approvers"], "root": ["mlflow", "mlflow-admin"]}
    people = {role: logged_in(uri, issuer, mail(role), groups.get(role, ["mlflow"])) for role in ROLES}

    def grant(role: str, model: str, level: str) -> None:
        path = f"{API}/permissions/users/{mail(role)}/registered-models/{model}"
        reply = people["root"].send("POST", path, json={"permission": level})
        assert reply.status_code < 300, reply.text

    levels = {"ada": "CAN_READ", "bob": "CAN_EDIT", "mia": "CAN_MANAGE_PRODUCTION_VERSIONS", "root": "CAN_EDIT"}
    return Scene(uri, people, grant, log, logged_in(uri, issuer, "Mia@Example.com", ["mlflow"]), levels)


@contextlib.contextmanager
def provider(python: Path, directory: Path) -> Iterator[str]:
    """An OpenID provider on loopback."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "provider.log").open("wb") as log:
        command = [str(python), "-m", "oidc_provider_mock", "--port", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            for _ in range(600):
                with contextlib.suppress(requests.ConnectionError):
                    requests.get(f"{uri}/.well-known/openid-configuration", timeout=5).raise_for_status()
                    break
                time.sleep(0.1)
            yield uri
        finally:
            process.terminate()
            process.wait(30)


def logged_in(uri: str, issuer: str, name: str, groups: list[str]) -> Person:
    """Somebody with the session that a browser would have, after a login at the provider."""
    claims = {"email": name, "name": name, "groups": groups}
    requests.put(f"{issuer}/users/{name}", json=claims, timeout=30).raise_for_status()
    browser = requests.Session()
    to_provider = browser.get(f"{uri}/login", allow_redirects=False, timeout=60)
    back = browser.post(to_provider.headers["location"], data={"sub": name}, allow_redirects=False, timeout=60)
    done = browser.get(urljoin(uri, back.headers["location"]), allow_redirects=False, timeout=60)
    assert done.status_code == 302, done.text
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in browser.cookies)
    return Person(uri, name, {"Cookie": cookies})


def token_of(admin: Person, name: str) -> str:
    """An access token of oidc-auth for a service account that is made for it."""
    account = {"username": name, "display_name": name, "is_service_account": True}
    assert admin.send("POST", f"{API}/users", json=account).status_code == 201
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    issued = admin.send("POST", f"{API}/users/{name}/tokens", json={"name": "daemon", "expiration": until})
    return str(issued.json()["token"])
