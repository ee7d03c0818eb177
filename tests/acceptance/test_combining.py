"""Policies of several files, and rules by the model's tags, on a real server and of real processes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.acceptance.conftest import Product, Server
from tests.acceptance.test_daemon import daemon, until
from tests.command import COMMAND

PAGE = Path(__file__).resolve().parents[2] / "docs/ci.md"
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


# --- before anybody asks -------------------------------------------------------------------------------------


def test_explain_tells_what_to_do_and_what_will_fail_later_in_each_format(
    product: Product, server: Server, name: Name
) -> None:
    rule = "version: 1\nrules:\n  - name: r\n    targets: [Production]\n"
    check = "    require: [{metric: validation_accuracy, min: 0.9, why: Standard 4.2, help: 'https://w.example/a'}]\n"
    product.policy(rule + "    from: 2099-01-01\n" + check)
    model = name("m")
    server.version(model, metric=0.8)
    now = product.run("explain", model, "1", "Production")
    assert (now.returncode, "(only_advisory)" in now.stdout, "they would reject" in now.stdout) == (3, True, True)
    later = product.run("explain", model, "1", "Production", "--at", "2099-01-01", "--format", "json")
    said = json.loads(later.stdout)
    assert (later.returncode, said["verdict"], said["checks"][0]["why"]) == (1, "reject", "Standard 4.2")
    assert said["evidence"]["read_at"] < "2099"
    page = product.run("explain", model, "1", "Production", "--at", "2099-01-01", "--format", "markdown").stdout
    assert "| failed | `metric validation_accuracy` | `at least 0.9` | `0.8` | `run " in page
    assert (
        "- `metric validation_accuracy`: train or measure again, and register the result as a new version "
        "(`Standard 4.2`, <https://w.example/a>)"
    ) in page
    assert product.run("explain", model, "1", "Production", "--at", "soon").returncode == 2
    assert product.run("explain", model, "1", "Production", "--json", "--format", "table").returncode == 2


def test_explain_judges_as_if_somebody_asked(product: Product, server: Server, name: Name) -> None:
    product.policy("version: 1\nrules: [{name: r, targets: [Production], require: [{requester: {allow: [ada]}}]}]\n")
    model = name("m")
    server.version(model, metric=0.8)
    asked = [
        product.run("explain", model, "1", "Production", *more).returncode
        for more in ((), ("--as", "ada"), ("--as", "eve"))
    ]
    assert asked == [1, 0, 1]


def test_a_decision_that_was_exported_is_a_case(product: Product, server: Server, name: Name) -> None:
    model = name("m")
    server.version(model, metric=0.8)
    server.ask(model)
    product.ok("once")
    [row] = [row for row in product.decisions() if row["model"] == model]
    (product.place / "decisions.json").write_text(product.ok("audit", "show", row["decision_id"], "--format", "json"))
    case = f"decisions: decisions.json\ncases:\n  - {{name: it, decision: {row['decision_id']}, expect: %s}}\n"
    cases = product.place / "policy.test.yaml"
    cases.write_text(case % "reject")
    assert "1 case, 0 failed" in product.ok("policy", "test")
    cases.write_text(case % "approve")
    failed = product.run("policy", "test", "--junit", str(product.place / "results.xml"))
    assert (failed.returncode, "FAIL it: expected approve, got reject" in failed.stdout) == (1, True)
    assert 'failures="1"' in (product.place / "results.xml").read_text()


def test_the_pipelines_of_the_documentation_do_what_they_say(
    product: Product, server: Server, name: Name, tmp_path: Path
) -> None:
    """As far as a shell can: each `run` but that which installs, in bash as GitHub runs it."""
    jobs = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)]
    steps = [step for job in jobs for inner in job["jobs"].values() for step in inner["steps"]]
    check, change, gate = (step["run"] for step in steps if "name" in step)
    for inner in (inner for job in jobs for inner in job["jobs"].values()):
        # As written: each variable is the job's, or GitHub's own, or has a default.
        used = set(re.findall(r"\$\{?([A-Z_]+)\b(?!:-)", " ".join(step.get("run", "") for step in inner["steps"])))
        assert {one for one in used if not one.startswith("GITHUB_")} <= set(inner.get("env", {}))
    place, summary = tmp_path / "checkout", tmp_path / "summary"
    place.mkdir()
    bad = name("bad")
    server.version(bad, metric=0.8)
    rule = "version: 1\nrules: [{name: r, targets: [Production], require: [{metric: validation_accuracy, min: %s}]}]\n"
    given = "given: {run: {metrics: {validation_accuracy: 0.95}}}"
    cases = f"cases: [{{name: good, target: Production, {given}, expect: approve}}]\n"
    (place / "policy.yaml").write_text(rule % 0.9)
    (place / "policy.test.yaml").write_text(cases)
    git = "git -c user.name=a -c user.email=a@b"
    setup = f"{git} init -q -b main && {git} add -A && {git} commit -q -m one"

    def shell(script: str, **variables: str) -> int:
        environment = product.environment() | {"GITHUB_STEP_SUMMARY": str(summary), "BASE": "main"} | variables
        environment["PATH"] = f"{Path(COMMAND).parent}:{environment['PATH']}"
        bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
        return subprocess.run(bash, cwd=place, env=environment, timeout=120).returncode

    assert shell(setup) == 0
    assert shell(check) == 0
    (place / "policy.yaml").write_text(rule % 0.97)
    assert shell(check) == 1
    assert (shell(change), "validation_accuracy: min was 0.9, is 0.97" in summary.read_text()) == (0, True)
    assert shell(gate, MODEL=bad, VERSION="1", RECONCILER_POLICY=str(place / "policy.yaml")) == 1
    assert "would reject" in summary.read_text()
