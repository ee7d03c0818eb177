"""The policy engine: every result has its code, and nothing unread is ever judged."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.engines.evaluate import ENGINES, evaluate
from reconciler.domain.evidence.evidence import (
    Absent,
    Evidence,
    Fact,
    LoggedModelFacts,
    Reading,
    RunFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.request import Assurance, Request, Requester
from reconciler.domain.target import Target
from reconciler.domain.text import Text
from reconciler.domain.verdict import Verdict, VerdictKind
from reconciler.policy.file import parse_policy
from tests.builders import NO_LOGGED_MODEL, evidence_of, with_answer, with_changed

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DAY = 86_400_000
ASKED = Request("http://r", "", "fraud", "1", Target.parse("Production"), Requester("ada", Assurance.ASSERTED), NOW,
                "", "id", "fp")  # fmt: skip


def reading(text: str, **where: object) -> Reading:
    return Reading(text, float(text), **({"step": 0, "timestamp": 0} | where))  # type: ignore[arg-type]


def evidence(accuracy: str = "0.95") -> Evidence:
    metrics = {"validation_accuracy": reading(accuracy), "loss": reading("0.0")}
    run = RunFacts("r1", "FINISHED", "active", int(NOW.timestamp() * 1000) - DAY, "s3://b/r1/artifacts", metrics)
    version = VersionFacts("r1", "runs:/r1/model", "READY", "None", Text.of("a model"), {"stage.gate": Text.of("ok")})
    return evidence_of(NOW, version, run, NO_LOGGED_MODEL)


def judged(check: str, shown: Evidence, *, now: datetime = NOW, rule: str = "") -> Verdict:
    text = f"version: 1\nrules:\n  - name: r\n    targets: [Production]\n{rule}    require:\n      - {check}\n"
    return evaluate(parse_policy(text, "p").policy, ASKED, shown, now)


def code(check: str, shown: Evidence) -> str:
    return judged(check, shown).checks[0].code


ACCURACY = "{metric: validation_accuracy, min: 0.9}"


def test_no_rule_is_an_abstention() -> None:
    verdict = evaluate(parse_policy(
        "version: 1\nrules: [{name: r, models: [x], targets: [Production], require: [{run: {}}]}]", "p"
    ).policy, ASKED, evidence(), NOW)  # fmt: skip
    assert (verdict.kind, verdict.reason_code) == (VerdictKind.ABSTAIN, "no_policy")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0.9", "ok"), ("0.95", "ok"), ("0.8999999", "below_min"), ("NaN", "not_finite"), ("Infinity", "not_finite"),
     ("-Infinity", "not_finite"), ("1.7976931348623157e308", "not_finite"), ("-1.7976931348623157e+308", "not_finite"),
     ("1.0000001", "out_of_bounds"), ("-0.1", "out_of_bounds")],
)  # fmt: skip
def test_a_metric_has_a_code_for_each_way_to_miss(value: str, expected: str) -> None:
    assert code(ACCURACY, evidence(value)) == expected


def test_a_metric_may_have_a_most() -> None:
    assert code("{metric: loss, max: 0.1}", evidence()) == "ok"
    assert code("{metric: validation_accuracy, max: 0.1}", evidence()) == "above_max"


def test_text_for_a_metric_is_no_number() -> None:
    shown = evidence()
    broken = with_changed(shown, RunFacts, metrics={"validation_accuracy": Reading("good", None, 0, 0)})
    assert code(ACCURACY, broken) == "not_a_number"


def test_what_is_definitely_missing_rejects_waits_or_abstains_as_the_policy_says() -> None:
    missing = "metric: other, min: 1"
    assert judged(f"{{{missing}}}", evidence()).kind is VerdictKind.REJECT
    abstains = judged(f"{{{missing}, on_missing: abstain}}", evidence())
    assert (abstains.kind, abstains.reason_code, abstains.checks[0].code) == (
        VerdictKind.ABSTAIN, "missing", "metric_missing",
    )  # fmt: skip
    graced = f"{{{missing}, grace: 10m}}"
    assert judged(graced, evidence(), now=NOW + timedelta(minutes=9)).reason_code == "waiting"
    assert judged(graced, evidence(), now=NOW + timedelta(minutes=10)).kind is VerdictKind.REJECT


@pytest.mark.parametrize("missing", ["no_run", "run_not_found"])
def test_an_absent_run_keeps_its_own_code(missing: str) -> None:
    assert code(ACCURACY, with_answer(evidence(), RunFacts, Absent(missing, "none"))) == missing


def test_a_run_that_did_not_make_the_model_proves_nothing() -> None:
    model = LoggedModelFacts("m-1", "another", "READY", {})
    assert code(ACCURACY, with_answer(evidence(), LoggedModelFacts, model)) == "measured_on_other_run"
    unread = with_answer(evidence(), LoggedModelFacts, Unreadable("500"))
    assert judged(ACCURACY, unread).reason_code == "unreadable"


def on_model(*readings: Reading) -> Evidence:
    return with_answer(
        evidence(), LoggedModelFacts, LoggedModelFacts("m-1", "r1", "READY", {"validation_accuracy": readings})
    )


MODEL = "{metric: validation_accuracy, min: 0.9, source: logged_model}"


def test_a_logged_models_metric_is_the_latest_of_one_dataset() -> None:
    val = {"dataset_name": "val", "dataset_digest": "abc"}
    assert code(MODEL, on_model(reading("0.5", step=0), reading("0.95", step=1))) == "ok"
    assert code(MODEL, on_model(reading("0.95", step=0), reading("0.5", step=1))) == "below_min"
    assert code(MODEL, on_model(reading("0.95", **val), reading("0.5"))) == "ambiguous_dataset"
    assert code(MODEL, on_model(reading("0.95"), reading("0.5"))) == "ambiguous_value"
    assert code(MODEL, evidence()) == "no_logged_model"
    assert code(MODEL, on_model()) == "metric_missing"
    named = MODEL.replace("}", ", dataset: val}")
    assert code(named, on_model(reading("0.95", **val), reading("0.5"))) == "ok"
    assert code(named, on_model(reading("0.95"))) == "dataset_missing"
    assert "dataset val (abc)" in judged(named, on_model(reading("0.95", **val))).checks[0].source


def test_a_zero_of_a_logged_model_may_be_a_nan() -> None:
    low = "{metric: validation_accuracy, max: 0.5, source: logged_model}"
    assert code(low, on_model(reading("0.0"))) == "zero_may_be_nan"
    assert code(low.replace("}", ", allow_zero: true}"), on_model(reading("0.0"))) == "ok"


@pytest.mark.parametrize(
    ("check", "expected"),
    [("{tag: stage.gate}", "ok"), ("{tag: other}", "tag_missing"), ("{tag: stage.gate, equals: ok}", "ok"),
     ("{tag: stage.gate, equals: no}", "not_equal"), ("{tag: stage.gate, one_of: [a, b]}", "not_one_of"),
     ("{tag: stage.gate, matches: 'o.'}", "ok"), ("{tag: stage.gate, matches: 'o'}", "no_match"),
     ("{description: {min_length: 6}}", "ok"), ("{description: {min_length: 7}}", "description_too_short")],
)  # fmt: skip
def test_tags_and_descriptions_have_their_codes(check: str, expected: str) -> None:
    assert code(check.replace("equals: no", "equals: 'no'"), evidence()) == expected


def test_an_empty_description_is_missing() -> None:
    shown = evidence()
    assert code("{description: {}}", with_changed(shown, VersionFacts, description=Text.of("  "))) == (
        "description_missing"
    )


def test_a_tag_that_is_not_kept_whole_is_not_compared() -> None:
    shown = evidence()
    long = with_changed(shown, VersionFacts, tags={"t": Text.of("a" * 5000)})
    assert code("{tag: t, matches: 'a*'}", long) == "too_long"
    assert code("{tag: t}", long) == "ok"


@pytest.mark.parametrize(
    ("change", "expected"),
    [({}, "ok"), ({"lifecycle_stage": "deleted"}, "run_deleted"), ({"status": "RUNNING"}, "run_not_finished"),
     ({"end_time": None}, "run_not_finished"), ({"end_time": 0}, "run_too_old")],
)  # fmt: skip
def test_a_run_is_finished_there_and_young(change: dict[str, object], expected: str) -> None:
    shown = evidence()
    assert code("{run: {max_age: 2d}}", with_changed(shown, RunFacts, **change)) == expected


@pytest.mark.parametrize(("minutes", "expected"), [(4, "ok"), (6, "run_too_old"), (60 * 24 * 36500, "run_too_old")])
def test_a_run_that_ended_in_the_future_is_not_young_for_ever(minutes: int, expected: str) -> None:
    """Whoever logs a run may write any end: it must be no way around `max_age`."""
    ended = with_changed(evidence(), RunFacts, end_time=round(NOW.timestamp() + minutes * 60) * 1000)
    assert code("{run: {max_age: 2d}}", ended) == expected
    assert code("{run: {}}", ended) == "ok"
    text = "version: 1\nrules: [{name: r, targets: [Production], require: [{run: {max_age: 2d}}]}]"
    for earlier in (1, 2):
        then = ENGINES[earlier](parse_policy(text, "p").policy, ASKED, ended, NOW)
        assert then.kind is VerdictKind.APPROVE


@pytest.mark.parametrize(
    ("source", "proven"),
    [("runs:/r1/model", True), ("s3://b/r1/artifacts/model", True), ("s3://b/r1/artifacts-of-others/m", False),
     ("s3://elsewhere/model", False), ("runs:/r11/model", False)],
)  # fmt: skip
def test_a_link_is_proven_by_the_source_or_not_at_all(source: str, proven: bool) -> None:
    shown = evidence()
    linked = with_changed(shown, VersionFacts, source=source)
    assert code("{run: {linked: true}}", linked) == ("ok" if proven else "link_unproven")


def test_archiving_is_for_stages_that_have_holders() -> None:
    assert judged(ACCURACY, evidence(), rule="    archive_existing: true\n").archive_existing


def test_every_reason_is_told() -> None:
    verdict = judged(ACCURACY + "\n      - {tag: other}\n      - {run: {}}", evidence("0.85"))
    assert verdict.reason == (
        "2 of 3 checks failed: validation_accuracy 0.85, at least 0.9 required (r); "
        "tag other: not set; required: present (r)"
    )


# --- properties ----------------------------------------------------------------------------------------------

SHARES = st.floats(0, 1)


@given(SHARES, SHARES)
def test_raising_the_metric_never_turns_an_approval_into_a_rejection(one: float, other: float) -> None:
    low, high = sorted((one, other))
    if judged(ACCURACY, evidence(repr(low))).kind is VerdictKind.APPROVE:
        assert judged(ACCURACY, evidence(repr(high))).kind is VerdictKind.APPROVE


@given(st.floats(allow_nan=True), st.sampled_from([RunFacts, LoggedModelFacts]))
def test_what_could_not_be_read_neither_approves_nor_rejects(value: float, kind: type[Fact]) -> None:
    shown = with_answer(evidence(repr(value)), kind, Unreadable("timeout"))
    assert judged(ACCURACY, shown).kind is VerdictKind.ABSTAIN


@given(st.floats(allow_nan=True), st.text())
def test_the_same_evidence_gives_the_same_verdict_also_when_it_was_stored(value: float, text: str) -> None:
    shown = evidence("NaN" if math.isnan(value) else repr(value))
    shown = with_changed(shown, VersionFacts, tags={"t": Text.of(text)})
    checks = ACCURACY + "\n      - {tag: t, matches: '[a-z]*'}"
    assert judged(checks, Evidence.from_json(shown.to_json())) == judged(checks, shown) == judged(checks, shown)
