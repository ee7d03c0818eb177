"""The check of a run's metric at another step than the last: its history, reduced to what checks ask for."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.engines.evaluate import evaluate
from reconciler.domain.evidence.captured import as_captured
from reconciler.domain.evidence.evidence import (
    Evidence,
    HistoryFacts,
    LoggedModelFacts,
    Needs,
    Reading,
    RunFacts,
    Unreadable,
    VersionFacts,
    number,
)
from reconciler.domain.evidence.history_facts import History
from reconciler.domain.evidence.keeping import within_room
from reconciler.domain.evidence.salted import document_of, fields_of
from reconciler.domain.text import Text
from reconciler.domain.verdict import Verdict
from reconciler.judging import judge_again
from reconciler.policy.file import PolicyError, parse_policy
from reconciler.policy.testing import outcomes_of, read_cases
from tests.builders import NO_LOGGED_MODEL, a_request, evidence_of

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
INFINITY = "1.7976931348623157e+308"
BEST_LOSS, BEST_SCORE, AT_SEVEN = "max: 0.5, step: best", "min: 0.5, step: best", "min: 0.5, step: 7"


def points(*values: object, first: int = 0, at: int = 5) -> list[Reading]:
    """One at each step."""
    return [reading(value, step, at) for step, value in enumerate(values, first)]


def reading(value: object, step: int, at: int = 5) -> Reading:
    return Reading(str(value), number(str(value)), step, at, "r1")


def logged(history: list[Reading], steps: tuple[int, ...] = (7,), *, run: str = "r1") -> Evidence:
    version = VersionFacts("r1", "runs:/r1/m", "READY", "None", Text.of(""), left_out={})
    last = max(history, key=lambda one: (one.step, one.timestamp), default=None)
    metrics = {"score": last} if last is not None else {}
    shown = evidence_of(NOW, version, RunFacts("r1", "FINISHED", "active", 1, "", metrics, left_out={}))
    return shown.answering(HistoryFacts, HistoryFacts(run, {"score": History.of(history, steps)}))


def policy(check: str) -> Any:
    text = f"version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require: [{{metric: score, {check}}}]\n"
    return parse_policy(text, "p").policy


def judged(check: str, by: Evidence) -> Verdict:
    return evaluate(policy(check), a_request("m", NOW), by, NOW)


def found(check: str, by: Evidence) -> tuple[str, str, str]:
    [one] = judged(check, by).checks
    return str(one.code), one.observed.partition(",")[0], one.source


@pytest.mark.parametrize(
    ("check", "history", "finds"),
    [
        (BEST_SCORE, points(0.2, 0.9, 0.4), ("ok", "0.9", "run r1 step 1")),
        (BEST_LOSS, points(0.9, 0.2, 0.4), ("ok", "0.2", "run r1 step 1")),
        (BEST_SCORE, points(0.2, 0.3), ("below_min", "0.3", "run r1 step 1")),
        # The first of equal ones with `min`, the last with `max`, as of a logged model.
        (BEST_SCORE, points(0.9, 0.9), ("ok", "0.9", "run r1 step 0")),
        (BEST_LOSS, points(0.2, 0.2), ("ok", "0.2", "run r1 step 1")),
        # What is no number, or infinite as MLflow serves it, is nobody's best.
        (BEST_SCORE, points("NaN", 0.9, INFINITY, "Infinity"), ("ok", "0.9", "run r1 step 1")),
        (BEST_LOSS, points(f"-{INFINITY}", 0.9), ("above_max", "0.9", "run r1 step 1")),
        (BEST_SCORE, points("NaN", "NaN"), ("not_finite", "NaN", "run r1 step 1")),
        (AT_SEVEN, points(0.9, 0.8, first=7), ("ok", "0.9", "run r1 step 7")),
        (AT_SEVEN, points(0.9, 0.8), ("step_missing", "no value at step 7", "run r1")),
        (AT_SEVEN, [reading(0.1, 7, 1), reading(0.9, 7, 2)], ("ok", "0.9", "run r1 step 7")),
        (AT_SEVEN, [reading(0.9, 7), reading(0.8, 7)],
         ("ambiguous_value", "several values at one step and time: 0.8", "run r1")),
        (AT_SEVEN, [reading(0.9, 7), reading(0.9, 7)], ("ok", "0.9", "run r1 step 7")),
        (AT_SEVEN, points("NaN", first=7), ("not_finite", "NaN", "run r1 step 7")),
        ("min: 0.5", points(0.9, 0.1), ("below_min", "0.1", "run r1 step 1")),
    ],
)  # fmt: skip
def test_the_value_of_a_step_is_judged_and_the_reason_says_which(
    check: str, history: list[Reading], finds: tuple[str, str, str]
) -> None:
    assert found(check, logged(history)) == finds


def test_a_history_that_is_not_there_is_not_taken_for_empty() -> None:
    by = logged(points(0.9))
    without = replace(by, answers={key: one for key, one in by.answers.items() if key != HistoryFacts.key})
    assert found(BEST_SCORE, without)[0] == "undetermined"
    assert found(BEST_SCORE, by.answering(HistoryFacts, Unreadable("500")))[0] == "unreadable"
    broken = HistoryFacts("r1", {"score": History(why="its history could not be read: 500")})
    assert found(BEST_SCORE, by.answering(HistoryFacts, broken))[0] == "unreadable"
    # Another run's, another metric's, another step's.
    assert found(BEST_SCORE, logged(points(0.9), run="r2"))[0] == "undetermined"
    assert found(BEST_SCORE, by.answering(HistoryFacts, HistoryFacts("r1", {})))[0] == "undetermined"
    assert found(AT_SEVEN, logged(points(0.9), ()))[0] == "undetermined"
    assert found(BEST_SCORE, logged([]))[0] == "metric_missing"


def test_where_the_run_logged_several_models_the_step_is_of_the_versions_own() -> None:
    by = logged(points(0.9, 0.1))
    run = by.fact(RunFacts)
    assert isinstance(run, RunFacts)
    by = by.knowing(replace(run, outputs=("m-1", "m-2")))
    own = LoggedModelFacts("m-1", "r1", "READY", {"score": (reading(0.6, 3), reading(0.2, 9))}, left_out={})
    version = by.fact(VersionFacts)
    assert isinstance(version, VersionFacts)
    by = by.knowing(replace(version, source="models:/m-1")).knowing(own)
    assert found(BEST_SCORE, by)[0] == "ok"
    assert found(BEST_SCORE, by.answering(LoggedModelFacts, NO_LOGGED_MODEL))[0] == "several_models"


# --- what is kept --------------------------------------------------------------------------------------------

VALUES = st.one_of(st.floats(-2, 2).map(repr), st.sampled_from(["NaN", "Infinity", INFINITY, "0.5", "much"]))
POINTS = st.lists(st.builds(reading, VALUES, st.integers(0, 9), st.integers(0, 3)), max_size=40)


@given(POINTS, st.integers(1, 7), st.randoms())
def test_what_is_kept_gives_what_the_whole_history_gives_however_it_is_cut(
    history: list[Reading], together: int, order: Any
) -> None:
    """A second implementation: each point by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reconciler.domain.evidence.history_facts._TOGETHER", together)
        kept = History.of(history, (7,))
        shuffled = list(history)
        order.shuffle(shuffled)
        others = History.of(shuffled, (7,))
    finite = [one.value for one in history if one.value is not None and abs(one.value) < 1e300]
    assert kept.points == len(history)
    assert {one.value for one in kept.best} == ({max(finite), min(finite)} if finite else set())
    there = [one for one in history if one.step == 7]
    newest = {one.text for one in there if one.timestamp == max(two.timestamp for two in there)}
    assert {one.text for one in kept.at[7]} <= newest
    assert len(kept.at[7]) == min(len(newest), 2)
    for check in (BEST_SCORE, BEST_LOSS, AT_SEVEN):
        codes = {_code(check, history, one) for one in (kept, others)}
        assert len(codes) == 1


def _code(check: str, history: list[Reading], kept: History) -> str:
    by = logged(history).answering(HistoryFacts, HistoryFacts("r1", {"score": kept}))
    return found(check, by)[0]


@given(POINTS)
def test_stored_evidence_gives_the_same_verdict_again(history: list[Reading]) -> None:
    by = logged(history)
    stored = json.loads(json.dumps(document_of(dict(fields_of(by.to_data())))))
    for check in (BEST_SCORE, BEST_LOSS, AT_SEVEN):
        assert judge_again(3, policy(check), a_request("m", NOW), Evidence.from_data(stored)) == judged(check, by)


def test_a_million_points_are_reduced_as_they_come_and_a_few_are_kept() -> None:
    many = (reading(math.sin(step), step) for step in range(100_000))
    kept = History.of(itertools.chain(many, [reading(1.5, 100_000)]), (7,))
    assert (kept.points, kept.best[1].text, len(kept.at[7])) == (100_001, "1.5", 1)
    assert len(json.dumps(HistoryFacts("r1", {"score": kept}).to_data())) < 2000


def test_a_policy_that_asks_for_another_step_cannot_be_told_and_the_best_can() -> None:
    by, request = logged(points(0.9)), a_request("m", NOW)
    then = policy(AT_SEVEN).needs(request)
    other = policy("min: 0.5, step: 3").needs(request)
    assert found("min: 0.5, step: 3", as_captured(by, then, other))[0] == "withheld"
    assert found(BEST_SCORE, as_captured(by, then, policy(BEST_SCORE).needs(request)))[0] == "ok"
    latest = policy("min: 0.5").needs(request)
    bare = replace(by, answers={key: one for key, one in by.answers.items() if key != HistoryFacts.key})
    assert found(BEST_SCORE, as_captured(bare, latest, policy(BEST_SCORE).needs(request)))[0] == "unreadable"


def test_where_there_is_little_room_the_history_stays() -> None:
    by = logged(points(*([0.9] * 50)))
    run = by.fact(RunFacts)
    assert isinstance(run, RunFacts)
    flood = {f"m{number}": reading(0.1, 1) for number in range(2000)}
    by = by.knowing(replace(run, metrics={**run.metrics, **flood}))
    kept = within_room(by, policy(BEST_SCORE).needs(a_request("m", NOW)), 20_000)
    assert kept.fact(HistoryFacts) == by.fact(HistoryFacts)


def test_only_a_check_of_a_step_asks_for_a_history() -> None:
    request = a_request("m", NOW)
    assert policy("min: 0.5").needs(request).histories == frozenset()
    assert policy("min: 0.5, step: best, source: logged_model").needs(request).histories == frozenset()
    assert policy("min: 0.5, names: [s], step: 7").needs(request).histories == {("score", 7), ("s", 7)}
    assert Needs.together([policy(BEST_SCORE).needs(request), Needs()]).histories == {("score", None)}


def test_best_needs_a_direction() -> None:
    with pytest.raises(PolicyError, match="step: best needs one of min and max"):
        policy("min: 0.1, max: 0.5, step: best")


CASES = """\
cases:
  - {name: best, target: Production, given: {run: {metrics: {score: [{value: 0.9, step: 1}, {value: 0.1, step: 2}]}}},
     expect: approve}
  - {name: none, target: Production, given: {run: {metrics: {score: [{value: 0.4, step: 1}, {value: 0.1, step: 2}]}}},
     expect: {verdict: reject, codes: {r/metric score: below_min}}}
  - {name: one value, target: Production, given: {run: {metrics: {score: 0.9}}}, expect: approve}
  - {name: nothing, target: Production, given: {run: {}},
     expect: {verdict: reject, codes: {r/metric score: metric_missing}}}
"""


def test_cases_of_a_policy_give_what_was_logged_over_steps(tmp_path: Path) -> None:
    file = tmp_path / "policy.test.yaml"
    file.write_text(CASES)
    cases, decisions = read_cases(file)
    assert [one.failures for one in outcomes_of(policy(BEST_SCORE), cases, decisions)] == [()] * 4
