"""Policies of several files, and rules by the model's tags, on a real server and of real processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.conftest import Product, Server
from tests.acceptance.test_daemon import daemon, until

Name = Callable[[str], str]
MAIN = """\
version: 1
include: [{{file: teams/credit.yaml, models: ["{glob}"]}}]
rules:
  - name: tier-1
    when: {{model_tag: {{tier: "1"}}}}
    targets: [Production]
    require: [{{id: accuracy, metric: validation_accuracy, min: 0.9, overridable: true, why: Standard 4.2}}]
"""
TEAM = """\
version: 1
rules:
  - name: credit
    targets: [Production]
    require: [{{metric: validation_accuracy, min: {least}, overrides: [tier-1/accuracy]}}]
"""


@pytest.fixture
def team(product: Product) -> Path:
    folder = product.place / "teams"
    folder.mkdir()
    product.policy(MAIN.format(glob="credit-*"))
    file = folder / "credit.yaml"
    file.write_text(TEAM.format(least=0.7))
    return file


def tagged(server: Server, model: str, **tags: str) -> str:
    server.version(model, metric=0.8)
    for key, value in tags.items():
        body = {"name": model, "key": key, "value": value}
        server.call("POST", "registered-models/set-tag", json=body)
    return model


def test_a_rule_applies_by_the_models_own_tags(product: Product, server: Server, name: Name, team: Path) -> None:
    said = {}
    for label, tags in (("first", {"tier": "1"}), ("second", {"tier": "2"}), ("untagged", {})):
        done = product.run("explain", tagged(server, name(label), **tags), "1", "Production", "--json")
        said[label] = json.loads(done.stdout)
    assert {label: (one["verdict"], one["reason_code"]) for label, one in said.items()} == {
        "first": ("reject", "checks_failed"),
        "second": ("abstain", "no_policy"),
        "untagged": ("reject", "checks_failed"),
    }  # fmt: skip
    assert said["first"]["evidence"]["registered_model"]["tags"]["tier"]["head"] == "1"
    assert "validation_accuracy 0.8, at least 0.9 required (tier-1; Standard 4.2)" in said["first"]["reason"]


def test_a_teams_file_replaces_what_is_overridable_for_its_models_and_the_audit_says_so(
    product: Product, server: Server, name: Name, team: Path
) -> None:
    mine, others = tagged(server, "credit-" + name("x"), tier="1"), tagged(server, name("ads"), tier="1")
    for model in (mine, others):
        server.ask(model)
    product.ok("once")
    decided = {row["model"]: row for row in product.decisions() if row["model"] in (mine, others)}
    assert [decided[model]["verdict"] for model in (mine, others)] == ["approve", "reject"]
    assert decided[mine]["reason"].endswith("; replaced: tier-1/accuracy by credit/metric validation_accuracy")
    whole = json.loads(product.ok("audit", "show", decided[mine]["decision_id"], "--format", "json"))
    assert [(check["id"], check["role"], check["result"]) for check in whole["checks"]] == [
        ("accuracy", "overridden", "failed"), ("", "decides", "passed"),
    ]  # fmt: skip
    kept = product.place / "kept.yaml"
    kept.write_text(whole["policy"])
    assert whole["policy_digest"] in product.ok("policy", "validate", str(kept))
    product.ok("audit", "verify")
    product.ok("db", "check", "--all")


def test_a_changed_file_of_a_team_is_in_force_from_the_next_cycle_and_a_broken_one_is_mended_without_a_signal(
    product: Product, tmp_path: Path, team: Path
) -> None:
    log = tmp_path / "log"

    def told(text: str) -> None:
        until(lambda: text in log.read_text(), text)

    with daemon(product, log):
        told("started: version")
        team.write_text(TEAM.format(least=0.75))
        told("reloaded: policy")
        # A file that the policy in force does not include yet.
        (team.parent / "ads.yaml").write_text("version: 1\nrules: []\n")
        include = '[{{file: teams/ads.yaml, models: [x]}}, {{file: teams/credit.yaml, models: ["{glob}"]}}]'
        one = '[{{file: teams/credit.yaml, models: ["{glob}"]}}]'
        product.policy(MAIN.replace(one, include).format(glob="credit-*"))
        told("ads.yaml:2:8: rules: length must be at least 1")
        before = log.read_text().count("reloaded: policy")
        (team.parent / "ads.yaml").write_text(TEAM.format(least=0.5).replace("name: credit", "name: ads"))
        until(lambda: log.read_text().count("reloaded: policy") > before, "the mended file")


@pytest.mark.parametrize("writable", ["teams", "teams/credit.yaml"])
def test_a_file_that_others_may_write_or_replace_is_refused(product: Product, team: Path, writable: str) -> None:
    (product.place / writable).chmod(0o777)
    done = product.run("once")
    assert (done.returncode, "writable by users other than its owner" in done.stderr) == (78, True)
    assert writable in product.run("check").stdout


def test_what_replaces_what_is_shown_to_whoever_reviews_the_policy(product: Product, team: Path) -> None:
    shown = product.ok("policy", "validate")
    assert "'tier-1/accuracy' is replaced by 'credit/metric validation_accuracy' for *, of credit-*" in shown
    assert "2 rules in 2 files, digest" in shown
