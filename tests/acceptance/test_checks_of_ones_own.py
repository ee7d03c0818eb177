"""A check of a plugin in the running daemon, on a real server: what it decides, its code, and its process."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.acceptance.conftest import Product, Server
from tests.acceptance.laboratory import Laboratory
from tests.acceptance.test_daemon import daemon, ended, until
from tests.acceptance.test_signature import with_file
from tests.plugins.packages import install, source_of

Name = Callable[[str], str]
ABOVE = """
accuracy = evidence.run.metrics.get("validation_accuracy")
if accuracy is None:
    return missing("gone", "no accuracy")
return (passed if accuracy.value >= {least} else (lambda *args, **more: failed("bad", *args, **more)))(accuracy.text)
"""


@pytest.fixture
def site(product: Product, name: Name, tmp_path: Path) -> Path:
    """Where the product finds the package of its check `mine`."""
    folder = tmp_path / "site"
    install(folder, source_of(ABOVE.format(least=0.9)))
    product.variables |= {"PYTHONPATH": str(folder), "RECONCILER_PLUGINS__CHECKS": "mine"}
    rule = {"name": "ours", "models": [name("*")], "targets": ["Production"], "require": [{"mine": {}}]}
    product.policy(f"version: 1\nrules: [{json.dumps(rule)}]\n")
    return folder


def test_every_command_that_judges_knows_the_check(server: Server, product: Product, name: Name, site: Path) -> None:
    for model, value in {"good": 0.95, "bad": 0.5}.items():
        server.version(name(model), metric=value)
        server.ask(name(model))
    assert product.run("explain", name("good"), "1", "Production").returncode == 0
    refused = product.run("explain", name("bad"), "1", "Production")
    assert (refused.returncode, "mine: 0.5; required: something good" in refused.stdout) == (1, True)
    assert "OK   plugins: mine of acme-mine 1.0.0 (sha256 " in product.run("check").stdout
    assert product.run("once").returncode == 0
    assert {row["model"]: row["verdict"] for row in product.decisions()} == {
        name("good"): "approve", name("bad"): "reject",
    }  # fmt: skip
    fleet = product.run("fleet", "--format", "json")
    assert [row["result"] for row in json.loads(fleet.stdout)["rows"]] == ["passes"]
    assert product.run("audit", "reperform").returncode == 0
    coverage = json.loads(product.run("audit", "report", "coverage", "--format", "json").stdout)
    assert [rule["decisions"] for rule in coverage["rules"]] == [2]


def test_the_daemon_takes_in_other_code_when_it_is_told_to_and_leaves_no_process(
    server: Server, product: Product, name: Name, site: Path, tmp_path: Path
) -> None:
    server.version(name("fraud"), metric=0.95)
    server.version(name("churn"), metric=0.95)
    log = tmp_path / "log"
    with daemon(product, log) as process:
        until(lambda: b"cycle: 0 open" in log.read_bytes(), "the first cycle")
        install(site, source_of(ABOVE.format(least=0.99)))
        server.ask(name("fraud"))
        until(lambda: len(product.decisions()) == 1, "a decision by the code that was loaded")
        process.send_signal(signal.SIGHUP)
        until(lambda: b"reloaded: policy" in log.read_bytes(), "the reload")
        server.ask(name("churn"))
        until(lambda: len(product.decisions()) == 2, "a decision by the new code")
        judging = psutil.Process(process.pid).children()
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    assert {row["model"]: row["verdict"] for row in product.decisions()} == {
        name("fraud"): "approve", name("churn"): "reject",
    }  # fmt: skip
    ids = [row["decision_id"] for row in product.decisions()]
    shown = [json.loads(product.run("audit", "show", id, "--format", "json").stdout)["evidence"] for id in ids]
    digests = {evidence["code"]["checks"]["mine"]["sha256"] for evidence in shown}
    assert len(digests) == 2
    assert judging
    # What an ended daemon leaves is taken over by the first process, which looks for it now and then.
    until(lambda: not any(map(psutil.Process.is_running, judging)), "their end")
    assert [line for line in log.read_text().splitlines() if "mine of acme-mine 1.0.0 (sha256 " in line][1:]
    assert "Traceback" not in log.read_text()


def test_a_check_that_hangs_keeps_no_other_request_waiting_and_dies_with_a_killed_daemon(
    server: Server, product: Product, name: Name, site: Path, tmp_path: Path
) -> None:
    install(site, source_of('if evidence.version.tags.get("owner"):\n    while True: pass\nreturn passed("fine")'))
    product.variables |= {"RECONCILER_PLUGINS__TIMEOUT": "1s", "RECONCILER_LOG__LEVEL": "debug"}
    server.version(name("hangs"), metric=0.95)
    server.tag(name("hangs"), "somebody", "owner")
    server.version(name("fraud"), metric=0.95)
    log = tmp_path / "log"
    with daemon(product, log) as process:
        server.ask(name("hangs"))
        server.ask(name("fraud"))
        until(lambda: [row["model"] for row in product.decisions()] == [name("fraud")], "the other decision")
        until(lambda: b"took longer than 1s" in log.read_bytes(), "the abstention")
        children = psutil.Process(process.pid).children
        until(lambda: bool(children()), "a process that judges")
        judging = children()
        process.kill()
        until(lambda: not any(map(psutil.Process.is_running, judging)), "its end")


LOOKS_AT_ALL = """
loss, staging = evidence.histories["loss"], evidence.held["Staging"]
if not staging.holds or staging.lasted < evidence.now - evidence.now:
    return failed("bad", "not staged")
names = ",".join(column.name for column in evidence.signature.inputs)
return passed(f"{loss.lowest.text} {loss.at(1)[0].text} {loss.points} {names}", source=f"tenure {staging.since}")
"""
NEEDS = """
def needs(self, terms):
    return Needs(histories={"loss"}, steps={1}, held={"Staging"}, signature=True)
"""


def test_it_sees_on_a_real_server_what_the_products_own_checks_see(
    product: Product, name: Name, tmp_path: Path
) -> None:
    install(tmp_path / "site", source_of(LOOKS_AT_ALL, more=NEEDS))
    product.variables |= {"PYTHONPATH": str(tmp_path / "site"), "RECONCILER_PLUGINS__CHECKS": "mine"}
    server = Server(product.uri)
    model = with_file(Laboratory(server, name), "fraud")
    run = server.shown(model)["run_id"]
    for step, value in enumerate((0.75, 0.25, 0.5)):
        body = {"run_id": run, "key": "loss", "value": value, "timestamp": step, "step": step}
        server.call("POST", "runs/log-metric", json=body)
    server.call("POST", "model-versions/transition-stage", json={"name": model, "version": "1", "stage": "Staging"})
    server.ask(model)
    rule = {"name": "ours", "models": [model], "targets": ["Production"], "require": [{"mine": {}}]}
    product.policy(f"version: 1\nrules: [{json.dumps(rule)}]\n")
    product.ok("once")
    product.ok("once")
    [decision] = product.decisions()
    whole = json.loads(product.ok("audit", "show", decision["decision_id"], "--format", "json"))
    [check] = whole["checks"]
    assert (decision["outcome"], check["code"], check["observed"]) == ("applied", "ok", "0.25 0.25 3 age,income")
    since = whole["evidence"]["tenure"]["targets"]["Staging"]["since"]
    assert check["source"].endswith(f"; tenure {since.replace('T', ' ').replace('Z', '000+00:00')}")
    assert product.ok("audit", "reperform").endswith("1 agree, 0 differ, 0 cannot be judged\n")
