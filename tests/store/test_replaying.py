"""Past decisions judged by another policy: what would differ, by what, and what nobody can tell."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from reconciler.audit import schema
from reconciler.audit.database import make_engine, one_state
from reconciler.audit.decisions.replaying import OfPart, replay
from reconciler.audit.decisions.stored import Chosen, parts_of
from reconciler.audit.evidence.redacting import redact
from reconciler.audit.store import SqlAuditLog
from reconciler.domain.agreement import Recorded, RecordedCheck
from reconciler.domain.codes import AbsenceCode
from reconciler.domain.decision import Judged, Mode
from reconciler.domain.engines.current import ENGINE
from reconciler.domain.engines.evaluate import evaluate
from reconciler.domain.evidence.captured import as_captured
from reconciler.domain.evidence.evidence import (
    Absent,
    Evidence,
    HolderFacts,
    LoggedModelFacts,
    ModelFacts,
    Needs,
    Reading,
    RunFacts,
    SignatureFacts,
    TenureFacts,
    VersionFacts,
)
from reconciler.domain.evidence.keeping import within_room
from reconciler.domain.text import Text
from reconciler.domain.verdict import Verdict, VerdictKind
from reconciler.judging import judge_again
from reconciler.policy.file import LoadedPolicy, PolicyError, parse_policy
from reconciler.policy.replay import Change, Judging, replayed
from tests.builders import REGISTRY, a_request, with_answer, with_changed
from tests.postgres import PostgresServer
from tests.store.test_reperforming import as_owner, read_again, record
from tests.unit.test_policy_properties import (
    ANY,
    NOW,
    SHOWN_SIGNATURES,
    TENURES,
    evidences,
    named,
    policies,
    rules,
    shown,
)
from tests.whole_evidence import NOW as THEN
from tests.whole_evidence import whole

Rules = list[dict[str, Any]]


def loaded(rules: Rules) -> LoadedPolicy:
    try:
        return parse_policy(json.dumps({"version": 1, "rules": rules}), "p")
    except PolicyError:
        assume(False)
        raise


def replayed_by(engine: Engine, policy: str, chosen: Chosen = Chosen()) -> list[OfPart]:  # noqa: B008
    with one_state(engine) as connection:
        parts = parts_of(connection, chosen)
    return list(replay(engine.url.render_as_string(hide_password=False), policy, parts))


def counts(engine: Engine, policy: str) -> dict[str, int]:
    parts = replayed_by(engine, policy)
    return {name: many for part in parts for name, many in part.count.items()}


# --- nothing changes where nothing changed -------------------------------------------------------------------


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A database that is filled more and more."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('replay')}/audit.db"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        url = server.new_database()
    schema.upgrade(url)
    engine = make_engine(url)
    yield engine
    engine.dispose()


@given(policies(ANY), evidences(), st.sampled_from([0, 700, 64 * 1024]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])
def test_a_policy_that_did_not_change_changes_nothing(
    filled: Engine, rules: Rules, evidence: Evidence, room: int
) -> None:
    policy = loaded(rules)
    request = replace(a_request("credit-cards", NOW), id=str(uuid.uuid4()))
    evidence = within_room(evidence, policy.policy.needs(request), room)
    verdict = evaluate(policy.policy, request, evidence, NOW)
    assume(verdict.kind is not VerdictKind.ABSTAIN)
    log = SqlAuditLog(filled, "test:1", REGISTRY)
    log.keep_policy(policy.digest, policy.text)
    [recorded] = log.record(Judged(request, verdict, evidence, Mode.OBSERVE, policy.digest))
    [part] = replayed_by(filled, policy.text, Chosen(recorded.decision.decision_id))
    assert (dict(part.count), part.told) == ({"same": 1}, ())


# --- what is told is true ------------------------------------------------------------------------------------


def gathered(full: Evidence, needs: Needs, room: int) -> Evidence:
    """What a registry that shows all of this is asked for, and what is kept of it."""
    shown = full
    if not needs.run:
        shown = with_answer(shown, RunFacts, Absent("not_asked", "no rule asks for the run"))
    if not needs.logged_model:
        shown = with_answer(shown, LoggedModelFacts, Absent("not_asked", "no rule asks for it"))
    model = full.fact(ModelFacts)
    if not needs.registered_model:
        shown = replace(shown, answers={key: one for key, one in shown.answers.items() if key != ModelFacts.key})
    elif isinstance(model, ModelFacts):
        asked = {name: text for name, text in model.tags.items() if name in needs.model_tags}
        shown = shown.knowing(replace(model, tags=asked))
    return Evidence.from_json(within_room(shown, needs, room).to_json())


FAMILY = st.builds(
    lambda least, more: {"family": "?", "min": least} | more,
    st.integers(0, 4),
    st.sampled_from([{}, {"at_least": 1}, {"expect": ["a"]}]),
)
OF_MODEL = st.builds(
    lambda metric, least: {"metric": metric, "min": least, "source": "logged_model"},
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 4),
)
DOCUMENTED = st.sampled_from([{"documentation": {}}, {"requester": {"assurance": "asserted", "not_run_user": True}}])
EVERY = st.one_of(ANY, ANY, FAMILY, OF_MODEL, DOCUMENTED)
# Checks that mostly pass: else nearly everything is a rejection, whatever is known.
EASY = st.one_of(
    st.builds(lambda name, least: {"metric": name, "min": least}, st.sampled_from("abc"), st.sampled_from([0, 0, 3])),
    st.sampled_from([{"tag": "t"}, {"tag": "u"}, {"tag": "u", "present": False}, {"tag": "t", "equals": "x"}]),
    FAMILY, OF_MODEL, DOCUMENTED,
)  # fmt: skip
WHEN = st.sampled_from([{}, {}, {"when": {"model_tag": {"tier": "1"}}}, {"when": {"model_tag": {"other": "1"}}}])
FEW = st.builds(
    lambda required, when: named([{"require": required} | when]), st.lists(EASY, min_size=1, max_size=2), WHEN
)
POLICIES = st.one_of(FEW, FEW, policies(EVERY))
AS_MUCH = st.fixed_dictionaries({"a": st.integers(0, 4), "c": st.integers(0, 4)}, optional={"b": st.just(2)})
TIERS = st.dictionaries(st.sampled_from(["tier", "other"]), st.sampled_from("12").map(Text.of))


@st.composite
def shown_in_full(draw: st.DrawFn) -> Evidence:
    """All that a registry shows, of which there may be no room for all."""
    tags = draw(st.dictionaries(st.sampled_from("tu"), st.sampled_from("xy")))
    evidence = draw(evidences())
    if draw(st.booleans()):
        evidence = draw(st.builds(shown, AS_MUCH, st.just(tags)))
        for kind, answers in ((TenureFacts, TENURES), (SignatureFacts, SHOWN_SIGNATURES)):
            evidence = with_answer(evidence, kind, draw(answers))
    run, version = evidence.fact(RunFacts), evidence.fact(VersionFacts)
    assert isinstance(version, VersionFacts)
    evidence = evidence.knowing(replace(version, left_out={})).knowing(ModelFacts(draw(TIERS), Text.of("x")))
    if draw(st.booleans()):
        readings = draw(AS_MUCH)
        of_model = {name: (Reading(repr(float(one)), float(one), 0, 0),) for name, one in readings.items()}
        evidence = evidence.knowing(LoggedModelFacts("m-1", "r1", "READY", of_model, left_out={}))
    return evidence.knowing(replace(run, left_out={})) if isinstance(run, RunFacts) else evidence


@given(POLICIES, POLICIES, shown_in_full(), st.sampled_from([0, 400, 64 * 1024]))
@settings(max_examples=600, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_what_is_told_for_certain_is_what_the_whole_registry_would_have_given(
    then: Rules, now: Rules, full: Evidence, room: int
) -> None:
    old, new, request = loaded(then).policy, loaded(now).policy, a_request("credit-cards", NOW)
    stored = gathered(full, old.needs(request), room)
    decided = evaluate(old, request, stored, NOW)
    assume(decided.kind is not VerdictKind.ABSTAIN)
    truth = evaluate(new, request, full, NOW)
    would = replayed(Judging(_recorded(decided), request, stored, old), new)
    if would.change is Change.DIFFERS:
        assert (would.would, would.cause) == (str(truth.kind), "policy")
    elif would.change is Change.SAME:
        assert truth.kind is decided.kind


def _recorded(verdict: Verdict) -> Recorded:
    checks = [RecordedCheck.of(check) for check in verdict.checks]
    kind, code = str(verdict.kind), str(verdict.reason_code)
    return Recorded(ENGINE, kind, code, verdict.rule, verdict.archive_existing, checks)


@given(policies(EVERY), shown_in_full(), st.sampled_from([0, 700]))
@settings(max_examples=200)
def test_what_was_asked_for_is_judged_as_it_was(then: Rules, full: Evidence, room: int) -> None:
    policy, request = loaded(then).policy, a_request("credit-cards", NOW)
    needs = policy.needs(request)
    tenure = full.fact(TenureFacts)
    assume(not (needs.held and isinstance(tenure, Absent) and tenure.code == AbsenceCode.NOT_ASKED))
    stored = gathered(full, needs, room)
    assert evaluate(policy, request, as_captured(stored, needs, needs), NOW) == evaluate(policy, request, stored, NOW)


@given(policies(ANY), rules(ANY), evidences())
@settings(max_examples=50)
def test_a_rule_more_never_turns_a_rejection_into_anything_certain_but_one(
    before: Rules, more: dict[str, Any], evidence: Evidence
) -> None:
    old, request = loaded(before).policy, a_request("credit-cards", NOW)
    decided = evaluate(old, request, evidence, NOW)
    assume(decided.kind is VerdictKind.REJECT)
    new = loaded([*before, *named([more], "added")]).policy
    assert replayed(Judging(_recorded(decided), request, evidence, old), new).change is not Change.DIFFERS


# --- by hand -------------------------------------------------------------------------------------------------


def policy_of(*checks: str, more: str = "") -> str:
    lines = "".join(f"      - {check}\n" for check in checks)
    return f"version: 1\nrules:\n  - name: r\n    targets: [Production]\n{more}    require:\n{lines}"


OLD = policy_of("{metric: validation_accuracy, min: 0.9}")


def test_how_many_would_differ_is_what_a_plain_comparison_says(engine: Engine) -> None:
    chance = random.Random(5)
    values = [round(chance.uniform(0.8, 1), 3) for _ in range(40)]
    given = [(a_request(f"m-{number}", THEN), _with_accuracy(value)) for number, value in enumerate(values)]
    record(engine, parse_policy(OLD, "p"), *given)
    would = sum((value >= 0.9) != (value >= 0.95) for value in values)
    assert 0 < would < 40
    expected = {"same": 40 - would, "differs": would, "by policy": would}
    assert counts(engine, OLD.replace("0.9}", "0.95}")) == expected
    assert counts(engine, OLD) == {"same": 40}


def _with_accuracy(value: float) -> Evidence:
    run = whole().fact(RunFacts)
    assert isinstance(run, RunFacts)
    metrics = {**run.metrics, "validation_accuracy": Reading(repr(value), value, 0, 5, "r1")}
    return whole().knowing(replace(run, metrics=metrics))


CASES = [
    ("{tag: owner}", "same"),  # the tags of the version are kept
    ("{tag: never.set}", "differs"),
    ("{tag: never.set, present: false}", "same"),
    ("{metric: metric_3, min: 0.1}", "same"),  # and all metrics of its run
    ("{metric: metric_3, min: 0.9, bounds: null}", "differs"),
    ("{metric: not_there, min: 0.9}", "differs"),
    ("{metric: not_there, min: 0.9, on_missing: abstain}", "differs"),
    ("{metric: auc, min: 0.9, source: logged_model, dataset: holdout}", "same"),
    ("{documentation: {}}", "unknown"),  # the registered model was never read
    ("{documentation: {of: version}}", "same"),
    ('{family: "metric_?", max: 4}', "same"),
]


@pytest.mark.parametrize(("check", "expected"), CASES, ids=[check for check, _ in CASES])
def test_a_check_more_is_judged_on_what_was_captured(engine: Engine, check: str, expected: str) -> None:
    record(engine, parse_policy(OLD, "p"), (a_request("fraud", THEN), whole()))
    new = policy_of("{metric: validation_accuracy, min: 0.9}", check)
    found = counts(engine, new)
    assert {name for name in found if name in {"same", "differs", "unknown"}} == {expected}


@pytest.mark.parametrize(("when", "expected"), [("tier", "same"), ("other", "unknown")])
def test_of_the_registered_models_tags_those_are_known_that_were_asked_for(
    engine: Engine, when: str, expected: str
) -> None:
    by_tier = "    when: {model_tag: {tier: '1'}}\n"
    shown = with_answer(whole(), ModelFacts, ModelFacts({"tier": Text.of("1")}, Text.of("")))
    record(engine, parse_policy(policy_of("{tag: owner}", more=by_tier), "p"), (a_request("fraud", THEN), shown))
    new = policy_of("{tag: owner}", more=by_tier.replace("tier", when))
    assert counts(engine, new) == {expected: 1}


@pytest.mark.parametrize(
    ("team", "expected"),
    [("", "same"), ("    when: {model_tag: {other: x}}\n", "unknown"), ("    mode: observe\n", "differs")],
    ids=["certainly", "nobody can tell", "never"],
)
def test_a_check_that_another_may_replace_fails_for_certain_only_where_it_is_known_that_none_does(
    engine: Engine, team: str, expected: str
) -> None:
    record(engine, parse_policy(OLD, "p"), (a_request("fraud", THEN), whole()))
    new = policy_of("{id: acc, metric: validation_accuracy, min: 0.99, overridable: true}")
    new += f"  - name: team\n    targets: [Production]\n{team}    require:\n"
    new += "      - {metric: validation_accuracy, min: 0.9, overrides: [r/acc]}\n"
    found = counts(engine, new)
    assert {name for name in found if name in {"same", "differs", "unknown"}} == {expected}


def test_what_was_cut_for_want_of_room_is_unknown_and_what_was_asked_for_is_not(engine: Engine) -> None:
    run = whole().fact(RunFacts)
    assert isinstance(run, RunFacts)
    many = {f"m{at:06}": Reading("0.5", 0.5, 0, 0, "r1") for at in range(5000)}
    flooded = whole().knowing(replace(run, metrics={**many, **run.metrics, "zz": many["m000000"]}))
    record(engine, parse_policy(OLD, "p"), (a_request("fraud", THEN), flooded))
    for check, expected in (
        ("{metric: zz, min: 0.9}", "unknown"),
        ("{metric: m000000, min: 0.4}", "same"),
        ('{family: "z*", at_least: 1, min: 0.4}', "unknown"),
        ("{id: x, metric: validation_accuracy, max: 0.5}", "differs"),
    ):
        found = counts(engine, policy_of("{metric: validation_accuracy, min: 0.9}", check))
        assert expected in found, (check, found)


def test_what_was_redacted_is_unknown_unless_something_else_fails(engine: Engine) -> None:
    [id] = record(engine, parse_policy(OLD, "p"), (a_request("fraud", THEN), whole()))
    redact(engine, id, ["version.tags.owner"], "ticket", "ada")
    assert counts(engine, policy_of("{tag: owner}")) == {"unknown": 1}
    assert counts(engine, policy_of("{tag: owner}", "{tag: never.set}"))["differs"] == 1
    assert counts(engine, policy_of("{tag: ticket}")) == {"same": 1}


def test_what_checks_mean_today_is_told_apart_from_the_policy(engine: Engine) -> None:
    """To engine 1 a description of blanks and signs was as good as one of letters."""
    old = parse_policy(policy_of("{description: {min_length: 5}}"), "p")
    version = whole().fact(VersionFacts)
    assert isinstance(version, VersionFacts)
    shown, request = whole().knowing(replace(version, description=Text.of("!!!!!!!!"))), a_request("fraud", THEN)
    verdict = judge_again(1, old.policy, request, shown)
    assert verdict.kind is VerdictKind.APPROVE
    log = SqlAuditLog(engine, "test:1", REGISTRY)
    log.keep_policy(old.digest, old.text)
    log.record(Judged(request, verdict, shown, Mode.OBSERVE, old.digest, engine=1))
    assert counts(engine, old.text) == {"differs": 1, "by engine": 1}
    assert counts(engine, policy_of("{tag: owner}")) == {"same": 1}
    # Today's meaning rejects, and so would the new policy: nothing differs by it.
    assert counts(engine, policy_of("{tag: never.set}")) == {"differs": 1, "by engine": 1}


def test_a_share_above_one_that_engine_3_compared_is_its_own_decision_and_none_of_today(engine: Engine) -> None:
    compares = "{compare: auc, greater_is_better: true, if_no_holder: pass, min_absolute_change: 0.0}"
    old, request = parse_policy(policy_of(compares), "p"), a_request("fraud", THEN)
    auc = {"auc": Reading("1.7", 1.7, 0, 5, "r1")}
    nobody = Absent(AbsenceCode.NO_HOLDER, "nothing holds Production")
    shown = with_answer(with_changed(whole(), RunFacts, metrics=auc), HolderFacts, nobody)
    verdict = judge_again(3, old.policy, request, shown)
    log = SqlAuditLog(engine, "test:1", REGISTRY)
    log.keep_policy(old.digest, old.text)
    log.record(Judged(request, verdict, shown, Mode.OBSERVE, old.digest, engine=3))
    assert verdict.kind is VerdictKind.APPROVE
    assert read_again(engine) == (1, [])
    assert counts(engine, old.text) == {"differs": 1, "by engine": 1}


def test_archiving_others_is_a_difference_too(engine: Engine) -> None:
    record(engine, parse_policy(OLD, "p"), (a_request("fraud", THEN), whole()))
    archiving = policy_of("{metric: validation_accuracy, min: 0.9}", more="    archive_existing: true\n")
    assert counts(engine, archiving) == {"differs": 1, "by policy": 1}


def test_a_policy_that_covers_it_no_longer_leaves_it_alone(engine: Engine) -> None:
    record(engine, parse_policy(OLD, "p"), (a_request("fraud", THEN), whole()))
    [part] = replayed_by(engine, OLD.replace("[Production]", "[Staging]"))
    [one] = part.told
    assert (one.would.would, one.would.reason_code, one.would.cause) == ("abstain", "no_policy", "policy")


def test_as_of_then_and_not_of_now(engine: Engine) -> None:
    """A run that was young when it was judged."""
    record(engine, parse_policy(OLD, "p"), (a_request("fraud", THEN - timedelta(minutes=5)), whole()))
    assert counts(engine, policy_of("{run: {max_age: 2d}}")) == {"same": 1}


@pytest.mark.parametrize("statement", [
    "UPDATE evidence SET content = substr(content, 1, 30)", "UPDATE policy_versions SET text = 'x'",
    "UPDATE decisions SET request = 'x'", "DELETE FROM evidence",
])  # fmt: skip
def test_what_is_damaged_is_unknown(engine: Engine, statement: str) -> None:
    record(engine, parse_policy(OLD, "p"), (a_request("fraud", THEN), whole()))
    with as_owner(engine) as connection:
        connection.execute(text(statement))
    assert counts(engine, OLD) == {"unknown": 1}
