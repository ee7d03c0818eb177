"""Whoever asks is told at once, may follow the request, and hears what to do next; on real servers."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import DECISION, Product, Server, served
from tests.acceptance.test_daemon import daemon, until
from tests.command import COMMAND
from tests.terminal import on_terminal

Name = Callable[[str], str]


@pytest.fixture(params=["tags", "transition-requests"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The same stories by either protocol."""
    uri = "mlflow_uri" if request.param == "tags" else "app_uri"
    yield from served(request.getfixturevalue(uri), request.param)


def create(product: Product, model: str, *more: str) -> subprocess.CompletedProcess[str]:
    return product.run("request", "create", model, "1", "Production", "--requester", "ada", *more)


def test_a_request_that_no_rule_covers_is_told_at_once_and_in_the_list(
    server: Server, product: Product, name: Name
) -> None:
    server.version(name("fraud"), metric=0.94)
    done = product.run("request", "create", name("fraud"), "1", "Staging")
    assert done.returncode == 0
    assert f"no rule covers it: the policy has none for {name('fraud')} version 1 to Staging" in done.stderr
    assert "rules for this model cover @champion, Production" in done.stderr
    assert f"mlflow-reconciler request withdraw {name('fraud')} 1 Staging" in done.stderr
    rows = json.loads(product.ok("request", "list", "--format", "json"))
    assert [(row["covered"], row["rule"]) for row in rows if row["model"] == name("fraud")] == [
        (False, "no rule covers it")
    ]
    assert "no rule" in product.ok("request", "list")
    product.ok("request", "withdraw", name("fraud"), "1", "Staging")


def test_a_request_for_an_alias_that_no_rule_names_is_listed_where_the_registry_lists_all(
    server: Server, product: Product, name: Name
) -> None:
    server.version(name("fraud"), metric=0.94)
    product.ok("request", "create", name("fraud"), "1", "@shadow")
    listed = product.run("request", "list")
    if server.protocol == "tags":
        assert "requests for aliases that no rule names are not listed" in listed.stderr
    else:
        told = listed.stdout[listed.stdout.index(name("fraud")) :]
        assert "@shadow" in told
        assert "no rule" in told
        assert listed.stderr == ""
    product.ok("request", "withdraw", name("fraud"), "1", "@shadow")


def test_a_comment_that_the_server_refuses_as_too_long_is_told_as_that(
    server: Server, product: Product, name: Name
) -> None:
    server.version(name("fraud"), metric=0.94)
    done = create(product, name("fraud"), "--comment", "x" * 120_000)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "comment" in done.stderr
    told = {"tags": "too long for this server", "transition-requests": "at most 65535 characters"}
    assert told[server.protocol] in done.stderr
    assert len(done.stderr) < 1000


@pytest.mark.parametrize("policy", ["", "/nowhere/policy.yaml", "broken"])
def test_a_request_is_filed_and_listed_without_a_policy(
    server: Server, product: Product, name: Name, policy: str
) -> None:
    server.version(name("fraud"), metric=0.94)
    if policy == "broken":
        product.policy("rules: none")
    else:
        product.variables["RECONCILER_POLICY"] = policy
    environment = {key: value for key, value in product.environment().items() if key != "RECONCILER_POLICY" or value}
    done = subprocess.run(
        [COMMAND, "request", "create", name("fraud"), "1", "Production"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no rule covers it" not in done.stderr
    assert ("it is not known whether a rule covers it" in done.stderr) == bool(policy)
    listed = subprocess.run(
        [COMMAND, "request", "list", "--format", "json"], env=environment, capture_output=True, text=True, check=True
    )
    assert [row["covered"] for row in json.loads(listed.stdout) if row["model"] == name("fraud")] == [None]


def test_a_request_is_followed_to_its_end_by_exit_code(
    server: Server, product: Product, name: Name, tmp_path: Path
) -> None:
    for model, metric in (("good", 0.94), ("bad", 0.5)):
        server.version(name(model), metric=metric)
    late = create(product, name("good"), "--wait", "--timeout", "1s")
    assert (late.returncode, "still open after 1s" in late.stderr) == (3, True), late.stderr
    assert f"mlflow-reconciler request show {name('good')} 1 Production" in late.stderr
    product.ok("request", "withdraw", name("good"), "1", "Production")
    with daemon(product, tmp_path / "log"):
        approved = create(product, name("good"), "--wait", "--timeout", "2m")
        assert approved.returncode == 0, approved.stderr
        assert "approved: Approved " in approved.stderr
        assert "validation_accuracy 0.94, at least 0.9 required" in approved.stderr
        rejected = create(product, name("bad"), "--wait", "--timeout", "2m")
        assert rejected.returncode == 1, rejected.stderr
        assert "rejected: Rejected " in rejected.stderr
        # What an earlier request came to is not taken for the answer to this one.
        again = create(product, name("bad"), "--wait", "--timeout", "2m")
        assert again.returncode == 1
        [last] = product.decisions("--limit", "1")
        assert last["decision_id"] in again.stderr


def test_a_request_that_is_withdrawn_while_it_is_followed_ends_the_waiting(
    server: Server, product: Product, name: Name
) -> None:
    server.version(name("fraud"), metric=0.94)
    command = [COMMAND, "request", "create", name("fraud"), "1", "Production", "--wait", "--timeout", "2m"]
    process = subprocess.Popen(command, env=product.environment(), stderr=subprocess.PIPE, text=True)
    until(lambda: server.asked(name("fraud")) is not None, "the request")
    product.ok("request", "withdraw", name("fraud"), "1", "Production")
    assert process.wait(120) == 4
    assert process.stderr is not None
    assert "withdrawn: the request was taken back, and nothing was decided\n" in process.stderr.read()


def test_a_terminal_shows_a_spinner_while_it_waits(server: Server, product: Product, name: Name) -> None:
    server.version(name("fraud"), metric=0.94)
    command = [COMMAND, "request", "create", name("fraud"), "1", "Production", "--wait", "--timeout", "2s"]
    code, shown = on_terminal(command, product.environment())
    assert code == 3
    assert "waiting up to 2s for a decision about" in shown
    assert "\x1b[?25l" in shown


def test_show_tells_the_open_request_then_the_decision_then_that_there_is_none(
    server: Server, product: Product, name: Name
) -> None:
    server.version(name("fraud"), metric=0.5)
    none = product.run("request", "show", name("fraud"), "1", "Production")
    assert (none.returncode, "no request is open, and none was decided" in none.stderr) == (4, True)
    create(product, name("fraud"), "--comment", "beats version 6")
    shown = product.ok("request", "show", name("fraud"), "1", "Production")
    assert shown.startswith(f"{name('fraud')} version 1 to Production: open\n")
    assert "beats version 6" in shown
    assert "ada" in shown
    product.ok("once")
    told = json.loads(product.ok("request", "show", name("fraud"), "1", "Production", "--json"))
    assert (told["open"], told["holds_target"]) == (False, False)
    assert told["last_decision"] == server.shown(name("fraud"))["tags"][DECISION]
    assert told["last_decision"].startswith(f"Rejected {name('fraud')} version 1 for Production: validation_accuracy")


def test_a_model_that_is_not_there_exits_4_with_json_and_the_nearest_names(
    server: Server, product: Product, name: Name
) -> None:
    server.version(name("fraud"), metric=0.94)
    typed = name("fraud").replace("fraud", "frod")
    done = product.run("explain", typed, "1", "Production", "--json")
    assert done.returncode == 4
    error = json.loads(done.stdout)["error"]
    assert (error["kind"], error["exit_code"]) == ("NotFound", 4)
    assert name("fraud") in error["did_you_mean"]
    assert error["message"].startswith(f"no model '{typed}' at {server.uri}: did you mean")
    version = product.run("explain", name("fraud"), "9", "Production")
    assert (version.returncode, version.stdout) == (4, "")
    assert f"model '{name('fraud')}' has no version 9: its newest version is 1" in version.stderr
    for command in ("show", "create", "withdraw"):
        assert product.run("request", command, typed, "1", "Production").returncode == 4
    # What is no version number is no rejection either.
    assert product.run("explain", name("fraud"), "x", "Production").returncode == 2


def test_explain_names_the_next_step_that_fits(server: Server, product: Product, name: Name) -> None:
    server.version(name("good"), metric=0.94)
    server.version(name("bad"), metric=0.5)
    good = product.run("explain", name("good"), "1", "Production").stderr
    assert good == f"request it: mlflow-reconciler request create {name('good')} 1 Production\n"
    bad = product.run("explain", name("bad"), "1", "Production").stderr
    assert bad.startswith("fix the failed checks, then look again: mlflow-reconciler explain ")
    assert "ask the policy's owner for a rule" in product.run("explain", name("bad"), "1", "Staging").stderr
    create(product, name("good"))
    assert "a request is open" in product.run("explain", name("good"), "1", "Production").stderr
    product.ok("once")
    holding = product.run("explain", name("good"), "1", "Production").stderr
    assert holding == "version 1 already holds Production\nthere is nothing to request\n"
    product.ok("request", "create", name("good"), "1", "@champion")
    product.ok("once")
    told = json.loads(product.ok("explain", name("good"), "1", "@champion", "--json"))
    assert (told["holds_target"], told["next_step"]) == (True, "there is nothing to request")


def test_explain_names_the_metrics_that_were_logged_where_one_is_missing(
    server: Server, product: Product, name: Name
) -> None:
    run = server.version(name("fraud"), metric=None)
    for key in ("loss", "val_accuracy"):
        server.call("POST", "runs/log-metric", json={"run_id": run, "key": key, "value": 0.95, "timestamp": 1})
    table = product.run("explain", name("fraud"), "1", "Production")
    assert (table.returncode, "    logged there: val_accuracy, loss\n" in table.stdout) == (1, True)
    page = product.run("explain", name("fraud"), "1", "Production", "--format", "markdown").stdout
    assert "(logged there: `val_accuracy`, `loss`)" in page
    [missing, *others] = json.loads(product.run("explain", name("fraud"), "1", "Production", "--json").stdout)["checks"]
    assert (missing["code"], missing["logged_there"]) == ("metric_missing", ["val_accuracy", "loss"])
    assert [check["logged_there"] for check in others] == [[] for _ in others]


def test_observe_speaks_in_the_conditional_everywhere(
    server: Server, product: Product, name: Name, tmp_path: Path
) -> None:
    server.version(name("good"), metric=0.94)
    server.version(name("bad"), metric=0.5)
    for model in ("good", "bad"):
        server.ask(name(model))
    product.mode = "observe"
    once = product.run("once").stderr
    assert f"{name('good')} version 1 to Production: would approve: validation_accuracy 0.94" in once
    assert "2 open, 1 would be approved, 1 would be rejected; mode observe" in once
    status = product.ok("status")
    assert "1 would be approved" in status
    assert {row["would"] for row in json.loads(product.ok("status", "--json"))["open_requests"]} == {
        "approve",
        "reject",
    }
    assert "would" in status[status.index("state") :]
    listed = product.ok("audit", "list")
    assert "would approve, observed (nothing)" in listed
    assert "would reject, observed (nothing)" in listed
    report = product.ok("audit", "report", "decisions")
    assert "1 would approve, 1 would reject" in report.split("by verdict:")[0]
    assert {row["effect"] for row in product.decisions()} == {"nothing"}
    for text in (once, status, listed, report):
        assert " approved" not in text.replace("would be approved", "")
        assert " rejected" not in text.replace("would be rejected", "")


def test_in_mode_observe_whoever_asks_hears_that_nothing_is_moved_and_what_to_do(
    server: Server, product: Product, name: Name
) -> None:
    server.version(name("good"), metric=0.94)
    product.mode = "observe"
    said = (
        "the daemon only observes (mode observe): nothing is moved; "
        "ask its operator for mode enforce, or a person to decide\n"
    )
    before = product.run("explain", name("good"), "1", "Production")
    assert (before.returncode, ": would approve (" in before.stdout) == (0, True)
    request = f"request it: mlflow-reconciler request create {name('good')} 1 Production\n"
    assert before.stderr == request + said
    assert create(product, name("good")).stderr.count(said) == 1
    product.ok("once")
    after = product.run("explain", name("good"), "1", "Production").stderr
    assert after == f"a request is open: the daemon records that it would approve it in its next cycle\n{said}"
    assert product.run("request", "show", name("good"), "1", "Production").stderr.endswith(said)
    assert server.shown(name("good"))["current_stage"] == "None"
    product.variables["RECONCILER_MODE"] = "enforce"
    assert said not in product.run("request", "show", name("good"), "1", "Production").stderr


def test_the_effect_stands_beside_the_outcome(server: Server, product: Product, name: Name) -> None:
    server.version(name("good"), metric=0.94)
    server.version(name("bad"), metric=0.5)
    for model in ("good", "bad"):
        server.ask(name(model))
    once = product.run("once").stderr
    assert f"{name('bad')} version 1 to Production: applied (refused): " in once
    rows = {row["model"]: row for row in product.decisions()}
    assert {model: (row["outcome"], row["effect"], row["decider"]) for model, row in rows.items()} == {
        name("good"): ("applied", "moved", "daemon"),
        name("bad"): ("applied", "refused", "daemon"),
    }
    assert "reject, applied (refused)" in product.ok("audit", "list")
    shown = product.ok("audit", "show", rows[name("good")]["decision_id"])
    assert re.search(r"\neffect +moved\n", shown)
    counts = json.loads(product.ok("audit", "report", "decisions", "--format", "json"))["counts"]
    assert counts["by_effect"] == {"moved": 1, "refused": 1}


def cycles(metrics: Path) -> float:
    """How many the daemon has come through."""
    told = re.search(r'cycles_total\{result="ok"\} (\S+)', metrics.read_text() if metrics.exists() else "")
    return float(told[1]) if told else 0


def test_once_prints_no_debug_lines_and_run_tells_each_applied_decision_once_at_info(
    server: Server, product: Product, name: Name, tmp_path: Path
) -> None:
    server.version(name("good"), metric=0.94)
    server.ask(name("good"))
    log = tmp_path / "log"
    product.variables["RECONCILER_METRICS__PATH"] = str(tmp_path / "m.prom")
    with daemon(product, log):
        until(lambda: b"1 approved" in log.read_bytes(), "the cycle that decides")
        told = cycles(tmp_path / "m.prom")
        until(lambda: cycles(tmp_path / "m.prom") >= told + 5, "several idle cycles")
    lines = [line for line in log.read_text().splitlines() if ": applied (moved): " in line]
    assert len(lines) == 1
    assert " INFO " in lines[0]
    # Several idle cycles later: one line for the first of them.
    assert log.read_text().count("cycle: 0 open") == 1
    assert " DEBUG " not in product.run("once").stderr
