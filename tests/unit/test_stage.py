"""The check that a version comes from a stage, or an alias, and has held it for long enough."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli import status
from reconciler.domain.codes import ABSTENTIONS
from reconciler.domain.engines.evaluate import evaluate
from reconciler.domain.evidence.captured import as_captured
from reconciler.domain.evidence.evidence import Absent, Evidence, Needs, TenureFacts, Unreadable, VersionFacts
from reconciler.domain.evidence.keeping import permitted
from reconciler.domain.evidence.redacted import evidence_left
from reconciler.domain.evidence.salted import document_of, fields_of
from reconciler.domain.evidence.tenure_facts import TimeHeld
from reconciler.domain.holding.drift import changes_since
from reconciler.domain.place import Place
from reconciler.domain.target import Target
from reconciler.domain.text import Text
from reconciler.domain.verdict import Result, Verdict
from reconciler.fleet import Fitness, Holder, judged_fleet
from reconciler.judging import judge_again, judge_batch
from reconciler.policy.file import PolicyError, parse_policy
from reconciler.policy.testing import outcomes_of, read_cases
from reconciler.ports import Listed
from tests.builders import a_request, evidence_of
from tests.fake_registry import FakeRegistry

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)
NO_RUN = Absent("no_run", "none")
STAGING, CHALLENGER = Target.parse("Staging"), Target.parse("@challenger")
WEEK_IN_STAGING = "stage: Staging, held_for: 7d"


def at(stage: str = "Staging", **held: TimeHeld) -> Evidence:
    """A version in that stage; `held` by target, an alias without its @."""
    shown = evidence_of(NOW, VersionFacts("", "s", "READY", stage, Text.of("")), NO_RUN)
    times = {(name if name == "Staging" else f"@{name}"): time for name, time in held.items()}
    return shown.answering(TenureFacts, TenureFacts(times)) if held else shown


def days(lasted: float, *, ago: timedelta = timedelta(0), holds: bool = True) -> TimeHeld:
    """Seen for so many days, the last time so long ago."""
    seen = NOW - ago
    return TimeHeld(holds, seen - lasted * DAY, seen, NOW, 7)


def policy(check: str, target: str = "Production") -> Any:
    text = f"version: 1\nrules:\n  - name: r\n    targets: ['{target}']\n    require: [{{{check}}}]\n"
    return parse_policy(text, "p").policy


def judged(check: str, by: Evidence, now: datetime = NOW) -> Verdict:
    return evaluate(policy(check), a_request("m", NOW), by, now)


def found(check: str, by: Evidence) -> tuple[str, str]:
    [one] = judged(check, by).checks
    return str(one.result), str(one.code)


OK, THERE_NOT = ("passed", "ok"), ("failed", "not_at_stage")
TOO_SHORT, NOT_OBSERVED, NOT_TOLD = (("unknown", code) for code in ("held_too_short", "not_observed", "undetermined"))


@pytest.mark.parametrize(
    ("check", "by", "finds"),
    [
        ("stage: Staging", at(), OK),
        ("stage: staging", at(), OK),
        ("stage: Staging", at("Production"), THERE_NOT),
        ("stage: None", at("None"), OK),
        (WEEK_IN_STAGING, at(Staging=days(7)), OK),
        (WEEK_IN_STAGING, at(Staging=days(6.99)), TOO_SHORT),
        (WEEK_IN_STAGING, at("None", Staging=days(30)), THERE_NOT),
        # Time that nobody has seen counts nothing, be it since the last look or in all.
        (WEEK_IN_STAGING, at(Staging=days(6.5, ago=0.9 * DAY)), TOO_SHORT),
        (WEEK_IN_STAGING, at(Staging=days(30, ago=1.1 * DAY)), NOT_OBSERVED),
        (WEEK_IN_STAGING, at(Staging=days(3, ago=1.1 * DAY)), NOT_OBSERVED),
        (f"{WEEK_IN_STAGING}, seen_within: 2d", at(Staging=days(30, ago=1.1 * DAY)), OK),
        (WEEK_IN_STAGING, at(Staging=TimeHeld(True, why="no look has seen it there")), NOT_OBSERVED),
        # Evidence that another policy asked for, or that says nothing of this target.
        (WEEK_IN_STAGING, at(), NOT_TOLD),
        (WEEK_IN_STAGING, at(challenger=days(30)), NOT_TOLD),
        # A clock that went back.
        (WEEK_IN_STAGING, at(Staging=days(-30)), TOO_SHORT),
        ("stage: '@challenger'", at("None", challenger=TimeHeld(True)), OK),
        ("stage: '@challenger'", at("None", challenger=TimeHeld(False)), THERE_NOT),
        ("stage: '@challenger', held_for: 2d", at("None", challenger=days(2)), OK),
        ("stage: '@challenger', held_for: 2d", at("None", challenger=days(2, holds=False)), THERE_NOT),
        ("stage: '@challenger', held_for: 2d", at("None", challenger=days(1)), TOO_SHORT),
    ],
)
def test_the_stage_is_the_registrys_and_the_time_is_what_looks_saw(
    check: str, by: Evidence, finds: tuple[str, str]
) -> None:
    assert found(check, by) == finds


@pytest.mark.parametrize("answer", [Unreadable("500"), Absent("version_missing", "gone")])
def test_a_version_that_cannot_be_read_is_judged_as_by_any_other_check(answer: Unreadable | Absent) -> None:
    by = evidence_of(NOW, answer, NO_RUN)
    expected = ("unknown", "unreadable") if isinstance(answer, Unreadable) else ("failed", "version_missing")
    assert found("stage: Staging", by) == expected


def test_the_reason_says_from_when_on_it_passes_and_does_not_change_as_time_passes() -> None:
    first, later = judged(WEEK_IN_STAGING, at(Staging=days(3))), days(3)
    assert later.since is not None
    assert first.reason == (
        "could not tell: stage Staging: first seen there at 2026-06-27T12:00:00.000Z; it passes from "
        "2026-07-04T12:00:00.000Z on; required: in Staging for at least 7d (r)"
    )
    an_hour_later = replace(later, seen_at=NOW + DAY / 24, asked_at=NOW + DAY / 24)
    assert judged(WEEK_IN_STAGING, at(Staging=an_hour_later), NOW + DAY / 24).reason == first.reason


def test_waiting_is_no_rejection_unless_something_else_fails() -> None:
    by = at(Staging=days(3))
    assert (judged(WEEK_IN_STAGING, by).kind, judged(WEEK_IN_STAGING, by).reason_code) == ("abstain", "held_too_short")
    two = policy(f"{WEEK_IN_STAGING}}}, {{tag: card")
    assert evaluate(two, a_request("m", NOW), by, NOW).kind == "reject"


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("stage: staged", "is not a target"),
        ("stage: Staging, held_for: 0", "held_for must be positive"),
        ("stage: Staging, seen_within: 1h", "it requires held_for"),
        ("stage: Staging, held_for: 1h, seen_within: 0s", "seen_within must be positive"),
        ("stage: '@v1'", "reserved by MLflow"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_do(keys: str, says: str) -> None:
    with pytest.raises(PolicyError) as refused:
        policy(keys)
    assert says in str(refused.value)


# --- as evidence ---------------------------------------------------------------------------------------------

MOMENTS = st.one_of(st.none(), st.integers(0, 10**6).map(lambda seconds: NOW - timedelta(seconds=seconds)))
TIMES = st.builds(TimeHeld, st.booleans(), MOMENTS, MOMENTS, MOMENTS, st.one_of(st.none(), st.integers(1)), st.text())


@given(st.dictionaries(st.sampled_from(["Staging", "@challenger", "@a.b"]), TIMES))
def test_stored_evidence_gives_the_same_verdict_again(times: dict[str, TimeHeld]) -> None:
    by = at().answering(TenureFacts, TenureFacts(times))
    stored = document_of(dict(fields_of(by.to_data())))
    assert Evidence.from_json(json.dumps(stored)) == by
    for check in (WEEK_IN_STAGING, "stage: '@challenger', held_for: 1d"):
        again = judge_again(3, policy(check), a_request("m", NOW), Evidence.from_data(stored))
        assert again == judged(check, by)


@pytest.mark.parametrize("gone", ["tenure.targets.Staging", "tenure.targets"])
def test_what_was_redacted_is_withheld_and_not_taken_for_never_seen(gone: str) -> None:
    document = at(Staging=days(9)).to_data()
    if gone.endswith("Staging"):
        del document["tenure"]["targets"]["Staging"]
    else:
        del document["tenure"]["targets"]
    left = evidence_left(document, [gone])
    assert found(WEEK_IN_STAGING, left) == ("unknown", "withheld")


def test_a_policy_that_asks_for_what_nobody_looked_up_cannot_be_told() -> None:
    now, other = policy(WEEK_IN_STAGING).needs(a_request("m", NOW)), Needs(held=frozenset({CHALLENGER}))
    for then, by in ((Needs(), at()), (other, at(challenger=days(9)))):
        [check] = evaluate(policy(WEEK_IN_STAGING), a_request("m", NOW), as_captured(by, then, now), NOW).checks
        assert (check.result, check.code) in {(Result.UNKNOWN, "unreadable"), (Result.UNKNOWN, "withheld")}
    assert as_captured(at(Staging=days(9)), now, now) == at(Staging=days(9))


def test_what_is_kept_out_of_evidence_takes_no_stage_with_it() -> None:
    needs = policy(WEEK_IN_STAGING).needs(a_request("m", NOW))
    assert found(WEEK_IN_STAGING, permitted(at(Staging=days(9)), needs, ["*"])) == OK


def test_a_version_that_has_left_the_stage_since_its_approval_has_not_drifted() -> None:
    judged_by, now = at(Staging=days(9)), at("Production")
    assert list(changes_since(judged_by.to_data(), {}, now)) == []


# --- what is read --------------------------------------------------------------------------------------------


def test_nothing_is_asked_where_no_check_needs_it_and_a_stage_alone_needs_neither_look_nor_call() -> None:
    assert policy("stage: Staging").needs(a_request("m", NOW)) == Needs()
    assert policy("stage: Staging").scope().watched == ()
    watched = policy(WEEK_IN_STAGING).scope()
    assert [part.targets for part in watched.watched] == [frozenset({STAGING})]
    assert watched.targets == frozenset({Target.parse("Production")})
    assert watched.targets_of("m") == watched.targets
    assert watched.looked_at.targets_of("m") == {STAGING, Target.parse("Production")}


def test_without_an_audit_database_nobody_knows_for_how_long() -> None:
    registry = FakeRegistry()
    request = registry.file("m", "1")
    registry.stages["m", "1"] = "Staging"
    [one] = judge_batch(registry, policy(WEEK_IN_STAGING), [Listed(request, None)], NOW)
    assert (one.verdict.reason_code, "no audit database was asked" in one.verdict.reason) == ("not_observed", True)


def test_an_alias_is_read_from_the_registry_once_for_all_who_ask() -> None:
    registry = FakeRegistry()
    requests = [registry.file("m", version, "@champion") for version in ("1", "2", "3")]
    registry.holders["m", CHALLENGER] = "2"
    check = policy("stage: '@challenger'", "@champion")
    before = registry.operations
    verdicts = [
        one.verdict.kind for one in judge_batch(registry, check, [Listed(request, None) for request in requests], NOW)
    ]
    assert verdicts == ["reject", "approve", "reject"]
    assert registry.operations - before == 2


def test_fleet_asks_no_holder_where_it_came_from() -> None:
    registry = FakeRegistry()
    registry.accuracy["m", "1"] = "0.95"
    registry.stages["m", "1"] = "Production"
    place = Place("m", "1", Target.parse("Production"))
    rule = policy(f"{WEEK_IN_STAGING}}}, {{metric: validation_accuracy, min: 0.9")
    [one] = judged_fleet(registry, rule, [Holder(place)], NOW, NOW, {})
    assert (one.fitness, one.checks) == (Fitness.PASSES, ())


# --- cases of a policy ---------------------------------------------------------------------------------------

CASES = """\
cases:
  - {name: long enough, target: Production, given: {held: {Staging: 8d}}, expect: approve}
  - name: too short
    target: Production
    given: {held: {Staging: 6d}}
    expect: {verdict: abstain, reason: held_too_short, codes: {r/stage Staging: held_too_short}}
  - {name: elsewhere, target: Production, given: {}, expect: {verdict: reject}}
  - name: never seen
    target: Production
    given: {version: {stage: Staging}}
    expect: {verdict: abstain, reason: not_observed}
  - name: not to be read
    target: Production
    given: {held: {Staging: 8d}, unreadable: [tenure]}
    expect: {verdict: abstain, reason: unreadable}
"""


def test_cases_of_a_policy_say_what_is_held_and_for_how_long(tmp_path: Path) -> None:
    file = tmp_path / "policy.test.yaml"
    file.write_text(CASES)
    cases, decisions = read_cases(file)
    results = outcomes_of(policy(WEEK_IN_STAGING), cases, decisions)
    assert [(one.name, one.failures) for one in results] == [(case.name, ()) for case in cases.cases]


def test_status_has_words_for_everything_that_a_request_may_wait_for() -> None:
    assert set(status._WHY) >= set(ABSTENTIONS)
