"""What the operator of an MLflow server meets: new releases, an observing wall, logged and counted refusals."""

from __future__ import annotations

import ast
import functools
import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

import reconciler.mlflow_app
from reconciler.demo.server import mlflow_server
from reconciler.mlflow_app.options import OptionsError, read_options
from tests import forker
from tests.acceptance.test_daemon import until
from tests.builders import accuracy_policy
from tests.command import run
from tests.mlflow_app.conftest import API, PASSWORD, Person
from tests.mlflow_app.ports import free_port

APP = ("--app-name", "transition-requests")
PACKAGE = Path(reconciler.mlflow_app.__file__).parent
ROOT = PACKAGE.parents[1]

# Private names of MLflow, which a new release may rename, and the one file that uses each.
PRIVATE = {
    "_add_static_prefix": "routes.py",
    "_artifact_repository_registry": "artifact_wall.py",
    "_create_staging_artifact": "artifact_wall.py",
    "_expanded_parameters": "net.py",
    "_get_active_workspace": "store.py",
    "_get_eager_model_version_query_options": "store.py",
    "_get_model_registry_store": "store.py",
    "_get_normalized_request_json": "guard.py",
    "_get_paths": "routes.py",
    "_get_request_message": "guard.py",
    "_get_tracking_store": "store.py",
}


def test_each_private_name_of_mlflow_is_known_and_in_one_file() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            for name in private_names(node):
                found[name].add(file.name)
    assert found == {name: {file} for name, file in PRIVATE.items()}


def private_names(node: ast.AST) -> list[str]:
    """Names of other modules: what is taken from `self` or `cls` is our own."""
    if isinstance(node, ast.Attribute):
        own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
        return [node.attr] if node.attr.startswith("_") and not node.attr.startswith("__") and not own else []
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mlflow"):
        return [alias.name for alias in node.names if alias.name.startswith("_")]
    return []


def test_the_page_about_new_releases_names_them_all() -> None:
    page = (ROOT / "docs" / "mlflow-app.md").read_text()
    section = page.partition("## A new MLflow release\n")[2].partition("\n## ")[0]
    for name, file in PRIVATE.items():
        assert f"`{name}`" in section
        assert f"`{file}`" in section


BY_HAND = (
    (ROOT / "docs" / "mlflow-app.md").read_text().partition("## Approve by hand, roll back\n")[2].partition("\n## ")[0]
)


def by_hand(language: str, uri: str, model: str) -> list[str]:
    """The commands of the page as they stand there, but for the server, the model and the passwords."""
    blocks = re.findall(rf"```{language}\n(.*?)```", BY_HAND, re.DOTALL)
    blocks = [block.replace("https://mlflow.example.com", uri).replace("fraud", model) for block in blocks]
    return [re.sub(r"-u (\w+) ", rf"-u \1:{PASSWORD} ", block.replace("-u admin", "-u root")) for block in blocks]


def typed(script: str) -> None:
    """Each call is answered, none with an error."""
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "error_code" in done.stdout, "<html" in done.stdout) == (0, False, False), done.stdout


@pytest.mark.parametrize("authenticated", [True, False], ids=["basic-auth", "nobody is known"])
def test_a_person_approves_and_rolls_back_by_the_commands_of_the_page(
    authenticated: bool, request: pytest.FixtureRequest, name: Callable[[], str]
) -> None:
    uri = request.getfixturevalue("auth_uri" if authenticated else "app_uri")
    admin = Person(uri, "root" if authenticated else "")
    model = admin.model(f"by-hand-{name()}", versions=2)
    archive, back, directly = by_hand("sh", uri, model)
    begin = archive.partition("# Version 2")[0]
    ask = by_hand("sh", uri, model)[1].replace('"version": "1"', '"version": "2"')
    scripts = {"in": ask, "out": archive.removeprefix(begin), "back": back}
    for step, version, stage in (("in", "2", "Production"), ("out", "2", "Archived"), ("back", "1", "Production")):
        typed(begin + (scripts[step] if authenticated else re.sub(r"-u \S+ ", "", scripts[step])))
        assert admin.shown(model, version)["current_stage"] == stage
    if authenticated:
        typed(begin + directly.replace('"version": "1"', '"version": "2"'))
        tags = admin.shown(model, "2")["tags"]
        assert tags["transition_decision.alias.champion"].endswith("by administrator root, directly.")
        assert tags["transition_decision.stage.Production"].endswith("by administrator root, directly.")


def test_check_finds_no_fault_with_an_account_that_may_do_everything_the_daemon_does(
    auth_uri: str, name: Callable[[], str], tmp_path: Path
) -> None:
    """On basic-auth a made-up id is refused, as if it were there: `svc` is no administrator."""
    Person(auth_uri, "root").model(f"checked-{name()}")
    (tmp_path / "policy.yaml").write_text(accuracy_policy(keys='models: ["checked-*"]'))
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "RECONCILER_REGISTRY__URI": auth_uri,
        "MLFLOW_TRACKING_USERNAME": "svc", "MLFLOW_TRACKING_PASSWORD": PASSWORD,
        "RECONCILER_POLICY": str(tmp_path / "policy.yaml"), "RECONCILER_AUDIT__URL": f"sqlite:///{tmp_path}/audit.db",
    }  # fmt: skip
    assert run("db", "upgrade", environment=environment).returncode == 0
    lines = run("check", environment=environment).stdout.splitlines()
    assert [line for line in lines if "logged models" in line]
    assert [line for line in lines if line.startswith("FAIL")] == []


def test_a_person_rolls_back_by_databricks_client_as_the_page_says(auth_uri: str, name: Callable[[], str]) -> None:
    admin = Person(auth_uri, "root")
    model = admin.model(f"by-hand-{name()}")
    [script] = by_hand("python", auth_uri, model)
    exec(script, {"MLFLOW": auth_uri, "PASSWORD": PASSWORD})
    assert admin.shown(model)["current_stage"] == "Production"


def test_the_line_that_starts_it_with_basic_auth_starts_it(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "mlflow-app.md").read_text()
    install = page.partition("## Install\n")[2].partition("\n## ")[0]
    [start] = re.findall(r"```sh\n(\(umask.*?)```", install, re.DOTALL)
    [people] = re.findall(r"```sh\n(curl -u admin .*?)```", install, re.DOTALL)
    port = free_port()
    variables = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    variables |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = ["sh", "-c", start.rstrip().replace("mlflow server", f"exec mlflow server --workers 1 --port {port}")]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health"), "the server")
        admin = Person(f"http://127.0.0.1:{port}", "admin")
        admin.model("fraud")
        typed(people.replace(":5000", f":{port}").replace("-u admin", f"-u admin:{PASSWORD}"))
        admin.request("create", "fraud", "@champion", comment="please")
        mia = requests.auth.HTTPBasicAuth("mia", "another-long-password")
        body = {"name": "fraud", "version": "1", "stage": "@champion", "archive_existing_versions": False}
        approved = requests.post(f"{admin.uri}{API}/transition-requests/approve", json=body, auth=mia, timeout=60)
        assert (approved.status_code, admin.shown("fraud")["aliases"]) == (200, ["champion"])
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(60)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code == 200
    except requests.RequestException:
        return False


LOAD = "import mlflow.version as v; v.VERSION = '{version}'; import reconciler.mlflow_app.app"


@pytest.mark.parametrize("version", ["3.16.1", "3.18.0", "4.0.0"])
def test_on_an_untested_release_the_app_refuses_to_start_and_names_the_override(version: str) -> None:
    load = functools.partial(forker.run, forker.MLFLOW, "-c", LOAD.format(version=version))
    done = load(environment=os.environ)
    assert done.returncode != 0
    message = done.stderr.strip().splitlines()[-1]
    assert version in message
    variable = f"TRANSITION_REQUESTS_ACCEPT_MLFLOW={version}"
    assert variable in message
    accepted = {**os.environ, "TRANSITION_REQUESTS_ACCEPT_MLFLOW": version}
    assert load(environment=accepted).returncode == 0
    another = {**os.environ, "TRANSITION_REQUESTS_ACCEPT_MLFLOW": "3.99"}
    assert load(environment=another).returncode != 0


def test_the_extra_installs_only_tested_releases() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert 'server = ["mlflow>=3.17,<3.18"]' in text


@pytest.mark.parametrize(
    ("name", "value"),
    [("WALL", "off"), ("WALL", "Observe"), ("PUBLIC_URL", "mlflow.example.com"), ("PUBLIC_URL", "ftp://x")],
)
def test_a_wrong_variable_is_named(name: str, value: str) -> None:
    with pytest.raises(OptionsError, match=name) as failed:
        read_options({f"TRANSITION_REQUESTS_{name}": value})
    assert value in str(failed.value)


def test_an_observing_wall_logs_what_it_would_refuse_and_lets_it_pass(tmp_path: Path) -> None:
    variables = {"TRANSITION_REQUESTS_WALL": "observe", "TRANSITION_REQUESTS_TARGETS": "Production,@champion"}
    with mlflow_server(tmp_path, *APP, variables=variables) as uri:
        person = Person(uri)
        model = person.model("m", versions=2)
        body = {"name": model, "version": "1", "stage": "Production"}
        person.call("POST", "model-versions/transition-stage", json=body)
        assert person.shown(model)["current_stage"] == "Production"
        person.call("POST", "registered-models/alias", json={"name": model, "version": "1", "alias": "champion"})
        person.call("DELETE", "model-versions/delete", json={"name": model, "version": "1"})
        log = (tmp_path / "mlflow-server.log").read_text()
    start = next(line for line in log.splitlines() if line.startswith("transition requests:"))
    assert "NOT protected" in start
    assert "TRANSITION_REQUESTS_WALL=observe" in start
    refusals = [line for line in log.splitlines() if "would refuse" in line]
    assert [line.partition("somebody unknown: ")[2].partition(" directly")[0] for line in refusals] == [
        "Moving a version into Production", "Setting the alias @champion",
        "Deleting the version that holds @champion",
    ]  # fmt: skip


def test_a_refusal_is_one_line_of_the_log_and_a_count_that_mlflow_serves(tmp_path: Path) -> None:
    metrics = ("--gunicorn-opts=", "--expose-prometheus", str(tmp_path / "metrics"))
    with mlflow_server(tmp_path, *APP, *metrics) as uri:
        person = Person(uri)
        model = person.model("m")
        body = {"name": model, "version": "1", "stage": "Production"}
        for path in ("model-versions/transition-stage", "databricks/model-versions/transition-stage"):
            assert person.code("POST", path, json=body)[0] == 403
        served = person.send("GET", "/metrics").text
        log = (tmp_path / "mlflow-server.log").read_text()
    counted = [line for line in served.splitlines() if line.startswith("transition_requests_refused_total{")]
    assert [(line.partition("what=")[2].partition('"')[2].partition('"')[0], line.split()[-1]) for line in counted] == [
        ("target", "2.0")
    ]
    assert len([line for line in log.splitlines() if "transition requests: refused" in line]) == 2
