"""What holds for every policy: of random rules, checks and evidence."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from reconciler.domain.engines.current import ENGINE
from reconciler.domain.engines.evaluate import COMBINED, evaluate
from reconciler.domain.evidence.evidence import (
    Absent,
    Answer,
    Evidence,
    ModelFacts,
    Reading,
    RunFacts,
    SignatureFacts,
    TenureFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.evidence.signature_facts import Column
from reconciler.domain.evidence.tenure_facts import TimeHeld
from reconciler.domain.text import Text
from reconciler.domain.verdict import Role, Verdict, VerdictKind
from reconciler.judging import judge_again
from reconciler.policy.file import PolicyError, parse_policy, read_policy
from tests.builders import a_request, evidence_of, with_answer, with_changed

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ASKED = a_request("credit-cards", NOW)
Rule = dict[str, Any]

# --- random policies -----------------------------------------------------------------------------------------

METRICS = ("a", "b", "c")
MINIMUMS = st.builds(
    lambda metric, least, more: {"metric": metric, "min": least} | more,
    st.sampled_from(METRICS),
    st.integers(0, 4),
    st.sampled_from([{}, {"on_missing": "abstain"}, {"grace": "1h"}]),
)
TAGS = st.builds(
    lambda tag, more: {"tag": tag} | more,
    st.sampled_from(["t", "u"]),
    st.sampled_from([{}, {"equals": "x"}, {"present": False}, {"on_missing": "abstain"}]),
)

SIGNATURES = st.builds(
    lambda terms, more: {"signature": terms} | more,
    st.sampled_from([{}, {"inputs": ["p"]}, {"inputs": {"p": "long"}, "exact": True}, {"outputs": ["q", "r"]}]),
    st.sampled_from([{}, {"on_missing": "abstain"}, {"grace": "1h"}]),
)


def checks(single: st.SearchStrategy[Rule]) -> st.SearchStrategy[Rule]:
    several = st.lists(st.lists(single, min_size=1, max_size=2), min_size=1, max_size=3)
    return st.one_of(single, single, st.builds(lambda lists: {"any_of": lists}, several))


def rules(single: st.SearchStrategy[Rule], *, plain: bool = False) -> st.SearchStrategy[Rule]:
    return st.fixed_dictionaries(
        {"require": st.lists(checks(single), min_size=1, max_size=3)},
        optional={}
        if plain
        else {
            "models": st.sampled_from([["*"], ["credit-*"], ["ads"]]),
            "exclude": st.sampled_from([["credit-cards"], ["x"]]),
            "mode": st.sampled_from(["decide", "observe"]),
            "from": st.sampled_from(["2020-01-01", "2030-01-01"]),
            "when": st.sampled_from([{"model_tag": {"tier": value}} for value in ("1", "2")]),
            "archive_existing": st.booleans(),
        },
    )


def policies(single: st.SearchStrategy[Rule], *, plain: bool = False) -> st.SearchStrategy[list[Rule]]:
    return st.lists(rules(single, plain=plain), min_size=1, max_size=4).map(named)


def named(rules: Sequence[Rule], prefix: str = "r") -> list[Rule]:
    """The rules with names, and their checks with ids; some advisory, some to be replaced and some that replace."""
    done = []
    for number, rule in enumerate(rules):
        required = [{"id": f"c{at}"} | check for at, check in enumerate(rule["require"])]
        done.append({"name": f"{prefix}{number}", "targets": ["Production"]} | rule | {"require": required})
    return done


STAGES = st.builds(
    lambda stage, more: {"stage": stage} | more,
    st.sampled_from(["Staging", "@challenger"]),
    st.sampled_from([{}, {"held_for": "1d"}, {"held_for": "2d", "seen_within": "1h"}]),
)
ANY = st.one_of(MINIMUMS, TAGS, STAGES, SIGNATURES)
VALUES = st.dictionaries(st.sampled_from(METRICS), st.integers(0, 4))
MODELS: st.SearchStrategy[Answer] = st.sampled_from(
    [ModelFacts(), *(ModelFacts({"tier": Text.of(value)}) for value in "12"), Unreadable("500"),
     Absent("version_missing", "gone")]
)  # fmt: skip
COLUMN = st.builds(Column, st.sampled_from(["", "p", "q", "r"]), st.sampled_from(["long", "map(long)"]))
COLUMNS = st.one_of(st.none(), st.lists(COLUMN, max_size=3).map(tuple))
SHOWN_SIGNATURES: st.SearchStrategy[Answer] = st.one_of(
    st.builds(SignatureFacts, st.just("run r1"), COLUMNS, COLUMNS, unclear=st.sampled_from(["", "", "not YAML"])),
    st.sampled_from([Unreadable("403"), Absent("no_model_file", "none")]),
)
RUNS = st.one_of(st.none(), st.none(), st.just(Unreadable("500")))
HOURS = st.integers(0, 72).map(lambda hours: NOW - timedelta(hours=hours))
TIMES_HELD = st.one_of(
    st.builds(TimeHeld, st.booleans()), st.builds(lambda a, b: TimeHeld(True, min(a, b), max(a, b), NOW), HOURS, HOURS)
)
TENURES: st.SearchStrategy[Answer] = st.one_of(
    st.dictionaries(st.sampled_from(["Staging", "@challenger"]), TIMES_HELD).map(TenureFacts),
    st.sampled_from([Unreadable("500"), Absent("not_asked", "no rule asks for it")]),
)


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    values, tags = draw(VALUES), draw(st.dictionaries(st.sampled_from("tu"), st.sampled_from("xy")))
    found = with_answer(shown(values, tags, draw(RUNS)), ModelFacts, draw(MODELS))
    stage = draw(st.sampled_from(["None", "Staging"]))
    found = with_answer(with_changed(found, VersionFacts, current_stage=stage), TenureFacts, draw(TENURES))
    return with_answer(found, SignatureFacts, draw(SHOWN_SIGNATURES))


def shown(values: dict[str, float], tags: dict[str, str], run: Answer | None = None) -> Evidence:
    readings = {name: Reading(repr(float(value)), float(value), 0, 0) for name, value in values.items()}
    texts = {name: Text.of(value) for name, value in tags.items()}
    version = VersionFacts("r1", "runs:/r1/m", "READY", "None", Text.of(""), texts)
    there = RunFacts("r1", "FINISHED", "active", 1, "s3://b/r1", readings)
    return evidence_of(NOW, version, run or there)  # type: ignore[arg-type]


def judged(rules: Sequence[Rule], evidence: Evidence, **head: Any) -> Verdict:
    """JSON is YAML. Policies whose rules can be seen to disagree are none."""
    try:
        policy = parse_policy(json.dumps({"version": 1, **head, "rules": rules}), "p").policy
    except PolicyError as error:
        if not all("leave one of them unset" in problem.message for problem in error.problems):
            raise
        reject()
    return evaluate(policy, ASKED, evidence, NOW)


def same(one: Verdict, other: Verdict) -> bool:
    return (one.kind, one.reason_code, one.archive_existing, frozenset(one.checks)) == (
        other.kind, other.reason_code, other.archive_existing, frozenset(other.checks)
    )  # fmt: skip


# --- properties ----------------------------------------------------------------------------------------------


@given(policies(MINIMUMS), evidences(), VALUES)
def test_raising_metrics_that_are_tested_by_minimums_never_turns_an_approval_into_a_rejection(
    rules: list[Rule], evidence: Evidence, more: dict[str, int]
) -> None:
    run = evidence.fact(RunFacts)
    assume(isinstance(run, RunFacts))
    assert isinstance(run, RunFacts)
    raised = {
        name: Reading("", (reading.value or 0) + more.get(name, 0), 0, 0) for name, reading in run.metrics.items()
    }
    higher = with_changed(evidence, RunFacts, metrics=raised)
    if judged(rules, evidence).kind is VerdictKind.APPROVE:
        assert judged(rules, higher).kind is VerdictKind.APPROVE


@given(policies(ANY), evidences(), st.randoms(use_true_random=False))
def test_the_order_of_rules_checks_and_alternatives_never_matters(
    rules: list[Rule], evidence: Evidence, randomly: random.Random
) -> None:
    shuffled = [rule | {"require": randomly.sample(rule["require"], len(rule["require"]))} for rule in rules]
    randomly.shuffle(shuffled)
    assert same(judged(rules, evidence), judged(shuffled, evidence))


@given(policies(ANY), evidences(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_which_file_a_rule_is_in_and_in_which_order_they_are_included_never_matters(
    rules: list[Rule], evidence: Evidence, randomly: random.Random
) -> None:
    whole = judged(rules, evidence)
    with TemporaryDirectory() as folder:
        for number, rule in enumerate(rules):
            Path(folder, f"f{number}.yaml").write_text(json.dumps({"version": 1, "rules": [rule]}))
        includes = [{"file": f"f{number}.yaml", "models": ["*"]} for number in range(len(rules))]
        randomly.shuffle(includes)
        main = Path(folder, "policy.yaml")
        main.write_text(json.dumps({"version": 1, "include": includes}))
        loaded = read_policy(main)
        assert same(whole, evaluate(loaded.policy, ASKED, evidence, NOW))
        assert same(whole, evaluate(parse_policy(loaded.text, "kept").policy, ASKED, evidence, NOW))


def advising(rule: Rule, how: str) -> Rule:
    if how == "level":
        return rule | {"require": [check | {"level": "advisory"} for check in rule["require"]]}
    return rule | ({"mode": "observe"} if how == "observe" else {"from": "2030-01-01"})


@given(policies(ANY), policies(ANY), evidences(), st.sampled_from(["observe", "later", "level"]))
def test_what_advises_never_decides(rules: list[Rule], others: list[Rule], evidence: Evidence, how: str) -> None:
    advice = [advising(rule | {"name": f"advice-{rule['name']}"}, how) for rule in others]
    without, with_advice = judged(rules, evidence), judged([*rules, *advice], evidence)
    if without.reason_code == "no_policy":
        assert with_advice.reason_code in {"no_policy", "only_advisory"}
    else:
        assert (without.kind, without.reason_code, without.archive_existing, without.deciding) == (
            with_advice.kind, with_advice.reason_code, with_advice.archive_existing, with_advice.deciding
        )  # fmt: skip


@given(policies(ANY), evidences(), st.sampled_from(["observe", "later", "level"]))
def test_where_nothing_decides_it_is_said_what_the_checks_would_have_said(
    rules: list[Rule], evidence: Evidence, how: str
) -> None:
    deciding = [rule | {"mode": "decide", "from": "2020-01-01"} for rule in rules]
    for rule in deciding:
        rule.pop("archive_existing", None)
    real, advice = judged(deciding, evidence), judged([advising(rule, how) for rule in deciding], evidence)
    if real.reason_code == "no_policy":
        assert advice.reason_code == "no_policy"
        return
    assert (advice.kind, advice.reason_code) == (VerdictKind.ABSTAIN, "only_advisory")
    assert f"they would {real.kind}: " in advice.reason
    decided = {(check.rule, check.id, check.result, check.code) for check in real.deciding}
    assert decided == {
        (check.rule, check.id, check.result, check.code) for check in advice.checks if check.role is Role.ADVISES
    }


@given(policies(ANY), rules(ANY), evidences())
def test_adding_a_rule_never_turns_a_rejection_into_anything_else(
    rules: list[Rule], more: Rule, evidence: Evidence
) -> None:
    if judged(rules, evidence).kind is VerdictKind.REJECT:
        assert judged([*rules, *named([more], "added")], evidence).kind is VerdictKind.REJECT


@given(policies(ANY), rules(ANY), evidences())
def test_adding_a_rule_makes_no_approval_where_another_rule_could_not_be_told(
    rules: list[Rule], more: Rule, evidence: Evidence
) -> None:
    before = judged(rules, evidence)
    if before.kind is VerdictKind.ABSTAIN and before.reason_code not in {"no_policy", "only_advisory"}:
        assert judged([*rules, *named([more], "added")], evidence).kind is not VerdictKind.APPROVE


@given(st.lists(ANY, min_size=1, max_size=3), evidences())
def test_one_alternative_is_the_checks_themselves(members: list[Rule], evidence: Evidence) -> None:
    apart = named([{"require": members}])
    together = named([{"require": [{"any_of": [members]}]}])
    one, other = judged(apart, evidence), judged(together, evidence)
    assert (one.kind, one.reason_code) == (other.kind, other.reason_code)


@given(policies(ANY), evidences(), st.sampled_from([{}, {"defaults": {"archive_existing": True}}]))
def test_judging_again_what_was_stored_changes_nothing(
    rules: list[Rule], evidence: Evidence, head: dict[str, Any]
) -> None:
    text = json.dumps({"version": 1, **head, "rules": rules})
    verdict = judged(rules, evidence, **head)
    policy = parse_policy(text, "stored", stored=True).policy
    assert judge_again(ENGINE, policy, ASKED, Evidence.from_json(evidence.to_json())) == verdict
    if verdict.kind is not VerdictKind.ABSTAIN:
        assert COMBINED[ENGINE](verdict.checks) == (verdict.kind, verdict.reason_code)


@given(policies(MINIMUMS, plain=True), evidences(), st.integers(0, 4), st.sampled_from(["observe", "later", "level"]))
def test_an_override_that_does_not_decide_changes_nothing(
    rules: list[Rule], evidence: Evidence, least: int, how: str
) -> None:
    overridable = [rule | {"require": [check | {"overridable": True} for check in rule["require"]]} for rule in rules]
    milder = {"id": "m", "metric": "a", "min": least, "overrides": ["r0/c0"]}
    team = advising({"name": "team", "targets": ["Production"], "require": [milder]}, how)
    if how == "level":
        with pytest.raises(PolicyError, match="it never decides"):
            parse_policy(json.dumps({"version": 1, "rules": [*overridable, team]}), "p")
        return
    before, after = judged(overridable, evidence), judged([*overridable, team], evidence)
    assert (before.kind, before.reason_code, before.deciding) == (after.kind, after.reason_code, after.deciding)


@given(policies(ANY, plain=True), evidences(), st.integers(0, 4))
def test_an_override_is_the_policy_with_the_other_check(rules: list[Rule], evidence: Evidence, least: int) -> None:
    """As by hand: the check is taken out, and the other one put into a rule beside it."""
    first = rules[0]["require"][0] | {"overridable": True}
    overridden = [rules[0] | {"require": [first, *rules[0]["require"][1:]]}, *rules[1:]]
    other = {"id": "m", "metric": "a", "min": least}
    team = {"name": "team", "targets": ["Production"]}
    by_hand = [rule for rule in [rules[0] | {"require": rules[0]["require"][1:]}, *rules[1:]] if rule["require"]]
    one = judged([*overridden, team | {"require": [other | {"overrides": ["r0/c0"]}]}], evidence)
    two = judged([*by_hand, team | {"require": [other]}], evidence)
    assert (one.kind, one.reason_code) == (two.kind, two.reason_code)


@given(policies(ANY), evidences())
def test_engines_of_before_read_a_policy_of_their_time_as_they_did(rules: list[Rule], evidence: Evidence) -> None:
    """What fails while something is unknown is where they differ, and nothing else."""
    then = [
        {key: rule[key] for key in ("name", "targets", "models") if key in rule}
        | {"require": [check for check in rule["require"] if "any_of" not in check] or [{"id": "x", "tag": "t"}]}
        for rule in rules
    ]
    policy = parse_policy(json.dumps({"version": 1, "rules": then}), "p").policy
    read = replace(evidence)
    before, now = (judge_again(engine, policy, ASKED, read) for engine in (2, ENGINE))
    if before.kind is VerdictKind.ABSTAIN and now.kind is VerdictKind.REJECT:
        assert {check.result for check in now.checks} >= {"failed", "unknown"}
    else:
        assert (before.kind, before.reason_code, before.archive_existing) == (
            now.kind, now.reason_code, now.archive_existing
        )  # fmt: skip


@given(policies(MINIMUMS), policies(ANY), evidences(), st.sampled_from(["ads-*", "credit", "x*", "credit-card"]))
@settings(max_examples=60, deadline=None)
def test_whatever_a_teams_file_says_nothing_changes_for_the_models_of_others(
    rules: list[Rule], team: list[Rule], evidence: Evidence, models: str
) -> None:
    """It overrides all that it can, observes, archives, and names every model."""
    base = [rule | {"require": [check | {"overridable": True} for check in rule["require"]]} for rule in rules]
    names = [f"{rule['name']}/{check['id']}" for rule in base for check in rule["require"]]
    hostile = [
        rule | {"name": f"t{at}", "require": [check | {"overrides": names} for check in rule["require"]]}
        for at, rule in enumerate(team)
    ]
    alone = judged(base, evidence)
    with TemporaryDirectory() as folder:
        Path(folder, "team.yaml").write_text(json.dumps({"version": 1, "rules": hostile}))
        main = Path(folder, "policy.yaml")
        include = [{"file": "team.yaml", "models": [models]}]
        main.write_text(json.dumps({"version": 1, "include": include, "rules": base}))
        try:
            policy = read_policy(main).policy
        except PolicyError:
            reject()
        assert evaluate(policy, ASKED, evidence, NOW) == alone
