"""The check that compares a metric with that of what holds the target."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from reconciler.domain.codes import AbsenceCode
from reconciler.domain.engines.current import ENGINE
from reconciler.domain.engines.evaluate import evaluate
from reconciler.domain.evidence.captured import as_captured
from reconciler.domain.evidence.evidence import (
    Absent,
    Dataset,
    Evidence,
    HolderFacts,
    LoggedModelFacts,
    Reading,
    RunFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.evidence.holder_facts import Arrival
from reconciler.domain.evidence.keeping import permitted, within_room
from reconciler.domain.evidence.redacted import evidence_left
from reconciler.domain.evidence.salted import document_of, fields_of
from reconciler.domain.place import Place
from reconciler.domain.target import Target
from reconciler.domain.text import Text
from reconciler.domain.verdict import Result, Verdict, VerdictKind
from reconciler.fleet import Fitness, Holder, judged_fleet
from reconciler.judging import judge_again
from reconciler.policy.file import PolicyError, parse_policy
from tests.builders import NO_LOGGED_MODEL, a_request, comparing_policy, evidence_of
from tests.fake_registry import FakeRegistry

NOW = datetime(2026, 6, 3, 10, tzinfo=UTC)
BY_DECISION = Arrival("decision", True, "it came there by decision", "2026-06-01T00:00:00.000Z")
NOBODY = Absent(AbsenceCode.NO_HOLDER, "nothing holds Production")
BETTER = "compare: auc, greater_is_better: true, if_no_holder: fail"
ANY_NUMBER = f"{BETTER}, bounds: null"


def facts(value: object, run: str = "r1", **more: Any) -> RunFacts:
    metrics = {} if value is None else {"auc": reading(value)}
    return replace(RunFacts(run, "FINISHED", "active", 1, f"s3://b/{run}", metrics, left_out={}), **more)


def reading(value: object, *, dataset: str = "", step: int = 0) -> Reading:
    text = str(value)
    try:
        number: float | None = float(text)
    except ValueError:
        number = None
    return Reading(text, number, step, 5, "r", dataset, f"d-{dataset}" if dataset else "")


def version(run: str) -> VersionFacts:
    return VersionFacts(run, f"runs:/{run}/m", "READY", "None", Text.of(""), left_out={})


def holder(value: object, arrival: Arrival = BY_DECISION, *, model: Any = NO_LOGGED_MODEL, **run: Any) -> HolderFacts:
    return HolderFacts("1", arrival, version("r0"), facts(value, "r0", **run), model)


def against(mine: object, held: Any, *, model: Any = NO_LOGGED_MODEL, **run: Any) -> Evidence:
    own = evidence_of(NOW, version("r1"), facts(mine, **run), model)
    return own.answering(HolderFacts, held)


def policy(check: str) -> Any:
    return parse_policy(
        f"version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require: [{{{check}}}]\n", "p"
    ).policy


def judged(check: str, by: Evidence) -> Verdict:
    return evaluate(policy(check), a_request("m", NOW, version="2"), by, NOW)


def found(check: str, by: Evidence) -> tuple[str, str]:
    [one] = judged(check, by).checks
    return str(one.result), str(one.code)


# --- the meaning ---------------------------------------------------------------------------------------------

ABSOLUTE, RELATIVE = "min_absolute_change: {}", "min_relative_change: {}"


@pytest.mark.parametrize(
    ("mine", "its", "terms", "passes"),
    [
        (0.5, 0.5, ABSOLUTE.format(0.0), True),
        (0.5, 0.5, ABSOLUTE.format(0.001), False),
        (0.5, 0.5, RELATIVE.format(0.0), True),
        (0.505, 0.5, RELATIVE.format(0.01), True),
        (0.504, 0.5, RELATIVE.format(0.01), False),
        # Of nothing there is no share: better by more than nothing is enough, whatever share is asked for.
        (0.0, 0.0, RELATIVE.format(0.0), False),
        (1e-10, 0.0, RELATIVE.format(0.5), True),
        (1e-11, 0.0, RELATIVE.format(0.5), False),
        (-0.0, 0.0, ABSOLUTE.format(0.0), True),
        # The share is of the magnitude, so that it points the right way below 0.
        (-0.75, -1.0, RELATIVE.format(0.25), True),
        (-0.95, -1.0, RELATIVE.format(0.1), False),
        (-1.1, -1.0, RELATIVE.format(0.0), False),
        # Both must hold.
        (0.52, 0.5, "min_absolute_change: 0.0, min_relative_change: 0.01", True),
        (0.52, 0.5, "min_absolute_change: 0.03, min_relative_change: 0.01", False),
    ],
)  # fmt: skip
def test_more_is_better_by_what_is_asked_for(mine: float, its: float, terms: str, passes: bool) -> None:
    expected = ("passed", "ok") if passes else ("failed", "not_better")
    assert found(f"{ANY_NUMBER}, {terms}", against(mine, holder(its))) == expected
    # The same of a metric of which less is better.
    less = ANY_NUMBER.replace("true", "false")
    assert found(f"{less}, {terms}", against(-mine, holder(-its))) == expected


FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
SMALL = st.floats(-2, 2) | st.sampled_from([0.0, -0.0, 1e-10, -1e-10, 5e-324, 0.5, 1.0])


@given(
    mine=SMALL | FINITE,
    its=SMALL | FINITE,
    absolute=st.none() | st.floats(1e-12, 2),
    relative=st.none() | st.floats(0, 1),
    more=st.booleans(),
)
@example(mine=0.0, its=0.0, absolute=None, relative=0.0, more=True)
@example(mine=1e-10, its=0.0, absolute=None, relative=1.0, more=True)
@example(mine=-1e-10, its=0.0, absolute=None, relative=1.0, more=False)
@example(mine=0.3, its=0.2, absolute=0.1, relative=None, more=True)
def test_it_says_what_mlflow_says(
    mine: float, its: float, absolute: float | None, relative: float | None, more: bool
) -> None:
    from mlflow.models import MetricThreshold
    from mlflow.models.evaluation import EvaluationResult
    from mlflow.models.evaluation.validation import ModelValidationFailedException, validate_evaluation_results

    assume(absolute is not None or relative is not None)
    terms = {"min_absolute_change": absolute, "min_relative_change": relative}
    threshold = MetricThreshold(greater_is_better=more, **terms)
    try:
        validate_evaluation_results(
            {"auc": threshold}, EvaluationResult({"auc": mine}, {}), EvaluationResult({"auc": its}, {})
        )
        said = ("passed", "ok")
    except ModelValidationFailedException:
        said = ("failed", "not_better")
    written = ", ".join(f"{key}: {value:.17f}" for key, value in terms.items() if value is not None)
    any_number = ANY_NUMBER.replace("true", str(more).lower())
    check = policy(f"{any_number}, {written}")
    # The text of the policy has fewer digits than the number.
    exact = check.rules[0].require[0].model_copy(update=terms)
    finding = exact.find(against(mine, holder(its)), NOW)
    assert ("passed" if finding.code == "ok" else "failed", str(finding.code)) == said


@given(mine=FINITE, more=FINITE, its=FINITE, relative=st.booleans())
def test_a_higher_metric_never_turns_an_approval_into_a_rejection(
    mine: float, more: float, its: float, relative: bool
) -> None:
    check = f"{ANY_NUMBER}, {'min_relative_change' if relative else 'min_absolute_change'}: 0.01"
    lower, higher = sorted((mine, more))
    if judged(check, against(lower, holder(its))).kind is VerdictKind.APPROVE:
        assert judged(check, against(higher, holder(its))).kind is VerdictKind.APPROVE


# --- what cannot be compared ---------------------------------------------------------------------------------

STRICTLY = f"{BETTER}, min_absolute_change: 0.0"


@pytest.mark.parametrize(
    ("value", "code"),
    [("NaN", "not_finite"), ("Infinity", "not_finite"), ("-Infinity", "not_finite"),
     ("1.7976931348623157e308", "not_finite"), ("high", "not_a_number"), (None, "metric_missing")],
)  # fmt: skip
@pytest.mark.parametrize("terms", [ABSOLUTE.format(0.0), RELATIVE.format(0.0)])
def test_what_is_no_finite_number_is_better_than_nothing_and_no_baseline(
    value: str | None, code: str, terms: str
) -> None:
    assert found(f"{BETTER}, {terms}", against(value, holder(0.5))) == ("failed", code)
    assert found(f"{BETTER}, {terms}", against(0.5, holder(value))) == ("failed", "holder_not_measured")


@pytest.mark.parametrize("value", [1.0000001, 1.7, 93, -0.01, 1e300])
def test_a_share_above_one_or_below_zero_is_neither_better_nor_a_baseline(value: float) -> None:
    for check in (STRICTLY, STRICTLY.replace("true", "false")):
        assert found(check, against(value, holder(0.5))) == ("failed", "out_of_bounds")
        assert found(check, against(0.5, holder(value))) == ("failed", "holder_not_measured")
        assert found(f"{check}, on_missing: abstain", against(0.5, holder(value))) == ("unknown", "holder_not_measured")
        # Nothing to be compared with makes no better number of it.
        alone = check.replace("if_no_holder: fail", "if_no_holder: pass")
        assert found(alone, against(value, NOBODY)) == ("failed", "out_of_bounds")
    [mine] = judged(STRICTLY, against(1.7, holder(0.5))).checks
    assert mine.sentence.startswith("compare auc: 1.7, outside of 0 to 1; required: ")
    [its] = judged(STRICTLY, against(0.5, holder(1.7))).checks
    assert its.observed == "version 1, which holds the target: 1.7, outside of 0 to 1"


def test_the_policy_says_what_is_plausible_where_the_name_does_not() -> None:
    assert found(f"{STRICTLY}, bounds: [0, 100]", against(93.5, holder(93))) == ("passed", "ok")
    assert found(f"{STRICTLY}, bounds: [0, 100]", against(101, holder(93))) == ("failed", "out_of_bounds")
    assert found(f"{STRICTLY}, bounds: null", against(93.5, holder(93))) == ("passed", "ok")
    loss = STRICTLY.replace("compare: auc", "compare: loss").replace("true", "false")
    measured = against(0, holder(0), metrics={"loss": reading(-5)})
    held = replace(holder(0), run=facts(0, "r0", metrics={"loss": reading(0.2)}))
    assert found(loss, measured.answering(HolderFacts, held)) == ("passed", "ok")
    assert found(f"{loss}, bounds: [0, 1e9]", measured.answering(HolderFacts, held)) == ("failed", "out_of_bounds")


@pytest.mark.parametrize("engine", [2, 3])
def test_what_an_earlier_engine_compared_without_bounds_is_judged_again_as_it_was(engine: int) -> None:
    request, shown = a_request("m", NOW, version="2"), against(1.7, holder(0.5))
    for rule in (policy(STRICTLY), policy(f"{STRICTLY}, bounds: [0, 1]")):
        assert judge_again(engine, rule, request, shown).kind is VerdictKind.APPROVE
        assert judge_again(ENGINE, rule, request, shown).kind is VerdictKind.REJECT
    either = policy(f"any_of: [[{{{STRICTLY}}}], [{{tag: nobody}}]]")
    assert [judge_again(one, either, request, shown).kind for one in (3, ENGINE)] == ["approve", "reject"]


def test_a_holder_without_the_metric_may_be_left_to_a_person() -> None:
    verdict = judged(f"{STRICTLY}, on_missing: abstain", against(0.5, holder(None)))
    assert (verdict.kind, str(verdict.reason_code)) == (VerdictKind.ABSTAIN, "missing")
    assert verdict.checks[0].observed == "version 1, which holds the target: not logged on run r0"


@pytest.mark.parametrize(
    ("what", "expected"),
    [("pass", ("passed", "ok")), ("fail", ("failed", "no_holder")), ("abstain", ("unknown", "no_holder"))],
)
def test_what_it_means_that_nothing_holds_the_target_is_for_the_policy_to_say(
    what: str, expected: tuple[str, str]
) -> None:
    check = f"{STRICTLY.replace('if_no_holder: fail', f'if_no_holder: {what}')}"
    assert found(check, against(0.5, NOBODY)) == expected
    [one] = judged(check, against(0.5, NOBODY)).checks
    assert one.sentence.startswith("compare auc: 0.5; nothing holds Production; required: 0")
    # A version without the metric is no better for it.
    assert found(check, against(None, NOBODY)) == ("failed", "metric_missing")
    with pytest.raises(PolicyError, match="if_no_holder"):
        policy(STRICTLY.replace(", if_no_holder: fail", ""))


@pytest.mark.parametrize(
    "arrival",
    [Arrival("bypass", False, "it came there by bypass"), Arrival("undetermined", None, "nobody knows"), Arrival()],
)
def test_a_holder_that_nobody_is_known_to_have_approved_is_no_baseline(arrival: Arrival) -> None:
    verdict = judged(STRICTLY, against(0.9, holder(0.1, arrival)))
    assert (verdict.kind, str(verdict.reason_code)) == (VerdictKind.ABSTAIN, "undetermined")
    assert (str(verdict.checks[0].code), arrival.why in verdict.checks[0].observed) == ("holder_unapproved", True)
    allowed = f"{STRICTLY}, bypassed_holder: allow"
    assert found(allowed, against(0.9, holder(0.1, arrival))) == ("passed", "ok")


def test_what_could_not_be_read_of_the_holder_is_never_judged() -> None:
    unread = Unreadable("500")
    for held in (unread, replace(holder(0.5), run=unread), replace(holder(0.5), logged_model=unread)):
        assert found(STRICTLY, against(0.9, held)) == ("unknown", "unreadable")
    # Evidence that was read for other rules, or by an earlier release.
    assert found(STRICTLY, evidence_of(NOW, version("r1"), facts(0.9))) == ("unknown", "undetermined")


def test_both_sides_are_measured_on_the_dataset() -> None:
    check = f"{STRICTLY}, dataset: holdout"
    holdout, other = (Dataset("holdout", "1"),), (Dataset("train", "2"),)
    assert found(check, against(0.9, holder(0.5, datasets=holdout), datasets=holdout)) == ("passed", "ok")
    assert found(check, against(0.9, holder(0.5, datasets=other), datasets=holdout)) == (
        "failed",
        "holder_not_measured",
    )
    assert found(check, against(0.9, holder(0.5, datasets=holdout), datasets=other)) == ("failed", "dataset_unused")
    assert found(check, against(0.9, holder(0.5), datasets=holdout)) == ("unknown", "undetermined")


def logged(run: str, *readings: Reading) -> LoggedModelFacts:
    return LoggedModelFacts(f"m-{run}", run, "READY", {"auc": readings}, left_out={})


def test_of_logged_models_the_latest_on_the_dataset_is_compared_and_a_zero_may_be_a_nan() -> None:
    check = f"{STRICTLY}, source: logged_model, dataset: holdout"
    held = holder(0.99, model=logged("r0", reading(0.5, dataset="holdout"), reading(0.9, dataset="train")))
    mine = logged("r1", reading(0.1, dataset="holdout"), reading(0.6, dataset="holdout", step=1))
    assert found(check, against(0.0, held, model=mine)) == ("passed", "ok")
    zero = logged("r1", reading("0.0", dataset="holdout"))
    less = check.replace("true", "false")
    assert found(less, against(0.0, held, model=zero)) == ("failed", "zero_may_be_nan")
    assert found(f"{less}, allow_zero: true", against(0.0, held, model=zero)) == ("passed", "ok")
    of_zero = holder(0.99, model=logged("r0", reading("0.0", dataset="holdout")))
    assert found(check, against(0.0, of_zero, model=mine)) == ("failed", "holder_not_measured")


def test_a_version_that_another_run_made_is_neither_better_nor_a_baseline() -> None:
    borrowed = logged("elsewhere", reading(0.9))
    assert found(STRICTLY, against(0.9, holder(0.5), model=borrowed)) == ("failed", "measured_on_other_run")
    held = holder(0.5, model=borrowed)
    assert found(STRICTLY, against(0.9, held)) == ("failed", "holder_not_measured")
    several = holder(0.5, outputs=("m-1", "m-2"))
    assert found(STRICTLY, against(0.9, several)) == ("failed", "holder_not_measured")


# --- the policy ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (BETTER, "set min_absolute_change, min_relative_change or both"),
        (f"{BETTER}, min_relative_change: 1.5", "must be at most 1"),
        (f"{BETTER}, min_absolute_change: -0.1", "must be at least 0"),
        (f"{BETTER}, min_absolute_change: .nan", "other than infinity and NaN"),
        ("compare: auc, if_no_holder: pass, min_absolute_change: 0.0", "greater_is_better"),
        (f"{STRICTLY}, bypassed_holder: pass", "'abstain' or 'allow'"),
        (f"{STRICTLY}, bounds: [1, 0]", "the lower bound is greater than the upper"),
        (f"{STRICTLY}, bounds: [0]", "bounds"),
        (f"{STRICTLY}, bounds: [.nan, 1]", "other than infinity and NaN"),
    ],
)
def test_what_would_mean_nothing_is_refused(keys: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        policy(keys)


def test_that_a_bypass_may_be_a_baseline_and_that_a_run_proves_nothing_are_doubted() -> None:
    text = "version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require: [{{{}}}]\n"
    doubts = [str(one) for one in parse_policy(text.format(f"{STRICTLY}, bypassed_holder: allow"), "p").warnings]
    assert "put a bad version there first" in doubts[0]
    assert "anybody may register a version under a good run's id" in doubts[1]
    assert parse_policy(text.format(f"{STRICTLY}, source: logged_model"), "p").warnings == ()


def test_a_change_that_no_two_plausible_values_have_is_doubted() -> None:
    text = "version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require: [{{{}}}, run: {{linked: true}}]\n"
    [doubt] = parse_policy(text.format(f"{BETTER}, min_absolute_change: 5.0"), "p").warnings
    assert "can never pass: min_absolute_change 5 is more than lies between the bounds 0 and 1" in str(doubt)
    assert parse_policy(text.format(f"{BETTER}, min_absolute_change: 1.0"), "p").warnings == ()
    assert parse_policy(text.format(f"{ANY_NUMBER}, min_absolute_change: 5.0"), "p").warnings == ()


# --- what is kept --------------------------------------------------------------------------------------------


def test_a_decision_is_judged_again_from_what_is_kept_of_the_holder() -> None:
    rule = policy(f"{STRICTLY}, source: logged_model")
    held = holder(0.5, model=logged("r0", reading(0.4, dataset="a")))
    seen = against(0.9, held, model=logged("r1", reading(0.3, dataset="a")))
    request = a_request("m", NOW, version="2")
    stored = Evidence.from_json(seen.to_json())
    assert stored == seen
    before, again = evaluate(rule, request, seen, NOW), judge_again(ENGINE, rule, request, stored)
    assert before == again
    assert before.kind is VerdictKind.REJECT
    # Fields are kept and proven one by one.
    assert document_of(dict(fields_of(seen.to_data()))) == seen.to_data()


@pytest.mark.parametrize("field", ["run", "arrival", "shown", "logged_model", "version"])
def test_a_holder_of_which_something_was_redacted_makes_the_check_abstain(field: str) -> None:
    document = against(0.9, holder(0.5)).to_data()
    del document["holder"][field]
    again = evaluate(policy(STRICTLY), a_request("m", NOW), evidence_left(document, [f"holder.{field}"]), NOW)
    assert (again.checks[0].result, str(again.checks[0].code)) == (Result.UNKNOWN, "withheld")


def test_datasets_that_are_kept_out_are_kept_out_of_the_holder_too_and_it_is_never_cut() -> None:
    secret = holder(0.5, datasets=(Dataset("secret", "1"),), params={"p": Text.of("x" * 100_000)})
    rule = policy(STRICTLY)
    needs = rule.needs(a_request("m", NOW))
    kept = within_room(permitted(against(0.9, secret), needs, ["secret"]), needs)
    held = kept.fact(HolderFacts)
    assert isinstance(held, HolderFacts)
    assert isinstance(held.run, RunFacts)
    assert (held.run.datasets, math.isclose(held.run.metrics["auc"].value or 0, 0.5)) == ((), True)


def test_a_policy_that_compares_another_metric_cannot_judge_what_was_never_captured_of_the_holder() -> None:
    request = a_request("m", NOW, version="2")
    then = policy(STRICTLY).needs(request)
    other = policy(STRICTLY.replace("compare: auc", "compare: f1"))
    seen = against(0.9, holder(0.5), metrics={"auc": reading(0.9), "f1": reading(0.9)})
    again = evaluate(other, request, as_captured(seen, then, other.needs(request)), NOW)
    assert str(again.checks[0].code) == "withheld"
    assert evaluate(policy(STRICTLY), request, as_captured(seen, then, then), NOW).kind is VerdictKind.APPROVE
    # One that was decided before anything was compared.
    bare = evidence_of(NOW, version("r1"), facts(0.9))
    plain = as_captured(bare, replace(then, holder=False), then)
    assert str(evaluate(policy(STRICTLY), request, plain, NOW).checks[0].code) == "unreadable"


def test_a_comparison_says_nothing_about_what_holds_the_target_already() -> None:
    registry = FakeRegistry()
    registry.accuracy["fraud", "1"] = "0.95"
    registry.holders["fraud", Target.parse("Production")] = "1"
    rule = parse_policy(comparing_policy("if_no_holder: fail"), "p").policy
    place = Place("fraud", "1", Target.parse("Production"))
    [one] = judged_fleet(registry, rule, [Holder(place)], NOW, NOW, {})
    assert (one.fitness, one.checks, one.why.partition(":")[0]) == (Fitness.UNKNOWN, (), "not judged")
