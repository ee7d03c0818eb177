"""Request → evidence → verdict → decision → act → confirm, on a real server by the real command."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import DECISION, REQUEST, Product, Server

Name = Callable[[str], str]


# The same stories by either protocol, and by tags on older servers.
pytestmark = pytest.mark.either_protocol


def test_a_request_moves_a_good_version_and_its_tag_names_the_decision(
    server: Server, product: Product, name: Name
) -> None:
    server.version(name("fraud"), metric=0.94)
    server.ask(name("fraud"))
    product.ok("once")
    shown = server.shown(name("fraud"))
    [row] = product.decisions()
    assert shown["current_stage"] == "Production"
    assert REQUEST not in shown["tags"]
    assert f"(decision {row['decision_id']}," in shown["tags"][DECISION]
    assert (row["model"], row["version"], row["target"]) == (name("fraud"), "1", "Production")
    assert (row["verdict"], row["outcome"], row["requester_assurance"]) == ("approve", "applied", "unknown")


def test_a_failing_version_stays_and_a_tag_says_which_condition_it_misses(
    server: Server, product: Product, name: Name
) -> None:
    server.version(name("churn"), metric=0.85)
    server.ask(name("churn"))
    product.ok("once")
    shown = server.shown(name("churn"))
    assert shown["current_stage"] == "None"
    assert REQUEST not in shown["tags"]
    assert "validation_accuracy 0.85, at least 0.9 required" in shown["tags"][DECISION]


@pytest.mark.parametrize(
    ("metric", "run", "code"),
    [
        (float("nan"), True, "not_finite"),
        (float("inf"), True, "not_finite"),
        (1.2, True, "out_of_bounds"),
        (None, True, "metric_missing"),
        (None, False, "no_run"),
    ],
)
def test_a_value_that_is_none_is_rejected_with_its_own_code(
    server: Server, product: Product, name: Name, metric: float | None, run: bool, code: str
) -> None:
    server.version(name("m"), metric=metric, run=run)
    server.ask(name("m"))
    product.ok("once")
    [row] = product.decisions()
    whole = json.loads(product.ok("audit", "show", row["decision_id"], "--format", "json"))
    assert row["verdict"] == "reject"
    assert [check["code"] for check in whole["checks"]] == [code]
    assert {"check", "expected", "observed", "result", "source"} <= set(whole["checks"][0])
    assert {"evidence", "request", "outcomes"} <= set(whole)


def needs_logged_models(server: Server) -> None:
    if not server.has_logged_models:
        pytest.skip(f"MLflow {server.release} has no logged models")


def test_a_metric_of_another_models_run_is_not_this_models(server: Server, product: Product, name: Name) -> None:
    needs_logged_models(server)
    good = server.version(name("good"), metric=0.99)
    other = server.call("POST", "runs/create", json={"experiment_id": "0"})["run"]["info"]["run_id"]
    body = {"experiment_id": "0", "name": "bad", "source_run_id": other}
    model_id = server.call("POST", "logged-models", json=body)["model"]["info"]["model_id"]
    server.call("POST", "registered-models/create", json={"name": name("bad")})
    version = {"name": name("bad"), "source": f"models:/{model_id}", "model_id": model_id, "run_id": good}
    server.call("POST", "model-versions/create", json=version)
    server.ask(name("bad"))
    product.ok("once")
    [row] = product.decisions()
    whole = json.loads(product.ok("audit", "show", row["decision_id"], "--format", "json"))
    assert whole["checks"][0]["code"] == "measured_on_other_run"


def test_a_logged_models_own_metric_is_judged_on_the_dataset_that_the_policy_names(
    server: Server, product: Product, name: Name
) -> None:
    product.policy(
        "version: 1\nrules:\n  - name: holdout\n    targets: [Production]\n    require:\n"
        "      - {metric: validation_accuracy, min: 0.9, source: logged_model, dataset: holdout}\n"
    )
    needs_logged_models(server)
    run = server.call("POST", "runs/create", json={"experiment_id": "0"})["run"]["info"]["run_id"]
    body = {"experiment_id": "0", "name": "m", "source_run_id": run}
    model_id = server.call("POST", "logged-models", json=body)["model"]["info"]["model_id"]
    point = {"run_id": run, "key": "validation_accuracy", "step": 0, "model_id": model_id}
    for at, dataset, value in ((1, "train", 0.99), (2, "holdout", 0.93)):
        seen = {"dataset_name": dataset, "dataset_digest": f"{dataset}-digest", "value": value, "timestamp": at}
        server.call("POST", "runs/log-metric", json=point | seen)
    server.call("POST", "registered-models/create", json={"name": name("m")})
    version = {"name": name("m"), "source": f"models:/{model_id}", "model_id": model_id, "run_id": run}
    server.call("POST", "model-versions/create", json=version)
    server.ask(name("m"))
    product.ok("once")
    [row] = product.decisions()
    [check] = json.loads(product.ok("audit", "show", row["decision_id"], "--format", "json"))["checks"]
    assert (row["verdict"], check["observed"]) == ("approve", "0.93")
    assert check["source"] == f"logged model {model_id} dataset holdout (holdout-digest) step 0"


def test_where_a_version_has_no_logged_model_a_metric_of_one_is_definitely_missing(
    server: Server, product: Product, name: Name
) -> None:
    product.policy(
        "version: 1\nrules:\n  - name: logged\n    targets: [Production]\n    require:\n"
        "      - {metric: validation_accuracy, min: 0.9, source: logged_model}\n"
    )
    server.version(name("m"), metric=0.94)
    server.ask(name("m"))
    product.ok("once")
    [row] = product.decisions()
    [check] = json.loads(product.ok("audit", "show", row["decision_id"], "--format", "json"))["checks"]
    assert (row["verdict"], row["outcome"], check["code"]) == ("reject", "applied", "no_logged_model")
    warned = "WARN logged models: this server has none" in product.run("check").stdout
    assert warned is not server.has_logged_models


def test_an_alias_moves_to_the_version_that_was_asked_for(server: Server, product: Product, name: Name) -> None:
    server.version(name("vision"), metric=0.97)
    product.ok("request", "create", name("vision"), "1", "@champion", "--requester", "ada", "--comment", "best")
    product.ok("once")
    assert server.shown(name("vision"))["aliases"] == ["champion"]
    [row] = product.decisions()
    assert (row["target"], row["requester"], row["requester_assurance"]) == ("@champion", "ada", "asserted")
    assert row["comment"] == "best"


def test_observe_records_and_writes_nothing_and_enforce_then_acts(server: Server, product: Product, name: Name) -> None:
    server.version(name("fraud"), metric=0.94)
    server.ask(name("fraud"))
    before = server.shown(name("fraud"))
    product.mode = "observe"
    product.ok("once")
    product.ok("once")
    assert server.shown(name("fraud")) == before
    assert [(row["mode"], row["outcome"]) for row in product.decisions()] == [("observe", "observed")]
    product.mode = "enforce"
    product.ok("once")
    assert server.shown(name("fraud"))["current_stage"] == "Production"


def test_approve_only_leaves_a_failing_request_for_a_person(server: Server, product: Product, name: Name) -> None:
    server.version(name("churn"), metric=0.5)
    server.ask(name("churn"))
    product.mode = "approve-only"
    product.ok("once")
    assert server.asked(name("churn")) == "please"
    assert DECISION not in server.shown(name("churn"))["tags"]


def test_the_same_words_typed_again_are_a_new_request(server: Server, product: Product, name: Name) -> None:
    server.version(name("churn"), metric=0.5)
    for _ in range(2):
        server.ask(name("churn"), "please")
        product.ok("once")
        assert server.asked(name("churn")) is None
    assert [(row["verdict"], row["outcome"]) for row in product.decisions()] == [("reject", "applied")] * 2


def test_a_dry_run_says_what_would_be_decided_and_changes_nothing(server: Server, product: Product, name: Name) -> None:
    server.version(name("fraud"), metric=0.94)
    server.ask(name("fraud"))
    before = server.shown(name("fraud"))
    done = product.run("once", "--dry-run")
    assert done.returncode == 0
    assert "would approve" in done.stderr
    assert server.shown(name("fraud")) == before
    assert product.decisions() == []


@pytest.mark.parametrize(
    "model",
    ["line\nbreak", "esc\x1b[31mred", "=cmd|calc!A0", 'it\'s "quoted" `here`', "bidi\u202etxt", "%', (1) --"],
)
def test_a_hostile_name_is_decided_like_any_other(server: Server, product: Product, name: Name, model: str) -> None:
    server.version(model + name(""), metric=0.94)
    # The app takes no NUL, since not every database does; a tag may hold one.
    server.ask(model + name(""), "please\x1b[2J" + ("\0" if server.protocol == "tags" else ""))
    done = product.run("once")
    assert done.returncode == 0, done.stderr
    assert server.shown(model + name(""))["current_stage"] == "Production"
    assert not set(done.stderr) & {"\x1b", "\0", "\u202e"}
    assert len([line for line in done.stderr.splitlines() if "approve:" in line]) == 1
    cells = [cell for row in csv.reader(io.StringIO(product.ok("audit", "list", "--format", "csv"))) for cell in row]
    assert not [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@"))]


def test_four_megabytes_of_tags_on_one_version_stop_nothing(server: Server, product: Product, name: Name) -> None:
    server.version(name("heavy"), metric=0.94)
    for number in range(4_000_000 // server.longest_tag):
        server.tag(name("heavy"), "x" * server.longest_tag, key=f"ballast.{number}")
    server.ask(name("heavy"))
    product.ok("once")
    assert server.shown(name("heavy"))["current_stage"] == "Production"


def test_explain_answers_by_exit_code_and_changes_nothing(server: Server, product: Product, name: Name) -> None:
    server.version(name("fraud"), metric=0.94)
    server.version(name("churn"), metric=0.5)
    before = server.shown(name("fraud"))
    assert product.run("explain", name("fraud"), "1", "Production").returncode == 0
    assert product.run("explain", name("churn"), "1", "Production").returncode == 1
    assert product.run("explain", name("churn"), "1", "Staging").returncode == 3
    assert product.run("explain", name("churn"), "1", "Prod").returncode == 2
    assert product.run("explain", name("churn"), "99", "Production").returncode == 4
    told = json.loads(product.run("explain", name("churn"), "1", "Production", "--json").stdout)
    assert (told["verdict"], told["checks"][0]["code"]) == ("reject", "below_min")
    assert server.shown(name("fraud")) == before


def test_requests_are_filed_listed_and_withdrawn(server: Server, product: Product, name: Name) -> None:
    server.version(name("fraud"), metric=0.94)
    id = product.ok("request", "create", name("fraud"), "1", "Production", "--requester", "ada").strip()
    again = product.run("request", "create", name("fraud"), "1", "Production")
    assert again.returncode == 1
    assert "ada" in again.stderr
    withdraw = f"mlflow-reconciler request withdraw {name('fraud')} 1 Production"
    assert again.stderr.endswith(f" is already open: withdraw it first: {withdraw}\n")
    listed = json.loads(product.ok("request", "list", "--format", "json"))
    assert [(row["id"], row["requester"]) for row in listed if row["model"] == name("fraud")] == [(id, "ada")]
    product.ok("request", "withdraw", name("fraud"), "1", "Production")
    assert product.run("request", "withdraw", name("fraud"), "1", "Production").returncode == 4
    assert REQUEST not in server.shown(name("fraud"))["tags"]


def test_check_says_ok_or_what_it_could_not_try_line_by_line(server: Server, product: Product) -> None:
    lines = product.ok("check").splitlines()
    assert {line.split()[0] for line in lines} == {"OK", "SKIP"}
    said = f"OK   registry: MLflow {server.release} at {server.uri} answers by the {server.protocol} protocol"
    assert said + server.lacks in lines
    product.variables["RECONCILER_REGISTRY__URI"] = "http://127.0.0.1:1"
    broken = product.run("check")
    assert broken.returncode == 1
    assert "FAIL registry: GET" in broken.stdout


def test_check_says_that_a_workspace_means_nothing_to_a_server_without_any(server: Server, product: Product) -> None:
    if server.has_workspaces:
        pytest.skip(f"MLflow {server.release} has workspaces")
    product.variables["RECONCILER_REGISTRY__WORKSPACE"] = "team-a"
    done = product.run("check")
    assert done.returncode == 1
    said = "FAIL workspace: this server has no workspaces and ignores registry.workspace (team-a): remove the setting"
    assert said in done.stdout


def test_a_registry_that_is_down_decides_nothing_and_exits_69(product: Product) -> None:
    product.variables["RECONCILER_REGISTRY__URI"] = "http://127.0.0.1:1"
    done = product.run("once")
    assert done.returncode == 69
    assert len(done.stderr.splitlines()) == 1
    assert "nothing decided: GET /api/2.0/mlflow/transition-requests/list: connection refused" in done.stderr
    assert product.decisions() == []


def test_status_and_report_are_readable(server: Server, product: Product, name: Name) -> None:
    server.version(name("fraud"), metric=0.94)
    server.ask(name("fraud"))
    product.ok("once")
    told = product.ok("status")
    assert "last cycle of" in told
    assert told.endswith("\nno open requests\n")
    assert json.loads(product.ok("status", "--json"))["open_requests"] == []
    report = product.ok("audit", "report", "decisions")
    assert "1 decision: 1 approve; effects: 1 moved" in report
    assert max(len(line) for line in report.splitlines()) <= 80
