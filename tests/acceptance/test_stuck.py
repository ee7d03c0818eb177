"""Nobody waits in silence: what a real server refuses again and again is told, in its words, and stops nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow.server.auth.client import AuthServiceClient

from reconciler.demo.server import mlflow_server
from tests.acceptance.conftest import API, Product, Server
from tests.acceptance.test_daemon import daemon, until
from tests.acceptance.test_signature import MLMODEL, SIGNATURE
from tests.unit.test_transport import replying, serving

Name = Callable[[str], str]
PASSWORD = "a-long-enough-password"


class Guarded(Server):
    """A server with logins. The administrator does what people do; the daemon is `svc`, who may read."""

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        reply = requests.request(method, f"{self.uri}{API}/{path}", auth=("root", PASSWORD), timeout=60, **arguments)
        reply.raise_for_status()
        return reply.json()

    def grant(self, kind: str, id: str, permission: str) -> None:
        AuthServiceClient(self.uri).grant_user_permission(
            "svc", resource_type=kind, resource_id=id, permission=permission
        )


@pytest.fixture(scope="session")
def guarded_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("guarded")
    ini = directory / "auth.ini"
    ini.write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{directory}/auth.db\n"
        f"admin_username = root\nadmin_password = {PASSWORD}\nauth_cache_ttl_seconds = 3600\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    variables = {"MLFLOW_AUTH_CONFIG_PATH": str(ini), "MLFLOW_FLASK_SERVER_SECRET_KEY": "s" * 40}
    variables["MLFLOW_AUTH_ADMIN_PASSWORD"] = PASSWORD
    with mlflow_server(directory, "--app-name", "basic-auth", variables=variables) as uri:
        body = {"username": "svc", "password": PASSWORD}
        requests.post(f"{uri}{API}/users/create", json=body, auth=("root", PASSWORD), timeout=60).raise_for_status()
        yield uri


@pytest.fixture
def guarded(guarded_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "root")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    server = Guarded(guarded_uri)
    yield server
    for row in server.call("GET", "model-versions/search", params={"max_results": 1000}).get("model_versions", []):
        server.call("DELETE", "registered-models/delete", json={"name": row["name"]})


@pytest.fixture
def by_svc(guarded: Guarded, product: Product) -> Product:
    product.variables |= {
        "RECONCILER_REGISTRY__URI": guarded.uri,
        "MLFLOW_TRACKING_USERNAME": "svc",
        "MLFLOW_TRACKING_PASSWORD": PASSWORD,
    }
    return product


def status(product: Product) -> dict[str, Any]:
    return dict(json.loads(product.ok("status", "--json")))


def test_a_decision_that_the_server_refuses_three_times_is_stuck_until_it_is_carried_out(
    guarded: Guarded, by_svc: Product, name: Name, tmp_path: Path
) -> None:
    guarded.version(name("fraud"), metric=0.94)
    guarded.ask(name("fraud"))
    for times, level in ((1, "WARNING"), (2, "WARNING"), (3, "ERROR")):
        done = by_svc.run("once")
        assert (done.returncode, f" {level} {name('fraud')} version 1 to Production: not confirmed" in done.stderr) == (
            1,
            True,
        )
        assert len(status(by_svc)["stuck"]) == (times == 3)
    by_svc.variables["COLUMNS"] = "500"
    assert re.search(r"decided, next try in \S+ ?\S*: POST \S+model-versions/set-tag: 403", by_svc.ok("status"))
    del by_svc.variables["COLUMNS"]
    [stuck] = status(by_svc)["stuck"]
    [row] = by_svc.decisions()
    assert (stuck["kind"], stuck["decision_id"], stuck["failures"]) == ("decision", row["decision_id"], 3)
    assert "model-versions/set-tag: 403" in stuck["said"]
    told = by_svc.ok("status")
    assert f"decision {row['decision_id']} on {name('fraud')} version 1 to Production, 3 times in a row" in told
    assert stuck["said"] in told
    place = name("fraud"), "1", "Production"
    [same] = json.loads(by_svc.ok("request", "show", *place, "--json"))["stuck"]
    assert same == {field: stuck[field] for field in ("kind", "decision_id", "since", "failures", "said")}
    shown = by_svc.ok("request", "show", *place)
    assert shown.startswith(f"{name('fraud')} version 1 to Production: open, and stuck\n")
    assert f": decision {row['decision_id']} cannot be carried out, 3 times in a row:\n    {stuck['said']}\n" in shown
    assert "what to do: " in shown
    # Whoever asks may have no database at all.
    by_svc.variables["RECONCILER_AUDIT__URL"] = "sqlite:////nowhere/audit.db"
    assert by_svc.ok("request", "show", *place).startswith(f"{name('fraud')} version 1 to Production: open\n")
    assert json.loads(by_svc.ok("request", "show", *place, "--json"))["stuck"] is None
    del by_svc.variables["RECONCILER_AUDIT__URL"]

    metrics, log = tmp_path / "m.prom", tmp_path / "log"
    by_svc.variables["RECONCILER_METRICS__PATH"] = str(metrics)
    with daemon(by_svc, log):
        until(lambda: metrics.exists() and b"1 stuck" in log.read_bytes(), "a cycle that tells it")
        shown = metrics.read_text()
    assert 'mlflow_reconciler_stuck{kind="decision"} 1.0' in shown
    [line] = [line for line in shown.splitlines() if line.startswith("mlflow_reconciler_stuck_info")]
    assert f'model="{name("fraud")}"' in line
    assert "model-versions/set-tag: 403" in line

    guarded.grant("registered_model", name("fraud"), "MANAGE")
    by_svc.ok("once")
    assert status(by_svc)["stuck"] == []
    assert [row["outcome"] for row in by_svc.decisions()] == ["applied"]


def test_a_version_that_may_no_longer_be_read_keeps_nobody_else_waiting(
    guarded: Guarded, by_svc: Product, name: Name
) -> None:
    guarded.version(name("hidden"), metric=0.94)
    guarded.ask(name("hidden"))
    by_svc.run("once")
    guarded.grant("registered_model", name("hidden"), "DENY")
    guarded.version(name("other"), metric=0.94)
    guarded.ask(name("other"))
    guarded.grant("registered_model", name("other"), "MANAGE")
    for _ in range(3):
        by_svc.run("once")
    assert guarded.shown(name("other"))["current_stage"] == "Production"
    [stuck] = status(by_svc)["stuck"]
    assert (stuck["model"], stuck["failures"]) == (name("hidden"), 3)
    assert "model-versions/get: 403" in stuck["said"]


def test_a_request_whose_run_may_not_be_read_is_stuck_too(guarded: Guarded, by_svc: Product, name: Name) -> None:
    experiment = guarded.call("POST", "experiments/create", json={"name": name("secret")})["experiment_id"]
    guarded.experiment = experiment
    guarded.version(name("fraud"), metric=0.94)
    guarded.grant("experiment", experiment, "DENY")
    guarded.ask(name("fraud"))
    for _ in range(3):
        assert by_svc.run("once").returncode == 1
    [stuck] = status(by_svc)["stuck"]
    assert (stuck["kind"], stuck["decision_id"], stuck["model"]) == ("request", None, name("fraud"))
    assert "runs/get: 403" in stuck["said"]
    shown = by_svc.ok("request", "show", name("fraud"), "1", "Production")
    assert ": request cannot be judged, 3 times in a row:\n" in shown
    assert by_svc.decisions() == []


def refusing_searches_for(words: set[str], uri: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """What stands before a real server, and refuses the searches with these words."""

    def answer(handler: Any) -> None:
        if "model-versions/search" in handler.path and any(word in handler.path for word in words):
            replying(403, json.dumps({"error_code": "PERMISSION_DENIED", "message": "not that search"}))(handler)
            return
        headers = {"Content-Type": handler.headers["Content-Type"]} if handler.body else {}
        reply = requests.request(handler.command, uri + handler.path, data=handler.body, headers=headers, timeout=60)
        replying(reply.status_code, reply.content, Content_Type=reply.headers["Content-Type"])(handler)

    return answer


def test_a_target_whose_search_is_refused_is_stuck_and_the_others_are_decided(
    server: Server, product: Product, name: Name, tmp_path: Path
) -> None:
    server.version(name("fraud"), metric=0.94)
    body = {"name": name("fraud"), "version": "1", "key": "transition_request.alias.champion", "value": "please"}
    server.call("POST", "model-versions/set-tag", json=body)
    refused = {"stage.Production"}
    with serving(refusing_searches_for(refused, server.uri)) as front:
        product.variables |= {"RECONCILER_REGISTRY__URI": front.uri, "RECONCILER_REGISTRY__PROTOCOL": "tags"}
        dry = product.run("once", "--dry-run")
        assert (dry.returncode, "requests to Production could not be listed" in dry.stderr) == (1, True), dry.stderr
        for times in (1, 2, 3):
            done = product.run("once")
            assert done.returncode == 1, done.stderr
            assert "requests to Production could not be listed: GET " in done.stderr
            assert len(status(product)["stuck"]) == (times == 3)
        [row] = product.decisions()
        assert (row["target"], row["outcome"]) == ("@champion", "applied")
        [stuck] = status(product)["stuck"]
        assert (stuck["kind"], stuck["target"], stuck["failures"]) == ("list", "Production", 3)
        assert "of the requests to Production, 3 times in a row" in product.ok("status")
        assert "not that search" in product.ok("status")
        request = {"name": name("fraud"), "version": "1", "key": "transition_request.stage.Production"}
        server.call("POST", "model-versions/set-tag", json=request | {"value": "please"})
        shown = product.ok("request", "show", name("fraud"), "1", "Production")
        assert ": the requests to Production cannot be listed, 3 times in a row:\n" in shown
        server.call("DELETE", "model-versions/delete-tag", json=request)

        metrics, log = tmp_path / "m.prom", tmp_path / "log"
        product.variables["RECONCILER_METRICS__PATH"] = str(metrics)
        with daemon(product, log):
            until(lambda: metrics.exists() and b"1 stuck" in log.read_bytes(), "a cycle that tells it")
            shown = metrics.read_text()
        assert 'mlflow_reconciler_stuck{kind="list"} 1.0' in shown
        refused.clear()
        product.ok("once")
        assert status(product)["stuck"] == []


def test_after_a_cycle_that_failed_status_does_not_say_that_nothing_was_open(product: Product) -> None:
    product.variables["RECONCILER_REGISTRY__URI"] = "http://127.0.0.1:1"
    product.run("once")
    told = product.run("status")
    assert "no request was open" not in told.stdout + told.stderr
    assert "which requests are open is not known" in told.stderr


def test_whoever_may_read_the_experiment_may_read_the_file_and_nobody_else(
    guarded: Guarded,
    by_svc: Product,
    name: Name,
) -> None:
    experiment = guarded.call("POST", "experiments/create", json={"name": name("secret")})["experiment_id"]
    guarded.experiment = experiment
    run = guarded.version(name("m"), metric=0.94)
    place = guarded.call("GET", "runs/get", params={"run_id": run})["run"]["info"]["artifact_uri"]
    path = place.removeprefix("mlflow-artifacts:/")
    address = f"{guarded.uri}/api/2.0/mlflow-artifacts/artifacts/{path}/model/MLmodel"
    requests.put(address, MLMODEL.encode(), auth=("root", PASSWORD), timeout=60).raise_for_status()
    by_svc.policy(f"version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require: [{{{SIGNATURE}}}]\n")
    assert "would approve" in by_svc.ok("explain", name("m"), "1", "Production")
    guarded.grant("experiment", experiment, "DENY")
    refused = by_svc.run("explain", name("m"), "1", "Production")
    assert (refused.returncode, "(unreadable)" in refused.stdout) == (3, True)
    assert "403" in refused.stdout
