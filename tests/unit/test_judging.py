"""A stored decision is judged again by the rules of the engine that judged it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.domain.checks.description import DescriptionCode
from reconciler.domain.checks.metric import MetricCode
from reconciler.domain.checks.run import RunCode
from reconciler.domain.checks.tag import TagCode
from reconciler.domain.evidence import Evidence
from reconciler.domain.request import Request
from reconciler.domain.verdict import Verdict
from reconciler.judging import UnknownEngine, judge_again
from reconciler.policy.file import parse_policy

# Written by the first release, whose evidence had no format number. Never to be made anew.
FIRST = json.loads((Path(__file__).parent / "data/decisions_of_engine_1.json").read_text())


def judged(stored: dict[str, Any], engine: int = 1) -> Verdict:
    policy = parse_policy(stored["policy"], "p").policy
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


def test_the_stored_decisions_show_every_code_of_the_first_engines_checks() -> None:
    shown = {check[2] for stored in FIRST for check in stored["checks"]}
    assert {*MetricCode, *DescriptionCode, *TagCode, *RunCode} <= shown


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
    with pytest.raises(UnknownEngine, match="engine 2 is unknown"):
        judged(FIRST[0], engine=2)
