"""Tests of the check need neither a server nor the product's processes."""

from __future__ import annotations

import pytest
from latency_check import LATENCY, REQUESTS, LatencyCheck

from reconciler.plugins import Mistake
from reconciler.plugins.testing import found

CHECK = LatencyCheck()


@pytest.mark.parametrize(
    ("latency", "requests", "code"),
    [(212.0, 5000, ""), (250.0, 1000, ""), (251.0, 5000, "too_slow"), (212.0, 10, "too_few_requests"),
     (float("nan"), 5000, "too_slow"), (-1.0, 5000, "too_slow")],
)  # fmt: skip
def test_it_judges_the_latest_load_test(latency: float, requests: float, code: str) -> None:
    finding = found(CHECK, {"max_ms": 250}, run={"metrics": {LATENCY: latency, REQUESTS: requests}})
    assert (finding.code, finding.number) == (code, requests if code == "too_few_requests" else pytest.approx(
        latency, nan_ok=True
    ))  # fmt: skip


def test_a_load_test_that_is_still_to_come_is_missing() -> None:
    finding = found(CHECK, {"max_ms": 250}, run={"metrics": {LATENCY: 212.0}})
    assert (finding.code, finding.missing) == ("not_measured", True)


@pytest.mark.parametrize("value", [None, 250, {}, {"max": 250}, {"max_ms": "250"}, {"max_ms": 0}, {"max_ms": True}])
def test_what_it_does_not_take_is_a_mistake(value: object) -> None:
    with pytest.raises(Mistake):
        CHECK.parse(value)
