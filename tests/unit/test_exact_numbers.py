"""What a check tells is so: no limit is rounded to one that the value would, or would not, have met."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reconciler.domain.engines.evaluate import evaluate
from reconciler.domain.evidence.evidence import Reading, RunFacts, VersionFacts
from reconciler.domain.text import Text
from reconciler.policy.file import parse_policy
from tests.builders import a_request, evidence_of

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("check", "values", "says"),
    [
        ("{metric: m, min: 0.9999999}", {"m": 0.99999995}, "m 0.99999995, at least 0.9999999 required"),
        ("{metric: m, max: 1234567.5}", {"m": 1234567.9}, "m 1234567.9, at most 1234567.5 required"),
        ("{family: 'f_*', min: 0.8}", {"f_a": 0.79999999, "f_b": 0.9}, "2 from f_a 0.79999999 to f_b 0.9"),
        ("{family: 'f_*', max_gap: 0.05}", {"f_a": 0.8, "f_b": 0.85000001}, "gap 0.05000001"),
        ("{family: 'f_*', min_ratio: 0.8}", {"f_a": 0.79999999, "f_b": 1.0}, "ratio 0.79999999"),
        ("{family: 'f_*', min_ratio: 0.5}", {"f_a": 0.7, "f_b": 0.9}, "ratio 0.777778"),
    ],
)
def test_a_limit_is_told_in_all_its_digits(check: str, values: dict[str, float], says: str) -> None:
    policy = parse_policy(f"version: 1\nrules:\n- name: r\n  targets: [Production]\n  require: [{check}]\n", "p").policy
    metrics = {name: Reading(repr(value), value, 0, 0) for name, value in values.items()}
    run = RunFacts("r1", "FINISHED", "active", 1, "s3://b/r1", metrics)
    evidence = evidence_of(NOW, VersionFacts("r1", "runs:/r1/m", "READY", "None", Text.of("")), run)
    assert says in evaluate(policy, a_request("fraud", NOW), evidence, NOW).reason


def test_a_share_is_told_as_it_is_written() -> None:
    check = "{compare: m, min_relative_change: 0.07, greater_is_better: true, if_no_holder: pass}"
    policy = parse_policy(f"version: 1\nrules:\n- name: r\n  targets: [Production]\n  require: [{check}]\n", "p").policy
    assert policy.rules[0].require[0].expected == "7 % more than what holds the target"
