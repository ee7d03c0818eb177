"""What docs/mlflow-app.md says about logins, as it is written there: the first starts, and the proxy."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests

from reconciler.demo.server import mlflow_server
from tests.acceptance.test_daemon import until
from tests.mlflow_app.conftest import API, Person
from tests.mlflow_app.logins import APP, SECRET, logged_in, mail, provider, proxied
from tests.mlflow_app.ports import free_port
from tests.servers import app_beside, python_of_oidc

PAGE = (Path(__file__).parents[2] / "docs" / "mlflow-app.md").read_text()
QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
TOKEN = "token-of-the-daemon"
ME = Path(sys.executable).parent


def block(title: str, language: str, number: int = 0) -> str:
    section = PAGE.partition(f"\n### {title}")[2].partition("\n### ")[0]
    return str(re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)[number])


@contextlib.contextmanager
def started(script: str, directory: Path, python: Path, **more: str) -> Iterator[str]:
    """The block of the page, as it is typed, but for the port. `python`: whose MLflow is on the path."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    (directory / "bin").mkdir()
    (directory / "bin" / "mlflow").write_text(f'#!/bin/sh\nexec {python} -m mlflow "$@"\n')
    (directory / "bin" / "mlflow").chmod(0o755)
    environment = {"PATH": f"{directory}/bin:{os.environ['PATH']}", "HOME": str(directory), **QUIET, **more}
    script = script.rstrip().replace("mlflow server", f"exec mlflow server --workers 2 --port {port}")
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            ["sh", "-c", script], cwd=directory, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        until(lambda: server.poll() is not None or up(f"{uri}/health"), "the server", within=300)
        assert server.poll() is None, (directory / "log").read_text()
        yield uri
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def up(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code < 500
    except requests.RequestException:
        return False


def test_the_first_start_behind_a_proxy(tmp_path: Path) -> None:
    with started(block("header", "sh"), tmp_path, Path(sys.executable)) as uri:
        secret = (tmp_path / "proxy-secret").read_text()
        named = {"X-Forwarded-Email": mail("root"), "X-Transition-Requests-Secret": secret}
        named["Host"] = "mlflow.example.com"
        assert Person(uri, "root", named).call("GET", "transition-requests/list") == {"requests": []}
        assert requests.get(f"{uri}{API}/transition-requests/list", timeout=60).status_code == 401
        # As a browser sends it, from MLflow's own pages and from others.
        root = Person(uri, "root", named | {"Origin": "https://mlflow.example.com", "Sec-Fetch-Site": "same-origin"})
        root.model("fraud")
        root.request("create", "fraud")
        other = Person(uri, "root", named | {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"})
        body = {"name": "fraud", "version": "1", "stage": "Archived"}
        assert other.send("POST", "transition-requests/create", json=body).status_code == 403


def test_the_first_start_with_single_sign_on(tmp_path: Path) -> None:
    python = python_of_oidc()
    (tmp_path / "client-secret").write_text("known to both")
    with provider(python, tmp_path) as issuer:
        script = block("oidc-auth", "sh").replace("https://login.example.com", issuer)
        with started(script, tmp_path, python, **app_beside(tmp_path / "path")) as uri:
            root = logged_in(uri, issuer, mail("root"), ["mlflow", "mlflow-admin"])
            mia = logged_in(uri, issuer, mail("mia"), ["mlflow", "model-approvers"])
            root.model("fraud")
            root.request("create", "fraud")
            mia.request("approve", "fraud", archive_existing_versions=False)
            assert root.shown("fraud")["current_stage"] == "Production"
    # Several workers start at once: none may find the tables half made.
    assert "Traceback" not in (tmp_path / "log").read_text()


class LogsIn(BaseHTTPRequestHandler):
    """In place of oauth2-proxy: a cookie with a name and groups is a session."""

    def do_GET(self) -> None:
        name, _, groups = self.headers.get("Cookie", "").removeprefix("session=").partition("/")
        self.send_response(202 if name else 401)
        if name:
            self.send_header("X-Auth-Request-Email", name)
            self.send_header("X-Auth-Request-Groups", groups)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def logging_in() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), LogsIn)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


@contextlib.contextmanager
def nginx(directory: Path, mlflow: str, login: int) -> Iterator[str]:
    """The block of the page in an nginx of our own, but for ports, places of files, and TLS."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    port = free_port()
    site = block("header", "nginx").replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    site = re.sub(r" *ssl_certificate.*\n", "", site).replace("/etc/nginx/", f"{directory}/")
    site = site.replace("http://127.0.0.1:5000", mlflow).replace("127.0.0.1:4180", f"127.0.0.1:{login}")
    files = block("header", "sh", 1).replace("/etc/nginx/", f"{directory}/")
    subprocess.run(["sh", "-e", "-c", files], cwd=directory, check=True)
    tokens = (directory / "mlflow-tokens").read_text()
    (directory / "mlflow-tokens").write_text(re.sub("[0-9a-f]{64}", TOKEN, tokens))
    places = "".join(f"{kind}_temp_path {directory};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (directory / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;\n"
        f"events {{}}\nhttp {{ access_log {directory}/access.log; {places}\n{site}}}\n"
    )
    with (directory / "nginx.log").open("wb") as log:
        command = [program, "-p", str(directory), "-c", str(directory / "nginx.conf")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(lambda: process.poll() is not None or listens(port), "nginx")
        assert process.poll() is None, (directory / "nginx.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
        return True
    return False


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of nginx, before MLflow with the app."""
    directory = tmp_path_factory.mktemp("proxy")
    variables = proxied(directory) | {"TRANSITION_REQUESTS_APPROVERS": mail("reconciler")}
    allowed = ("--allowed-hosts", "*")
    with (
        mlflow_server(directory / "mlflow", *APP, *allowed, variables=variables) as mlflow,
        logging_in() as login,
        nginx(directory, mlflow, login) as uri,
    ):
        yield uri


def person(uri: str, role: str, groups: str = "", **headers: str) -> Person:
    return Person(uri, mail(role), {"Cookie": f"session={mail(role)}/{groups}"} | headers)


def test_behind_nginx_people_ask_and_approve_by_their_session(through: str) -> None:
    person(through, "root").model("by-session")
    asked = person(through, "ada").request("create", "by-session")
    assert asked["request"]["user_id"] == mail("ada")
    person(through, "mia", "approvers").request("approve", "by-session", archive_existing_versions=False)
    assert person(through, "ada").shown("by-session")["current_stage"] == "Production"


def test_behind_nginx_headers_of_a_client_make_nobody_else_of_them(through: str) -> None:
    """nginx replaces them, and drops the names with underscores."""
    tried: list[dict[str, str]] = [
        {"X-Forwarded-Email": mail("root")},
        {"x-forwarded-email": mail("root"), "X-Forwarded-Groups": "approvers"},
        {"X_Forwarded_Email": mail("root"), "X_Forwarded_Groups": "approvers"},
        {"X-Transition-Requests-Secret": SECRET, "X-Forwarded-Email": mail("root")},
        {"Authorization": "Bearer of-nobody"},
    ]
    for number, headers in enumerate(tried):
        name = f"tried-{number}"
        person(through, "root").model(name)
        asked = person(through, "ada", **headers).request("create", name)
        assert asked["request"]["user_id"] == mail("ada")
        refused = person(through, "bob", **headers).send(
            "POST", "transition-requests/approve",
            json={"name": name, "version": "1", "stage": "Production", "archive_existing_versions": False},
        )  # fmt: skip
        assert refused.status_code == 403


def test_behind_nginx_nobody_is_sent_to_log_in_and_a_client_of_databricks_is_not(through: str) -> None:
    reply = requests.get(f"{through}/", timeout=60, allow_redirects=False)
    assert (reply.status_code, reply.headers["Location"]) == (302, f"{through}/oauth2/sign_in?rd=/")
    assert requests.get(f"{through}/health", timeout=60).text == "OK"
    assert requests.get(f"{through}/.well-known/databricks-config", timeout=60).status_code == 404


@pytest.mark.parametrize("sent", ["Bearer of-nobody", "Bearer", "Basic cm9vdDpyb290", TOKEN])
def test_behind_nginx_a_program_with_a_wrong_token_is_told_so_and_not_sent_to_log_in(through: str, sent: str) -> None:
    reply = requests.get(
        f"{through}{API}/transition-requests/list", headers={"Authorization": sent}, timeout=60, allow_redirects=False
    )
    assert reply.status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        f"//health/..{API}/transition-requests/list", f"/health/..{API}/transition-requests/list", "//health",
        "/x/../health", "/oauth2/..;/", f"/oauth2/%2e%2e{API}/transition-requests/list", f"/health%2f..{API}/x",
        f"/.well-known/databricks-config/../..{API}/transition-requests/list",
    ],
)  # fmt: skip
def test_behind_nginx_no_spelling_of_an_open_path_leads_past_the_login(through: str, path: str) -> None:
    """nginx chooses by the path as it would be written plainly, and passes on what was sent: both are asked."""
    host, port = through.removeprefix("http://").split(":")
    named = f"X-Forwarded-Email: {mail('root')}\r\nX-Transition-Requests-Secret: {SECRET[:-1]}\r\n"
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{named}Connection: close\r\n\r\n".encode())
        reply = b""
        while part := client.recv(65536):
            reply += part
    assert int(reply.split()[1]) in {302, 400, 401, 404}


def test_check_names_what_the_daemon_may_not_decide_about_through_the_proxy(through: str, tmp_path: Path) -> None:
    person(through, "root").model("governed")
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "version: 1\nrules:\n- name: all\n  models: ['*']\n  targets: [Production]\n"
        "  require: [{description: {min_length: 10}}]\n"
    )
    for token, said in ((TOKEN, "may decide about each of"), ("of-nobody", None)):
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "RECONCILER_REGISTRY__URI": through,
            "RECONCILER_REGISTRY__TOKEN": token, "RECONCILER_POLICY": str(policy),
            "RECONCILER_AUDIT__URL": f"sqlite:///{tmp_path}/audit.db",
        }  # fmt: skip
        subprocess.run(
            [str(ME / "mlflow-reconciler"), "db", "upgrade"], env=environment, capture_output=True, check=True
        )
        done = subprocess.run(
            [str(ME / "mlflow-reconciler"), "check"], env=environment, capture_output=True, text=True, check=False
        )
        if said is None:
            assert done.returncode != 0, done.stdout
        else:
            assert said in done.stdout, done.stdout + done.stderr
