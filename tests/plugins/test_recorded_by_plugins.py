"""A decision that a check of a plugin judged, years later: what it names, and what other code may say of it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from reconciler.audit import in_parts, schema
from reconciler.audit.database import make_engine, one_state
from reconciler.audit.decisions.reperforming import reperform
from reconciler.audit.decisions.stored import Chosen, parts_of
from reconciler.audit.evidence.redacting import redact
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.domain.evidence.evidence import Evidence, Needs, RunFacts
from reconciler.domain.text import Text
from reconciler.policy.file import LoadedPolicy, parse_policy
from reconciler.policy.plugins import Plugins
from reconciler.ports import Listed
from tests import command
from tests.builders import a_request, with_answer, with_changed
from tests.fake_registry import FakeRegistry
from tests.plugins.conftest import Load, kind_in
from tests.plugins.packages import install, policy, seen, source_of
from tests.store.test_reperforming import record
from tests.whole_evidence import NOW

ABOVE = """
accuracy = evidence.run.metrics["validation_accuracy"]
if accuracy.value >= terms["min"]:
    return passed(accuracy.text, number=accuracy.value, source="run " + evidence.run.run_id)
return failed("bad", accuracy.text, number=accuracy.value)
"""
POLICY = policy("mine: {min: 0.9}", more="      - run: {}\n")
Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Registry(FakeRegistry):
    """Shows what `packages.seen` has, with the accuracy that each model was filed with."""

    def evidence(self, wanted: Sequence[tuple[Listed, Needs]], now: datetime) -> dict[str, Evidence]:
        found = super().evidence(wanted, now)
        for listed, _ in wanted:
            key = listed.request.key
            run = seen(self.accuracy[listed.request.model, listed.request.version]).fact(RunFacts)
            found[key] = with_answer(found[key], RunFacts, run)
        return found


@pytest.fixture
def plugins(mine: Load) -> Plugins:
    return mine(source_of(ABOVE))


@pytest.fixture
def decided(audit_url: str, plugins: Plugins) -> dict[str, str]:
    """The ids of three decisions of a cycle, by model."""
    registry = Registry()
    for model, accuracy in (("low", "0.85"), ("middle", "0.93"), ("high", "0.97")):
        registry.accuracy[model, "1"] = accuracy
        registry.file(model, "1", accuracy=accuracy)
    loaded = parse_policy(POLICY, "p", plugins.kinds())
    return by_a_cycle(audit_url, registry, loaded)


def by_a_cycle(url: str, registry: Registry, loaded: LoadedPolicy) -> dict[str, str]:
    schema.upgrade(url)
    engine = make_engine(url)
    log = SqlAuditLog(engine, "test:1", registry.uri)
    Cycle(registry, log).run(PolicyInForce(loaded.policy, loaded.digest, loaded.text), Mode.ENFORCE)
    rows = AuditReader(engine).decisions(DecisionFilter())
    engine.dispose()
    return {row["model"]: row["decision_id"] for row in rows}


@pytest.fixture
def run(audit_url: str, decided: Mapping[str, str], tmp_path: Path) -> Run:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "stricter.yaml").write_text(POLICY.replace("0.9", "0.95"))

    def run(*arguments: str, checks: str = "mine") -> subprocess.CompletedProcess[str]:
        named = {"RECONCILER_AUDIT__URL": audit_url, "RECONCILER_PLUGINS__CHECKS": checks}
        return command.run(*arguments, environment={**os.environ, **named})

    return run


def test_a_decision_names_the_code_in_its_check_and_in_its_evidence(
    run: Run, decided: Mapping[str, str], plugins: Plugins
) -> None:
    sha256 = kind_in(plugins).plugin.code.sha256
    whole = json.loads(run("audit", "show", decided["middle"], "--format", "json").stdout)
    check = whole["checks"][0]
    assert (whole["verdict"], check["check"], check["result"], check["code"]) == ("approve", "mine", "passed", "ok")
    assert check["source"] == f"acme-mine 1.0.0 (sha256 {sha256[:12]}); run r1"
    assert whole["evidence"]["code"]["checks"] == {
        "mine": {"check": "mine", "distribution": "acme-mine", "version": "1.0.0", "sha256": sha256}
    }
    shown = run("audit", "show", decided["low"]).stdout
    assert f"acme-mine1.0.0,sha256{sha256}" in "".join(shown.split())
    low = json.loads(run("audit", "show", decided["low"], "--format", "json").stdout)
    assert (low["verdict"], low["checks"][0]["code"]) == ("reject", "mine.bad")
    assert run("audit", "verify").returncode == 0


def test_the_same_code_judges_it_again_to_the_same(run: Run, tmp_path: Path) -> None:
    assert run("audit", "reperform").stdout == "3 decisions judged again: 3 agree, 0 differ, 0 cannot be judged\n"
    done = run("policy", "replay", str(tmp_path / "stricter.yaml"))
    assert done.stdout.splitlines()[-1] == "of 3 decisions 1 would differ (1 by the policy), 0 cannot be judged"


def test_other_code_cannot_tell_and_never_passes(run: Run, site: Path, tmp_path: Path) -> None:
    install(site, source_of('return passed("whatever")'), version="1.0.1")
    done = run("audit", "reperform")
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == "3 decisions judged again: 0 agree, 0 differ, 3 cannot be judged"
    assert "ours/mine: result: cannot be judged: mine was judged by acme-mine 1.0.0 (sha256 " in done.stdout
    assert "; here is acme-mine 1.0.1 (sha256 " in done.stdout
    for file in ("policy.yaml", "stricter.yaml"):
        done = run("policy", "replay", str(tmp_path / file), "--fail-on-change")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (
            3, "of 3 decisions 0 would differ, 3 cannot be judged"
        )  # fmt: skip


def test_without_the_plugin_it_cannot_be_told_either(run: Run, tmp_path: Path) -> None:
    done = run("audit", "reperform", checks="")
    assert done.returncode == 3
    assert "this release cannot read the policy" in done.stdout
    assert "checks of your own are loaded by plugins.checks" in done.stdout
    (tmp_path / "new.yaml").write_text("version: 1\nrules: [{name: r, targets: [Production], require: [{run: {}}]}]\n")
    assert run("policy", "replay", str(tmp_path / "new.yaml"), checks="").stdout.endswith(
        "0 would differ, 3 cannot be judged\n"
    )


def test_a_check_that_nobody_asked_for_then_is_tried_on_the_past(
    audit_url: str, plugins: Plugins, tmp_path: Path
) -> None:
    registry = Registry()
    registry.file("middle", "1", accuracy="0.93")
    text = (
        "version: 1\nrules: [{name: ours, targets: [Production], require: [{metric: validation_accuracy, min: 0.5}]}]\n"
    )
    by_a_cycle(audit_url, registry, parse_policy(text, "p"))
    named = {"RECONCILER_AUDIT__URL": audit_url, "RECONCILER_PLUGINS__CHECKS": "mine"}
    for least, says in (("0.9", "0 would differ, 0 cannot be judged"), ("0.95", "1 would differ (1 by the policy), ")):
        (tmp_path / "new.yaml").write_text(policy(f"mine: {{min: {least}}}"))
        done = command.run("policy", "replay", str(tmp_path / "new.yaml"), environment={**os.environ, **named})
        assert says in done.stdout


def test_where_the_code_was_redacted_it_cannot_be_told_and_the_log_still_proves_the_rest(
    run: Run, audit_url: str, decided: Mapping[str, str]
) -> None:
    engine = make_engine(audit_url)
    redact(engine, decided["high"], ["code.checks"], "ticket", "ada")
    engine.dispose()
    done = run("audit", "reperform", decided["high"])
    assert (done.returncode, "code.checks was redacted" in done.stdout) == (3, True)
    assert run("audit", "verify").returncode == 0


def test_a_check_that_fails_today_accuses_nobody(audit_url: str, mine: Load, tmp_path: Path) -> None:
    """The same code, which reads what it may not."""
    plugins = mine(source_of(f"if os.path.exists({str(tmp_path / 'flag')!r}):\n    os._exit(1)\nreturn passed('fine')"))
    registry = Registry()
    registry.file("fraud", "1")
    by_a_cycle(audit_url, registry, parse_policy(policy(), "p", plugins.kinds()))
    assert judged_again(audit_url, plugins) == []
    (tmp_path / "flag").touch()
    assert judged_again(audit_url, plugins) == ["unknown"]


def judged_again(url: str, plugins: Plugins, times: int = 1) -> list[str]:
    """What becomes of the decisions that do not agree."""
    engine = make_engine(url)
    with one_state(engine) as connection:
        parts = parts_of(connection, Chosen()) * times
    engine.dispose()
    return [str(one.agreement) for part in reperform(url, parts, plugins) for one in part.told]


def test_each_of_several_processes_loads_the_plugin(
    audit_url: str, decided: Mapping[str, str], plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_parts, "FEW", 1)
    assert judged_again(audit_url, plugins, times=2) == []
    assert judged_again(audit_url, Plugins(), times=2) == ["unknown"] * 6


def test_reports_read_policies_with_it(run: Run) -> None:
    done = run("audit", "report", "coverage", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert "unread" not in done.stdout


def test_diff_and_schema_and_cases_know_it(run: Run, tmp_path: Path) -> None:
    done = run("policy", "diff", str(tmp_path / "policy.yaml"), str(tmp_path / "stricter.yaml"))
    assert done.stdout == "rule 'ours', mine: mine was min 0.9, is min 0.95\n"
    properties = json.loads(run("policy", "schema").stdout)["$defs"]["MineCheck"]["properties"]
    assert properties["mine"]["description"] == "Something of our own."
    case = "  - {{name: a, target: Production, given: {{run: {{metrics: {{validation_accuracy: {}}}}}}}, expect: {}}}\n"
    codes = "{verdict: reject, codes: {ours/mine: mine.bad}}"
    cases = case.format(0.92, "approve") + case.format(0.5, codes)
    (tmp_path / "policy.test.yaml").write_text(f"cases:\n{cases}")
    done = run("policy", "test", str(tmp_path / "policy.yaml"))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/policy.test.yaml: 2 cases, 0 failed\n")
    assert run("policy", "test", str(tmp_path / "policy.yaml"), checks="").returncode == 78


def test_a_case_of_a_decision_that_other_code_judged_does_not_pass(
    run: Run, decided: Mapping[str, str], site: Path, tmp_path: Path
) -> None:
    exported = run("audit", "show", decided["high"], "--format", "json").stdout
    (tmp_path / "decisions.json").write_text(exported)
    case = f"  - {{name: then, decision: {decided['high']}, expect: approve}}\n"
    (tmp_path / "policy.test.yaml").write_text(f"decisions: decisions.json\ncases:\n{case}")
    assert run("policy", "test", str(tmp_path / "policy.yaml")).returncode == 0
    install(site, source_of(ABOVE) + "# other\n")
    done = run("policy", "test", str(tmp_path / "policy.yaml"))
    assert (done.returncode, "got abstain (withheld)" in done.stdout) == (1, True)


def test_a_cycle_decides_the_others_while_one_check_hangs(audit_url: str, mine: Load) -> None:
    """What hangs is tried thrice in a minute, and no request waits for it beyond that."""
    hangs = 'if evidence.run.metrics["validation_accuracy"].value > 0.96:\n    time.sleep(600)\nreturn passed("fine")'
    # The same code would be the same process, which remembers the failures of the minute before.
    plugins = mine(source_of(f"{hangs}  # {audit_url}"), seconds=4)
    registry = Registry()
    for number in range(20):
        registry.file(f"m{number:02}", "1", accuracy="0.97" if number < 2 else "0.9")
    began = datetime.now()
    decided = by_a_cycle(audit_url, registry, parse_policy(policy(), "p", plugins.kinds()))
    assert datetime.now() - began < timedelta(seconds=60)
    assert sorted(decided) == [f"m{number:02}" for number in range(2, 20)]


def test_a_parameter_that_was_judged_is_read_again(audit_url: str, mine: Load) -> None:
    needs = 'def needs(self, terms):\n    return Needs(params=frozenset({"depth"}))'
    plugins = mine(source_of('return passed(evidence.run.params["depth"].text, number=6.0)', more=needs))
    loaded = parse_policy(policy(), "p", plugins.kinds())
    asked = a_request("fraud", NOW - timedelta(minutes=1))
    shown = with_changed(seen(), RunFacts, params={"depth": Text.of("6"), "other": Text.of("x")})
    schema.upgrade(audit_url)
    engine = make_engine(audit_url)
    record(engine, loaded, (asked, shown.judged_by(loaded.policy.needs(asked).codes)))
    engine.dispose()
    assert judged_again(audit_url, plugins) == []
