"""A stored decision is judged again by the rules of the engine that judged it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reconciler.domain.checks.description import DescriptionCode
from reconciler.domain.checks.metric import MetricCode
from reconciler.domain.checks.run import RunCode
from reconciler.domain.checks.tag import TagCode
from reconciler.domain.codes import AbsenceCode
from reconciler.domain.evidence.evidence import FACTS, Absent, Evidence, Fact, RunFacts, Unreadable
from reconciler.domain.request import Request
from reconciler.domain.verdict import Verdict
from reconciler.judging import UnknownEngine, judge_again
from reconciler.policy.file import parse_policy

NOW = datetime(2026, 1, 2, tzinfo=UTC)
# Written by the first release, whose evidence had no format number. Never to be made anew.
FIRST = json.loads((Path(__file__).parent / "data/decisions_of_engine_1.json").read_text())


def judged(stored: dict[str, Any], engine: int = 1) -> Verdict:
    policy = parse_policy(stored["policy"], "p", stored=True).policy
    request = Request.from_data(json.loads(stored["request"]))
    return judge_again(engine, policy, request, Evidence.from_json(stored["evidence"]))


@pytest.mark.parametrize("stored", FIRST, ids=lambda stored: stored["reason"][:60])
def test_a_decision_of_the_first_engine_keeps_its_verdict(stored: dict[str, Any]) -> None:
    verdict = judged(stored)
    checks = [
        [check.check, check.result, check.code, check.expected, check.observed, check.source]
        for check in verdict.checks
    ]
    assert {
        "verdict": verdict.kind,
        "reason_code": verdict.reason_code,
        "reason": verdict.reason,
        "archive_existing": verdict.archive_existing,
        "checks": checks,
    } == {name: value for name, value in stored.items() if name not in {"policy", "request", "evidence"}}


# Of conditions that came later.
LATER = {
    MetricCode.SEVERAL_MODELS, MetricCode.STEP_MISSING, MetricCode.DATASET_UNUSED, MetricCode.EXPERIMENT_NOT_ALLOWED,
    MetricCode.METRIC_TOO_OLD, TagCode.TAG_PRESENT, TagCode.NOT_OF_TYPE, TagCode.NUMBER_TOO_SMALL,
    TagCode.NUMBER_TOO_LARGE, TagCode.DATE_OUT_OF_RANGE,
}  # fmt: skip


def test_the_stored_decisions_show_every_code_of_the_first_engines_checks() -> None:
    shown = {check[2] for stored in FIRST for check in stored["checks"]}
    assert {*MetricCode, *DescriptionCode, *TagCode, *RunCode} - LATER <= shown


def test_evidence_of_the_first_release_is_of_the_first_format() -> None:
    stored = FIRST[0]["evidence"]
    assert "format" not in json.loads(stored)
    evidence = Evidence.from_json(stored)
    assert json.loads(evidence.to_json()) == json.loads(stored) | {"format": 1}


def test_evidence_of_a_later_format_is_not_guessed_at() -> None:
    later = json.dumps(json.loads(FIRST[0]["evidence"]) | {"format": 2})
    with pytest.raises(ValueError, match="evidence of format 2: this release reads format 1 only"):
        Evidence.from_json(later)


def test_a_decision_of_an_engine_that_is_not_here_is_not_judged() -> None:
    with pytest.raises(UnknownEngine, match=r"engine 6 is unknown \(this release has 1, 2, 3, 4, 5\)"):
        judged(FIRST[0], engine=6)


@dataclass(frozen=True, slots=True)
class CardFacts(Fact):
    """A kind of fact that only this test knows."""

    key: ClassVar[str] = "card"

    words: int

    def to_data(self) -> dict[str, Any]:
        return {"words": self.words}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> CardFacts:
        return cls(**data)


def test_a_new_kind_of_fact_is_kept_and_read_again_by_its_own_class() -> None:
    evidence = Evidence.of(NOW, {CardFacts: CardFacts(12), RunFacts: Unreadable("timeout")})
    again = Evidence.from_json(evidence.to_json(), (*FACTS, CardFacts))
    assert again == evidence
    assert again.fact(CardFacts) == CardFacts(12)
    assert again.fact(RunFacts) == Unreadable("timeout")


def test_a_fact_that_no_rule_asks_for_is_a_named_absence() -> None:
    absence = Evidence.of(NOW, {}).fact(RunFacts)
    assert isinstance(absence, Absent)
    assert absence.code == AbsenceCode.NOT_ASKED


def test_a_kind_of_fact_that_this_release_does_not_know_is_not_passed_over() -> None:
    stored = Evidence.of(NOW, {CardFacts: CardFacts(12)}).to_json()
    with pytest.raises(ValueError, match="evidence with card, which this release does not know"):
        Evidence.from_json(stored)


def test_an_answer_is_never_kept_under_another_kind_of_fact() -> None:
    with pytest.raises(TypeError, match="CardFacts is not an answer to run"):
        Evidence.of(NOW, {RunFacts: CardFacts(12)})
