"""`fleet` says *passes* of what a check has looked at, and of nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reconciler.domain.place import Place
from reconciler.domain.request import Assurance, Requester
from reconciler.domain.target import Target
from reconciler.fleet import Holder, JudgedHolder, Known, judged_fleet
from reconciler.policy.file import parse_policy
from tests.fake_registry import FakeRegistry

NOW = datetime(2026, 6, 3, 10, tzinfo=UTC)
OPEN, CLOSED = "window: {}", "window: {freezes: [{from: 2020-01-01, until: 2100-01-01}]}"
STAGE = "stage: Production"
COMPARE = "compare: none, min_absolute_change: 0.0, greater_is_better: true, if_no_holder: pass"
GOOD, BAD = "metric: validation_accuracy, min: 0.9", "metric: validation_accuracy, min: 0.99"
ASKED = "requester: {allow: [ada], assurance: asserted}"


def judged(*checks: str, asker: Requester | None = None) -> JudgedHolder:
    """A version of accuracy 0.95 that is in Production; `asker`: who is on record to have asked for it."""
    registry = FakeRegistry()
    registry.accuracy["m", "1"] = "0.95"
    registry.stages["m", "1"] = "Production"
    place = Place("m", "1", Target.parse("Production"))
    required = ", ".join(f"{{id: c{at}, {check}}}" for at, check in enumerate(checks))
    policy = parse_policy(f"version: 1\nrules: [{{name: r, targets: [Production], require: [{required}]}}]", "p").policy
    on_record = {("m", "1", "Production"): Known(NOW, "decision", "d", asker)} if asker else {}
    [one] = judged_fleet(registry, policy, [Holder(place)], NOW, NOW, on_record)
    return one


@pytest.mark.parametrize(
    "checks",
    [
        [OPEN], [CLOSED], [STAGE], [COMPARE], [OPEN, STAGE, COMPARE], [f"any_of: [[{{{OPEN}}}], [{{tag: waiver}}]]"],
        [f"any_of: [[{{{OPEN}}}], [{{{STAGE}}}, {{{CLOSED}}}]]", CLOSED],
    ],
)  # fmt: skip
def test_what_no_check_has_looked_at_is_not_judged_whether_a_window_is_open_or_not(checks: list[str]) -> None:
    one = judged(*checks)
    assert (str(one.fitness), one.checks, one.rule) == ("unknown", (), "r")
    assert one.why.startswith(
        "not judged: the checks that decide are about a request, not about a version already there "
    )


@pytest.mark.parametrize(
    ("checks", "result"),
    [
        ([GOOD], "passes"), ([BAD], "fails"), ([GOOD, CLOSED], "passes"), ([BAD, OPEN], "fails"),
        ([GOOD, COMPARE], "passes"), ([GOOD, f"any_of: [[{{{OPEN}}}], [{{tag: waiver}}]]"], "passes"),
        ([f"any_of: [[{{{CLOSED}}}, {{{GOOD}}}], [{{tag: waiver}}]]"], "passes"),
        ([f"any_of: [[{{{OPEN}}}, {{{BAD}}}], [{{tag: waiver}}]]"], "fails"),
    ],
)  # fmt: skip
def test_what_is_about_requests_changes_nothing_beside_what_is_about_the_holder(checks: list[str], result: str) -> None:
    one = judged(*checks)
    assert (str(one.fitness), one.why) == (result, "")


def test_who_asked_counts_where_it_is_known() -> None:
    ada, eve = (Requester(name, Assurance.ASSERTED) for name in ("ada", "eve"))
    assert [str(judged(ASKED, asker=asker).fitness) for asker in (ada, eve, None)] == ["passes", "fails", "unknown"]
    assert [check.code for check in judged(ASKED).checks] == ["requester_unsure"]
