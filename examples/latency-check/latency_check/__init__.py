"""latency: answers come in time, as a load test measured it on the run.

require:
  - latency: {max_ms: 250, least_requests: 1000}
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from reconciler.plugins import Check, Evidence, Finding, Mistake, Needs, failed, missing, passed

LATENCY = "latency_p99_ms"
REQUESTS = "load_test_requests"


@dataclass(frozen=True)
class Terms:
    max_ms: float
    least_requests: int


class LatencyCheck(Check[Terms]):
    """The slowest hundredth of the answers comes in time."""

    name = "latency"
    codes: ClassVar = {
        "not_measured": "no load test wrote its metrics to the run",
        "too_few_requests": "the load test was smaller than `least_requests`",
        "too_slow": "the 99th percentile is above `max_ms`",
    }
    remedy = "run the load test against this model, with the id of its run"
    schema: ClassVar = {
        "type": "object",
        "properties": {"max_ms": {"type": "number"}, "least_requests": {"type": "integer", "default": 1000}},
        "required": ["max_ms"],
        "additionalProperties": False,
    }

    def parse(self, value: object) -> Terms:
        if not isinstance(value, dict) or not {"max_ms"} <= set(value) <= {"max_ms", "least_requests"}:
            raise Mistake("takes max_ms, and least_requests where it is not 1000: {max_ms: 250}")
        return Terms(_number(value, "max_ms", 0.0), int(_number(value, "least_requests", 1000)))

    def expected(self, terms: Terms) -> str:
        return f"at most {terms.max_ms:g} ms in {terms.least_requests} requests or more"

    def needs(self, terms: Terms) -> Needs:
        return Needs(metrics=frozenset({LATENCY, REQUESTS}))

    def doubts(self, terms: Terms) -> Iterator[str]:
        if terms.max_ms < 1:
            yield "no server answers in less than 1 ms: max_ms is in milliseconds"

    def judge(self, terms: Terms, evidence: Evidence) -> Finding:
        run = evidence.run
        source = f"run {run.run_id}"
        latency, requests = (run.metrics.get(name) for name in (LATENCY, REQUESTS))
        if latency is None or requests is None or latency.value is None or requests.value is None:
            return missing("not_measured", f"no {LATENCY} and {REQUESTS}", source=source)
        # Both comparisons are written so that NaN fails them.
        if not requests.value >= terms.least_requests:
            return failed("too_few_requests", f"{requests.text} requests", number=requests.value, source=source)
        observed = f"{latency.text} ms"
        if not 0 < latency.value <= terms.max_ms:
            return failed("too_slow", observed, number=latency.value, source=source)
        return passed(observed, number=latency.value, source=source)


def _number(value: dict[str, Any], key: str, default: float) -> float:
    number = value.get(key, default)
    if isinstance(number, bool) or not isinstance(number, int | float) or not number > 0:
        raise Mistake(f"{key}: {number!r} is not a number above 0")
    return float(number)
