"""Pause, status, check, metrics, journal, backup, copy: what an operator holds in his hand; and what never shows."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine, create_engine, event, make_url, text

from reconciler import __version__, doctor
from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.transfer import copy
from reconciler.cycle import CycleSummary
from reconciler.daemon.metrics import Metrics
from reconciler.domain.decision import Mode
from reconciler.ports import SchemaMismatch
from reconciler.settings.load import load_settings
from tests import command
from tests.acceptance.conftest import Product
from tests.acceptance.test_daemon import daemon, ended, until
from tests.databricks_double import Workspace, workspace
from tests.postgres import PostgresServer
from tests.roles import daemon_role

ROOT = Path(__file__).resolve().parents[2]
LATER = (
    "version: 1\nrules:\n  - name: later\n    targets: [Production]\n"
    "    require: [{metric: validation_accuracy, min: 0.9, on_missing: abstain}]\n"
)


def test_a_pause_lets_the_daemon_judge_but_not_act_and_is_told_everywhere(
    held: Workspace, product: Product, tmp_path: Path
) -> None:
    held.ask("m", held.version("m", "0.95"))
    product.ok("pause", "--reason", "release freeze", "--by", "ada")
    assert product.run("pause", "--reason", "again").returncode == 1
    product.variables["RECONCILER_METRICS__PATH"] = str(tmp_path / "m.prom")
    log = tmp_path / "log"
    with daemon(product, log):
        until(lambda: b"acts are paused: release freeze" in log.read_bytes(), "the log telling it")
        assert "acts are paused since" in product.ok("status")
        assert "mlflow_reconciler_paused 1.0" in (tmp_path / "m.prom").read_text()
        assert [(row["mode"], row["outcome"]) for row in product.decisions()] == [("observe", "observed")]
        assert held.heard == []
        product.ok("resume", "--by", "bob")
        until(lambda: held.models["m"]["1"].stage == "Production", "the act after it")
    assert picture(product)["paused"] is None


def test_a_pause_says_why_and_a_second_one_says_who_paused_when_and_why(product: Product, tmp_path: Path) -> None:
    for reason in ("", "  "):
        assert product.run("pause", "--reason", reason).returncode == 2
    product.ok("pause", "--reason", "release freeze", "--by", "ada")
    with closing(sqlite3.connect(tmp_path / "audit.db")) as owner:
        [(at, *_)] = owner.execute("SELECT at FROM pause_events")
        second = product.run("pause", "--reason", "mine", "--by", "bob")
        assert f"since {at} by ada: release freeze; this call changed nothing" in second.stderr
        assert owner.execute("SELECT person, reason FROM pause_events").fetchall() == [("ada", "release freeze")]


def test_a_pause_waits_for_another_programs_lock_longer_than_one_attempt(product: Product, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "audit.db", isolation_level=None)) as other, ThreadPoolExecutor(1) as pool:
        other.execute("BEGIN IMMEDIATE")
        paused = pool.submit(product.run, "pause", "--reason", "release freeze", "--by", "ada")
        # One attempt waits for ten seconds.
        with pytest.raises(TimeoutError):
            paused.result(11)
        other.execute("ROLLBACK")
        done = paused.result()
    assert (done.returncode, "database is locked" in done.stderr) == (0, True), done.stderr
    assert "acts are paused since" in product.ok("status")


def test_status_is_a_monitoring_check(held: Workspace, product: Product) -> None:
    assert product.run("status", "--max-age", "5m").returncode == 1
    product.ok("once")
    well = product.run("status", "--max-age", "5m")
    assert (well.returncode, len(well.stdout.splitlines())) == (0, 1)
    time.sleep(1.2)
    assert product.run("status", "--max-age", "1s").returncode == 1
    held.wire = lambda method, path: "503"
    product.run("once")
    broken = product.run("status", "--max-age", "5m")
    assert (broken.returncode, broken.stdout.startswith("not ok: ")) == (1, True)


def test_status_tells_ages_waits_policy_and_skew(held: Workspace, product: Product) -> None:
    product.policy(LATER)
    held.ask("m", held.version("m"))
    product.ok("once")
    told = product.ok("status")
    assert re.search(r"open: 1 under an hour; not decided: 1 a value is missing\n", told)
    # One cycle by hand is no replica.
    assert "replicas alive: 0" in told
    assert re.search(r"policy [0-9a-f]{12} since 20\S+Z, clock skew ([+-][1-9] s|under a second)", told)


def test_whoever_asks_for_what_a_version_holds_already_is_told(held: Workspace, product: Product) -> None:
    for stage in ("None", "Production"):
        held.models.setdefault("m", {})[held.version("m")].stage = stage
    told = {version: product.run("request", "create", "m", version, "Production").stderr for version in ("1", "2")}
    assert [version for version in told if "already holds Production" in told[version]] == ["2"]


@pytest.fixture
def moved(held: Workspace, product: Product) -> Iterator[Workspace]:
    """Another registry, which the configuration names now: the old one left an open request."""
    product.policy(LATER)
    held.ask("old-model", held.version("old-model"))
    product.ok("once")
    with workspace() as held_now:
        product.uri = held_now.uri
        yield held_now


def picture(product: Product, *arguments: str) -> dict[str, Any]:
    return dict(json.loads(product.ok("status", "--json", *arguments)))


def test_status_tells_of_the_configured_registry_and_that_others_are_recorded(
    held: Workspace, moved: Workspace, product: Product
) -> None:
    told = product.ok("status").splitlines()
    assert told[0] == f"no cycle has run yet on {moved.uri}"
    said = rf"also recorded here: {held.uri}: 1 open request, last cycle \ds ago \(\S+ status --all-registries\)"
    assert re.fullmatch(said, told[-1])
    moved.ask("new-model", moved.version("new-model"))
    product.ok("once")
    product.uri += "/"
    told = product.ok("status").splitlines()
    assert told[0].startswith("ok: last cycle of ")
    assert re.fullmatch(said, told[-1])
    assert ("new-model" in "".join(told), "old-model" in "".join(told)) == (True, False)


def test_status_in_json_has_the_rows_of_the_configured_registry_and_a_count_of_others(
    held: Workspace, moved: Workspace, product: Product
) -> None:
    [before] = picture(product, "--all-registries")["daemons"]
    product.ok("once")
    told = picture(product)
    assert [one["registry"] for one in told["daemons"]] == [moved.uri]
    assert (told["open_requests"], told["open"]["count"]) == ([], 0)
    [other] = told["other_registries"]
    last = other.pop("last_cycle_at")
    assert other == {"registry": held.uri, "workspace": "", "open": 1}
    assert last == before["last_cycle_at"]


def test_status_of_all_registries_names_the_registry_of_each_row(
    held: Workspace, moved: Workspace, product: Product
) -> None:
    moved.ask("new-model", moved.version("new-model"))
    product.ok("once")
    product.variables["COLUMNS"] = "200"
    told = product.ok("status", "--all-registries")
    for registry, model in ((held.uri, "old-model"), (moved.uri, "new-model")):
        assert f"  on {registry}, policy " in told
        assert re.search(rf"{model} .* {registry}", told)
    assert "also recorded" not in told
    assert picture(product, "--all-registries")["other_registries"] == []


def test_the_monitoring_check_and_the_replicas_are_of_the_configured_registry(
    held: Workspace, moved: Workspace, product: Product, tmp_path: Path
) -> None:
    done = product.run("status", "--max-age", "5m")
    assert (done.returncode, done.stdout) == (1, f"no cycle has run yet on {moved.uri}, but on {held.uri}\n")
    assert product.run("status", "--max-age", "5m", "--all-registries").returncode == 0
    with daemon(product, tmp_path / "log"):
        until(lambda: product.run("status", "--max-age", "5m").returncode == 0, "a cycle")
        assert picture(product)["replicas_alive"] == 1
        product.uri = held.uri
        assert picture(product)["replicas_alive"] == 0


def test_another_workspace_of_a_registry_is_another_registry(held: Workspace, product: Product) -> None:
    product.ok("once")
    product.variables["RECONCILER_REGISTRY__WORKSPACE"] = "team"
    assert product.ok("status").startswith(f"no cycle has run yet on {held.uri}, workspace team\n")
    product.ok("once")
    told = picture(product)
    assert [one["workspace"] for one in told["daemons"]] == ["team"]
    assert [(one["registry"], one["workspace"]) for one in told["other_registries"]] == [(held.uri, "")]


@pytest.mark.parametrize("uri", ["", "databricks"])
def test_where_no_address_is_configured_every_registry_is_told(
    moved: Workspace, product: Product, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    product.ok("once")
    monkeypatch.setenv("RECONCILER_AUDIT__URL", product.environment()["RECONCILER_AUDIT__URL"])
    if uri:
        monkeypatch.setenv("RECONCILER_REGISTRY__URI", uri)
    done = command.run("status", "--json", environment=os.environ)
    told = json.loads(done.stdout)
    assert (len(told["daemons"]), told["other_registries"]) == (2, [])
    assert [one["model"] for one in told["open_requests"]] == ["old-model"]


def test_a_daemon_signs_off_when_it_ends_and_one_cycle_is_no_replica(product: Product, tmp_path: Path) -> None:
    for _ in range(3):
        product.ok("once")
    assert (picture(product)["replicas_alive"], len(picture(product)["daemons"])) == (0, 1)
    with daemon(product, tmp_path / "log") as process:
        until(lambda: picture(product)["replicas_alive"] == 1, "the daemon in status")
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    told = picture(product)
    assert (told["replicas_alive"], len(told["daemons"])) == (0, 1)
    assert told["daemons"][0]["ended_at"] is not None


def test_check_tells_each_thing_with_its_remedy(held: Workspace, product: Product, tmp_path: Path) -> None:
    findings = {one["name"]: one for one in json.loads(product.ok("check", "--json"))}
    assert set(findings) >= {"configuration", "policy", "registry", "tls", "proxy", "permissions", "database",
                             "append-only", "disk", "credentials", "clock", "rights"}  # fmt: skip
    assert {one["level"] for one in findings.values()} <= {"OK", "SKIP", "WARN"}
    held.version("m", "0.95")
    held.level = "CAN_READ"
    assert "FAIL permissions: may not decide about m (CAN_READ): grant" in product.run("check").stdout
    product.ok("once")
    with closing(sqlite3.connect(tmp_path / "audit.db")) as owner, owner:
        owner.execute("DROP TRIGGER policy_versions_no_delete")
    broken = product.run("check")
    assert (broken.returncode, "FAIL append-only: policy_versions can be deleted from" in broken.stdout) == (1, True)
    assert json.loads(product.ok("audit", "report", "decisions", "--format", "json"))["counts"]["policies"] == {}
    with closing(sqlite3.connect(tmp_path / "audit.db")) as owner:
        assert owner.execute("SELECT count(*) FROM policy_versions").fetchone() == (1,)


@pytest.mark.parametrize("rows", [0, 3])
def test_check_tries_to_change_one_row_of_history_and_not_more(
    product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    with closing(sqlite3.connect(tmp_path / "audit.db")) as owner, owner:
        for number in range(rows):
            owner.execute(
                "INSERT INTO pause_events (at, action, reason, person) VALUES ('2026', 'pause', ?, 'a')", [number]
            )
        owner.execute("DROP TRIGGER pause_events_no_delete")
        owner.execute("DROP TRIGGER pause_events_no_update")
    changed = []

    def count(connection: object, cursor: sqlite3.Cursor, statement: str, *_: object) -> None:
        if statement.startswith(("UPDATE", "DELETE")):
            changed.append(cursor.rowcount)

    for name, value in product.environment().items():
        monkeypatch.setenv(name, value)
    event.listen(Engine, "after_cursor_execute", count)
    try:
        findings = {one.name: one for one in doctor.check(load_settings(None), None)}
    finally:
        event.remove(Engine, "after_cursor_execute", count)
    said = "pause_events can be updated, pause_events can be deleted from: the triggers are missing"
    assert findings["append-only"].detail.startswith(said)
    assert changed == ([1, 1] if rows else [])
    with closing(sqlite3.connect(tmp_path / "audit.db")) as owner:
        assert owner.execute("SELECT count(*) FROM pause_events").fetchone() == (rows,)


def test_the_metrics_file_is_whole_readable_and_says_what_happened(
    held: Workspace, product: Product, tmp_path: Path
) -> None:
    path = tmp_path / "m.prom"
    product.variables["RECONCILER_METRICS__PATH"] = str(path)
    held.ask("good", held.version("good", "0.95"))
    held.ask("bad", held.version("bad", "0.5"))
    with daemon(product, tmp_path / "log"):
        until(lambda: path.exists() and 'verdict="rejected"} 1.0' in path.read_text(), "the metrics")
    written = path.read_text()
    assert 'mlflow_reconciler_decisions_total{verdict="approved"} 1.0' in written
    assert 'mlflow_reconciler_outcomes_total{outcome="applied"} 2.0' in written
    assert path.stat().st_mode & 0o777 == 0o644
    promtool = shutil.which("promtool")
    if promtool:
        done = subprocess.run(
            [promtool, "check", "metrics"], input=written, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_and_dashboard_name_only_metrics_that_there_are() -> None:
    known = {one.name for one in Metrics(None).described()}
    known |= {f"{name}{end}" for name in known for end in ("_bucket", "_count", "_sum")}
    rules = yaml.safe_load((ROOT / "contrib/alerts.yml").read_text())
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    panels = json.loads((ROOT / "contrib/grafana-dashboard.json").read_text())["panels"]
    expressions += [target["expr"] for panel in panels for target in panel["targets"]]
    used = set(re.findall(r"mlflow_reconciler_\w+", " ".join(expressions)))
    assert len(used) > 12
    assert used <= known
    promtool = shutil.which("promtool")
    if promtool:
        command = [promtool, "check", "rules", str(ROOT / "contrib/alerts.yml")]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_daemon_logs_what_it_is_and_goes_by_when_it_starts(
    held: Workspace, product: Product, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with daemon(product, log, interval="90s"):
        until(lambda: b"cycle: 0 open" in log.read_bytes(), "the first cycle")
    [line] = [one for one in log.read_text().splitlines() if "started: " in one]
    digest = hashlib.sha256((tmp_path / "policy.yaml").read_bytes()).hexdigest()[:12]
    said = f"started: version {__version__}, registry {held.uri}, policy {digest}, mode enforce, every 1m 30s"
    assert (line.endswith(said), " INFO " in line) == (True, True), line


def test_explain_judges_by_a_policy_that_is_named_on_the_command_line(
    held: Workspace, product: Product, tmp_path: Path
) -> None:
    held.version("m", "0.95")
    stricter = tmp_path / "stricter.yaml"
    stricter.write_text((tmp_path / "policy.yaml").read_text().replace("0.9", "0.99"))
    assert product.run("explain", "m", "1", "Production").returncode == 0
    assert product.run("explain", "m", "1", "Production", "--policy", str(stricter)).returncode == 1


def test_every_counter_with_labels_is_zero_before_there_is_something_to_count(
    held: Workspace, product: Product, tmp_path: Path
) -> None:
    path = tmp_path / "m.prom"
    product.variables["RECONCILER_METRICS__PATH"] = str(path)
    with daemon(product, tmp_path / "log"):
        until(lambda: path.exists() and 'cycles_total{result="ok"} 1.0' in path.read_text(), "the first cycle")
    written = path.read_text()
    expected = {
        "cycles_total": ('result="error"', 'result="unavailable"'),
        "decisions_total": ('verdict="approved"', 'verdict="rejected"'),
        "outcomes_total": tuple(
            f'outcome="{kind}"' for kind in ("applied", "failed", "superseded", "unattributed", "observed")
        ),
        "abstentions_total": tuple(f'cause="{code}"' for code in ("no_policy", "unreadable", "waiting", "missing")),
    }
    for metric, labels in expected.items():
        for label in labels:
            assert f"mlflow_reconciler_{metric}{{{label}}} 0.0\n" in written


def test_the_first_decision_that_is_given_up_raises_an_alert(tmp_path: Path) -> None:
    metrics, now = Metrics(tmp_path / "m.prom"), 1_700_000_000.0
    values = []
    for outcomes in ({}, {"failed": 1}):
        metrics.of_cycle(CycleSummary(Mode.ENFORCE, outcomes=Counter(outcomes)), now)
        metrics.write()
        found = re.search(r'outcomes_total\{outcome="failed"\} (\S+)', (tmp_path / "m.prom").read_text())
        values.append(found[1] if found else "_")
    before, after = values
    failed = {"series": 'mlflow_reconciler_outcomes_total{outcome="failed", instance="a"}'}
    series = [failed | {"values": f"{before}x10 {after}x60"}]
    assert alerts(tmp_path, series, "15m", "MlflowReconcilerGaveUp") == [{"instance": "a", "outcome": "failed"}]


def test_a_daemon_that_never_wrote_a_file_raises_an_alert(tmp_path: Path) -> None:
    nothing = [{"series": 'up{instance="a"}', "values": "1x60"}]
    assert alerts(tmp_path, nothing, "30m", "MlflowReconcilerAbsent") == [{}]
    there = [{"series": 'mlflow_reconciler_last_cycle_timestamp_seconds{instance="a"}', "values": "0+60x60"}]
    assert alerts(tmp_path, there, "30m", "MlflowReconcilerAbsent") == []


def test_the_alert_of_something_stuck_names_the_host_it_is_stuck_on(tmp_path: Path) -> None:
    series = [
        {"series": f'mlflow_reconciler_stuck{{instance="{host}", kind="{kind}"}}', "values": f"{count}x60"}
        for host, kind, count in (("a", "decision", 1), ("a", "request", 1), ("b", "decision", 0), ("b", "request", 0))
    ]
    assert alerts(tmp_path, series, "30m", "MlflowReconcilerStuck") == [{"instance": "a"}]


def alerts(place: Path, series: list[dict[str, str]], at: str, name: str) -> list[dict[str, str]]:
    """The labels of each alert of this name that Prometheus raises at this time, but for its severity."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not on this machine")
    asked = {"eval_time": at, "alertname": name, "exp_alerts": [{"exp_labels": {"none": "expected"}}]}
    test = {"interval": "1m", "input_series": series, "alert_rule_test": [asked]}
    (place / "tests.yml").write_text(
        yaml.safe_dump({"rule_files": [str(ROOT / "contrib/alerts.yml")], "tests": [test]})
    )
    command = [promtool, "test", "rules", str(place / "tests.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    got = (done.stdout + done.stderr).partition("got:")[2]
    found = [dict(re.findall(r'(\w+)="([^"]*)"', labels)) for labels in re.findall(r"Labels:\{(.*?)\}", got)]
    return [{key: labels[key] for key in labels if key not in {"alertname", "severity"}} for labels in found]


def test_the_journal_gets_fields(held: Workspace, product: Product, tmp_path: Path) -> None:
    address = str(tmp_path / "journal")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as journal:
        journal.bind(address)
        code = (
            "import sys, logging; from reconciler import logs; logs.configure('journal', 'info', sys.argv[1]); "
            "logs.CYCLE.set('1f2e3d4c'); "
            "logs.LOGGER.info('approved\\nPRIORITY=0', extra={'model': 'fraud', 'decision_id': 'd1', 'version': '7'})"
        )
        subprocess.run([sys.executable, "-c", code, address], check=True)
        fields = dict(line.split("=", 1) for line in journal.recv(8192).decode().splitlines())
    assert fields["MESSAGE"] == "approved\\nPRIORITY=0"
    assert (fields["PRIORITY"], fields["CYCLE_ID"], fields["DECISION_ID"]) == ("6", "1f2e3d4c", "d1")
    assert (fields["MODEL"], fields["VERSION"]) == ("fraud", "7")


def test_without_a_journal_the_lines_go_to_stderr(tmp_path: Path) -> None:
    code = (
        "import sys; from reconciler import logs; logs.configure('journal', 'info', sys.argv[1]); logs.LOGGER.info('x')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "none")], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"\S+Z INFO x\n", done.stderr)


def test_each_line_of_a_cycle_carries_its_id(held: Workspace, product: Product, tmp_path: Path) -> None:
    held.ask("m", held.version("m", "0.95"))
    product.variables["RECONCILER_LOG__FORMAT"] = "json"
    log = tmp_path / "log"
    with daemon(product, log):
        until(lambda: b'"decided"' in log.read_bytes() and b"cycle: 1 open" in log.read_bytes(), "the cycle")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    [decided] = [line for line in lines if line.get("event") == "decided"]
    same = [line for line in lines if line.get("cycle_id") == decided["cycle_id"]]
    assert len(same) >= 2
    assert decided["decision_id"]


TOKEN, PASSWORD = "canary-token-5ecret", "canary-password-5ecret"


def test_no_secret_ever_shows(held: Workspace, product: Product, postgres: PostgresServer, tmp_path: Path) -> None:
    """At log level debug: in logs, errors, audit rows, reports, status, check, metrics."""
    held.ask("m", held.version("m", "0.95"))
    held.ask("n", held.version("n", "0.5"))
    metrics = tmp_path / "m.prom"
    product.variables |= {
        "RECONCILER_REGISTRY__TOKEN": TOKEN,
        "RECONCILER_LOG__LEVEL": "debug",
        "RECONCILER_METRICS__PATH": str(metrics),
    }
    log = tmp_path / "log"
    with daemon(product, log):
        until(lambda: b"1 approved" in log.read_bytes() and metrics.exists(), "a cycle")
        held.wire = lambda method, path: "500"
        until(lambda: b"nothing decided" in log.read_bytes(), "a cycle that fails")
    held.wire = lambda method, path: None
    shown = [log.read_text(), metrics.read_text(), (tmp_path / "audit.db").read_bytes().decode("latin-1")]
    for typed in ("status", "status --json", "check", "audit list --format json",
                  "audit report decisions --format json", "explain m 1 Production --json"):  # fmt: skip
        done = product.run(*typed.split())
        shown += [done.stdout, done.stderr]
    product.variables["RECONCILER_AUDIT__URL"] = f"postgresql://daemon:{PASSWORD}@127.0.0.1:1/audit"
    for words in (["status"], ["check"], ["once"], ["db", "upgrade"], ["db", "current"]):
        done = product.run(*words)
        shown += [done.stdout, done.stderr]
    product.variables["RECONCILER_AUDIT__URL"] = f"mysql://daemon:{PASSWORD}@127.0.0.1:1/audit"
    shown.append(product.run("status").stderr)
    assert any(f"Bearer {TOKEN}" in header for header in held.authorizations)
    for one in shown:
        assert TOKEN not in one
        assert PASSWORD not in one
        assert "Authorization" not in one


def test_a_backup_is_whole_while_the_daemon_runs_and_is_restored(
    held: Workspace, product: Product, tmp_path: Path
) -> None:
    held.ask("m", held.version("m", "0.95"))
    with daemon(product, tmp_path / "log"):
        until(lambda: not held.requests, "a decision")
        product.ok("db", "backup", str(tmp_path / "backup.db"))
        assert product.run("db", "backup", str(tmp_path / "backup.db")).returncode == 78
    decisions = product.decisions()
    for leftover in tmp_path.glob("audit.db*"):
        leftover.unlink()
    shutil.copy(tmp_path / "backup.db", tmp_path / "audit.db")
    assert product.decisions() == decisions
    assert (tmp_path / "backup.db").stat().st_mode & 0o077 == 0
    product.ok("once")
    assert product.run("db", "check").returncode == 0


def test_a_database_moves_to_postgresql_and_back_with_every_row(
    held: Workspace, product: Product, postgres: PostgresServer, tmp_path: Path
) -> None:
    for number in range(5):
        held.ask(f"m{number}", held.version(f"m{number}", "0.95" if number % 2 else "0.5"), comment="a\0b\u202e")
    product.ok("once")
    product.ok("pause", "--reason", "moving")
    there, back = postgres.new_database(), f"sqlite:///{tmp_path}/back.db"
    here = product.environment()["RECONCILER_AUDIT__URL"]
    early = product.run("db", "copy", "--from", here, "--to", there)
    remedy = f"run `RECONCILER_AUDIT__URL={schema.shown_url(there)} mlflow-reconciler db upgrade`"
    assert (early.returncode, early.stderr.endswith(f"has no schema yet: {remedy}\n")) == (78, True)
    for url in (there, back):
        schema.upgrade(url)
    told = product.ok("db", "copy", "--from", here, "--to", there)
    assert "decisions: 5 rows, sha256 " in told
    assert [one.digest for one in copy(there, back)] == [line.split()[-1] for line in told.splitlines()]
    refused = product.run("db", "copy", "--from", here, "--to", there)
    assert (refused.returncode, "is not empty" in refused.stderr) == (78, True)
    product.variables["RECONCILER_AUDIT__URL"] = there
    product.ok("resume")
    held.ask("later", held.version("later", "0.95"))
    product.ok("once")
    assert len(AuditReader(make_engine(there)).decisions(DecisionFilter(), None)) == 6
    with pytest.raises(SchemaMismatch):
        copy(here, here)


def test_a_report_goes_into_a_folder_under_the_days_name(product: Product, tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    product.ok("audit", "report", "decisions", "--since", "7d", "--format", "json", "--output", str(folder))
    [written] = folder.iterdir()
    assert re.fullmatch(r"decisions-\d{4}-\d\d-\d\d\.json", written.name)
    assert json.loads(written.read_text())["counts"]["decisions"] == 0


def test_the_rights_of_the_daemons_role_are_enough(held: Workspace, product: Product, postgres: PostgresServer) -> None:
    owner = postgres.new_database()
    schema.upgrade(owner)
    product.variables["RECONCILER_AUDIT__URL"] = daemon_role(owner)
    held.ask("good", held.version("good", "0.95"))
    held.ask("bad", held.version("bad", "0.5"))
    product.ok("once")
    product.ok("pause", "--reason", "try")
    product.ok("resume")
    product.ok("once")
    assert [row["outcome"] for row in product.decisions()] == ["applied", "applied"]
    told = product.run("check").stdout
    assert "OK   append-only" in told
    assert "OK   rights" in told
    engine = create_engine(owner, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"REVOKE INSERT (reason) ON decisions FROM {make_url(owner).database}_daemon"))
    engine.dispose()
    assert "FAIL rights: this user lacks rights on decisions: grant" in product.run("check").stdout
