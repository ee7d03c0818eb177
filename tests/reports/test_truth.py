"""Every report beside a truth that never read the database, on both databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from itertools import pairwise
from math import ceil
from typing import Any

import pytest

from reconciler.audit.database import Access, one_state, opened
from reconciler.audit.overview import decided, held, people, ran
from reconciler.audit.overview.ran import Doing
from reconciler.audit.reporting import Asked, Reading
from tests.reports.conftest import answered, rows_of
from tests.reports.past import MODELS, RUN_USERS, Past, Spell

NEAR = timedelta(seconds=30)


def what(row: Any) -> tuple[str, str, str]:
    return row.model, row.version, row.target


def as_counted(spells: list[Spell]) -> Counter[tuple[str, str, str, str]]:
    return Counter((*one.what, one.cause) for one in spells)


def test_the_past_has_everything_that_can_bring_a_version_to_a_target(past: Past) -> None:
    causes = {one.cause for one in past.truth.spells if one.first is not None}
    by_people = {"person", "administrator"} if past.kept else {"person_unknown"}
    assert causes == {"baseline", "decision", "rollback", "exception"} | by_people
    assert bool(past.truth.own_approvals) == past.kept
    assert len(past.truth.spells) > 30


def test_completeness_has_each_tenure_that_touches_the_period_once_with_what_began_it(past: Past) -> None:
    for since, until in past.periods():
        expected = past.truth.touching(since, until)
        with answered(past, "completeness", since=since, until=until) as answer:
            rows = rows_of(answer, "tenures")
            found = Counter((*what(row), row.counted_as) for row in rows)
            assert found == as_counted(expected), (since, until)
            seen = [one for one in expected if one.was_seen(since, until)]
            assert Counter(what(row) for row in rows if row.touches == "seen") == Counter(one.what for one in seen)
            assert answer.counts["perhaps"] == len(expected) - len(seen)
            causes = Counter(one.cause for one in expected)
            assert {name: many for name, many in answer.counts["by_cause"].items() if many} == causes
            assert answer.counts["tenures"] == sum(causes.values()) == len(rows)


def test_exceptions_come_first_and_people_are_named(past: Past) -> None:
    with answered(past, "completeness") as answer:
        rows = rows_of(answer, "tenures")
    kinds = [row.counted_as for row in rows]
    assert kinds == sorted(kinds, key=lambda kind: kinds.index(kind))
    assert kinds[0] == "exception"
    named = {what(row): row.person for row in rows if row.counted_as == "person"}
    assert named == {
        one.what: one.person for one in past.truth.spells if one.cause == "person" and one.first is not None
    }
    accepted = {what(row) for row in rows if row.accepted_by == "mia"}
    assert accepted == {one.what for one in past.truth.spells if one.accepted_by}


@pytest.mark.parametrize(
    ("model", "target"), [("fraud*", None), ("fraud", "@champion"), ("Fraud", None), ("*a*", None)]
)
def test_a_filter_leaves_the_tenures_that_it_names_and_no_others(past: Past, model: str, target: str | None) -> None:
    seen = past.truth.touching(None, None)
    expected = [one for one in seen if fnmatchcase(one.model, model) and target in {None, one.target}]
    assert 0 < len(expected) < len(seen)
    with answered(past, "completeness", model=model, target=target) as answer:
        rows = rows_of(answer, "tenures")
        assert Counter((*what(row), row.counted_as) for row in rows) == as_counted(expected)
        assert answer.counts["tenures"] == len(expected)


def test_what_is_said_to_be_held_at_a_moment_was_and_what_was_held_is_said(past: Past) -> None:
    truth, end = past.truth, past.truth.cycles[-1][1]
    begin = truth.cycles[0][1]
    moments = [begin + (end - begin) * part / 97 for part in range(97)]
    moments += [truth.between(number) for number in range(len(truth.cycles) - 1)]
    told = Counter[str]()
    seen = {one.what for one in truth.spells if one.first is not None}
    for at in moments:
        with answered(past, "as-of", at=at) as answer:
            rows = rows_of(answer, "holders")
            assert answer.counts["holders"] == len(rows)
        told.update(row.held for row in rows)
        sure = {what(row) for row in rows if row.held in {"held", "last_seen"}}
        perhaps = {what(row) for row in rows} - sure
        # What came and went between two looks is not seen.
        assert sure <= truth.held_at(at), at
        assert truth.held_at(at) & seen <= sure | perhaps, at
    assert {"held", "may_have_begun", "may_have_ended"} <= set(told)


def test_decisions_are_those_that_the_daemon_made_with_their_effects(past: Past) -> None:
    for since, until in past.periods():
        low = past.truth.between(since) if since is not None else None
        high = past.truth.between(until) if until is not None else None
        expected = [
            one for one in past.truth.judged if (low is None or one.at >= low) and (high is None or one.at < high)
        ]
        with answered(past, "decisions", since=since, until=until) as answer:
            rows = rows_of(answer, "register")
            crossed = {(row.verdict, row.mode, row.effect): row.decisions for row in rows_of(answer, "crossed")}
            failed = sum(row.count for row in rows_of(answer, "failed_checks"))
            models = {row.model: (row.approve, row.reject) for row in rows_of(answer, "by_model")}
        assert Counter(
            (row.model, row.version, row.target, row.verdict, row.mode, row.effect) for row in rows
        ) == Counter((one.model, one.version, one.target, one.verdict, one.mode, one.effect) for one in expected)
        assert crossed == Counter((one.verdict, one.mode, one.effect) for one in expected)
        assert sum(crossed.values()) == answer.counts["decisions"] == len(expected)
        assert failed == sum(one.verdict == "reject" for one in expected)
        for model in MODELS:
            verdicts = Counter(one.verdict for one in expected if one.model == model)
            assert models.get(model, (0, 0)) == (verdicts["approve"], verdicts["reject"])


def near(one: datetime, other: datetime, within: timedelta = NEAR) -> bool:
    return abs(one - other) < within


def test_gaps_are_the_times_in_which_nothing_ran_and_qualify_the_opinion(past: Past) -> None:
    until = len(past.truth.cycles) - 2
    with answered(past, "operated", until=until) as answer:
        gaps = rows_of(answer, "gaps")
        [control] = rows_of(answer, "control")
        assert answer.counts["pauses"] == past.truth.pauses
        assert "2 gaps longer than 5m" in " ".join(answer.qualifications)
    assert len(gaps) == len(past.truth.gaps)
    for found, (began, ended) in zip(gaps, past.truth.gaps, strict=True):
        assert near(found.began_at, began, timedelta(seconds=61))
        assert near(found.ended_at, ended, timedelta(seconds=61))
    whole = past.truth.between(until) - past.truth.cycles[0][0]
    missing = sum((ended - began for began, ended in past.truth.gaps), timedelta())
    assert abs(control.percent - 100 * (1 - missing / whole)) < 1.5
    with answered(past, "completeness", until=until) as answer:
        assert any("2 gaps longer than 5m" in one for one in answer.qualifications)
        assert f"the control observed {control.percent:g} % of the period" in answer.opinion


def test_a_period_without_a_gap_is_not_qualified_by_one(past: Past) -> None:
    with answered(past, "completeness", since=17, until=24) as answer:
        assert not any("gap" in one for one in answer.qualifications)
        assert "the control observed 100 % of the period" in answer.opinion
    with answered(past, "completeness", since=14, until=17) as answer:
        assert any("1 gap longer" in one for one in answer.qualifications)


def test_what_holds_a_target_now_is_not_of_a_period_that_is_yet_to_come(past: Past) -> None:
    tomorrow = past.truth.cycles[-1][1] + timedelta(days=1)
    with answered(past, "completeness", since=tomorrow, until=tomorrow + timedelta(days=1)) as answer:
        assert answer.counts["tenures"] == len(rows_of(answer, "tenures")) == 0
    with answered(past, "bypasses", since=tomorrow) as answer:
        assert not rows_of(answer, "bypasses")


def test_the_time_before_the_first_daemon_is_a_gap(past: Past) -> None:
    first = past.truth.cycles[0][0]
    with answered(past, "operated", since=first - timedelta(days=9), until=5) as answer:
        [gap] = rows_of(answer, "gaps")
        assert near(gap.ended_at, first)
        assert gap.began_at == (first - timedelta(days=9))


def rank(seconds: list[float], percent: int) -> float:
    return sorted(seconds)[max(ceil(len(seconds) * percent / 100) - 1, 0)]


def test_times_to_a_decision_are_those_of_the_requests_typed_ones_apart(past: Past) -> None:
    dated = [(one.at - one.asked).total_seconds() for one in past.truth.judged if one.asked is not None]
    typed = [one for one in past.truth.judged if one.asked is None]
    with answered(past, "operated") as answer:
        took = {row.requests: row for row in rows_of(answer, "times")}
    assert (took["dated"].decided, took["typed"].decided) == (len(dated), len(typed))
    assert typed
    for percent, found in ((50, took["dated"].p50_seconds), (95, took["dated"].p95_seconds)):
        assert abs(found - rank(dated, percent)) <= 2


def test_policies_are_those_that_were_in_force_with_their_decisions_and_the_difference_in_words(past: Past) -> None:
    [first, second] = past.truth.policies
    under = Counter(first[1] if one.at < second[0] else second[1] for one in past.truth.judged)
    with answered(past, "policies") as answer:
        assert {row.policy_digest: row.decisions for row in rows_of(answer, "under")} == under
        [change] = rows_of(answer, "changes")
        periods = rows_of(answer, "periods")
    assert (change.old_digest, change.new_digest) == (first[1], second[1])
    assert near(change.at, second[0], timedelta(seconds=61))
    assert "was 0.9, is 0.8" in change.difference
    assert {one.policy_digest for one in periods} == {first[1], second[1]}
    with answered(past, "policies", since=50) as answer:
        assert {one.policy_digest for one in rows_of(answer, "periods")} == {second[1]}


def test_duties_are_told_apart(past: Past) -> None:
    with answered(past, "duties") as answer:
        rows = rows_of(answer, "duties")
    found = {kind: [row for row in rows if row.what == kind] for kind in ("approved_own_request", "asked_for_own_run")}
    assert Counter(what(row) for row in found["approved_own_request"]) == Counter(past.truth.own_approvals)
    own_runs = [one for one in past.truth.judged if one.model == "churn" and one.verdict == "approve" and one.requester]
    assert len(found["asked_for_own_run"]) == len(own_runs) > 0
    named = [one for one in past.truth.judged if one.verdict == "approve" and one.requester]
    not_told = sum(one.model not in RUN_USERS for one in named)
    assert answer.counts["run_user_not_told"] == not_told > 0
    assert f"for {not_told} approvals the evidence does not say who ran the run" in answer.qualifications
    unknown = [one for one in past.truth.judged if not one.requester]
    assert answer.counts["unknown_requester"] == len(unknown) == sum(row.what == "unknown_requester" for row in rows)


def test_bypasses_are_those_that_looks_saw_with_who_accepted_them(past: Past) -> None:
    expected = past.truth.exceptions()
    with answered(past, "bypasses") as answer:
        rows = rows_of(answer, "bypasses")
        assert answer.counts["bypasses"] == len(rows) == len(expected) == sum(answer.counts["by_standing"].values())
    by_place = Counter(what(row) for row in rows)
    assert by_place == Counter(one.what for one in expected)
    # What came and went while no daemon looked is no bypass on record.
    assert any("gaps longer than 5m" in said for said in answer.qualifications)
    for one in expected:
        # Its true beginning lies in the window of one row.
        same = [row for row in rows if what(row) == one.what]
        [row] = [row for row in same if row.last_seen_without <= one.began <= row.first_seen_with]
        assert (row.accepted_by or "") == one.accepted_by
        assert (row.first_seen_without is None) == (one.ended is None)
        assert row.standing == one.standing


def drifts_of(spell: Spell, since: int | None, until: int | None) -> list[tuple[Any, ...]]:
    """What the report must have of a tenure: field, what was judged, what was found, and what became of it."""
    seen = [one for one in spell.changes if until is None or one[0] <= until]
    expected = []
    for at, (_, name, value) in enumerate(seen):
        later = [(number, found) for number, other, found in seen[at + 1 :] if other == name]
        gone = spell.ended is not None and spell.last is not None and (until is None or spell.last + 1 <= until)
        ended = "no_longer_held" if gone else "still"
        over = spell.last + 1 if gone and spell.last is not None else None
        if later:
            over, ended = later[0][0], "as_judged_again" if later[0][1] == spell.judged.get(name) else "changed_again"
        if value != spell.judged.get(name) and (since is None or over is None or over > since):
            expected.append((*spell.what, name, spell.judged.get(name), value, ended))
    return expected


def test_drift_is_what_people_changed_after_an_approval_with_both_values_and_what_became_of_it(past: Past) -> None:
    ends = Counter[str]()
    for since, until in past.periods():
        expected = [one for spell in past.truth.spells for one in drifts_of(spell, since, until)]
        with answered(past, "drift", since=since, until=until) as answer:
            rows = rows_of(answer, "changes")
        found = [(*what(row), row.field, row.judged, row.found, row.ended) for row in rows]
        assert Counter(found) == Counter(expected), (since, until)
        assert answer.counts["changes"] == len(expected) == sum(answer.counts["by_end"].values())
        assert answer.counts["changed_holders"] == len({row.tenure_id for row in rows})
        assert not answer.qualifications
        ends.update(row.ended for row in rows)
    assert set(ends) == {"still", "no_longer_held", "as_judged_again", "changed_again"}


def test_coverage_tells_rules_that_name_no_model_and_what_is_open(past: Past) -> None:
    with answered(past, "coverage") as answer:
        rules = {row.rule: row for row in rows_of(answer, "rules")}
        waiting = {what(row) for row in rows_of(answer, "open")}
        assert rows_of(answer, "models") == []
    assert (rules["idle"].models, rules["idle"].decisions) == (0, 0)
    assert (rules["accuracy"].models, rules["accuracy"].decisions) == (len(MODELS), len(past.truth.judged))
    assert waiting == past.truth.waiting
    assert answer.counts["open"] == len(waiting)


def test_at_a_moment_in_a_gap_and_before_the_first_daemon_the_opinion_is_qualified(past: Past) -> None:
    truth = past.truth
    began, ended = truth.gaps[0]
    for at, said in (
        (began + (ended - began) / 2, "no daemon of http://registry.test was running between"),
        (truth.cycles[0][0] - timedelta(hours=1), "no daemon of http://registry.test had run yet"),
        (truth.between(20), None),
    ):
        with answered(past, "as-of", at=at) as answer:
            assert [said in one for one in answer.qualifications if said] == ([True] if said else [])
            assert bool(answer.qualifications) == (said is not None)


# --- what pictures are drawn from ------------------------------------------------------------------------------


@contextmanager
def reading(past: Past, since: int | None = None, until: int | None = None) -> Iterator[Reading]:
    bounds = [None if number is None else past.truth.between(number) for number in (since, until)]
    with opened(past.url, Access.READ) as engine, one_state(engine) as connection:
        yield Reading(connection, Asked(*bounds))


def test_the_lanes_are_the_tenures_of_the_targets_and_a_model_is_only_itself(past: Past) -> None:
    for since, until in past.periods(3):
        expected = past.truth.touching(since, until)
        with reading(past, since, until) as asked:
            found = held.lanes_of(asked, 100, 1000)
            fraud = held.lanes_of(asked.of_model("fraud"), 100, 1000)
            none = held.lanes_of(asked.of_model("fraud*"), 100, 1000)
        assert Counter((*what(row), row.counted_as) for row in found.held) == as_counted(expected)
        assert {(lane.model, lane.target) for lane in found.lanes} == {(one.model, one.target) for one in expected}
        assert Counter(what(row) for row in fraud.held) == Counter(one.what for one in expected if one.model == "fraud")
        assert none.lanes == []
    with reading(past) as asked:
        few = held.lanes_of(asked, 2, 3)
    assert (len(few.lanes), len(few.held), few.cut) == (2, 3, True)
    assert few.all_lanes == len({(one.model, one.target) for one in past.truth.touching(None, None)})


def test_decisions_by_day_by_model_and_by_check_are_those_that_were_made(past: Past) -> None:
    judged = past.truth.judged
    would = Counter(("" if one.effect != "nothing" else "would ") + one.verdict for one in judged)
    with reading(past) as asked:
        assert Counter(decided.verdicts(asked)) == would
        assert {one.day for one in decided.by_day(asked)} == {one.at.date() for one in judged}
        failed = {one.model: one.decisions for one in decided.failing(asked)}
        models, every = held.models_of(asked, 2)
        waits = decided.waits(asked)
    assert failed == Counter(one.model for one in judged if one.verdict == "reject")
    decisions = Counter(one.model for one in judged)
    exceptions = Counter(one.model for one in past.truth.touching(None, None) if one.cause == "exception")
    ranked = sorted(MODELS, key=lambda name: (-exceptions[name], -decisions[name]))
    assert every == len({one.model for one in past.truth.touching(None, None)} | set(decisions))
    assert [(one.model, one.exceptions, one.decisions) for one in models] == [
        (name, exceptions[name], decisions[name]) for name in ranked[:2]
    ]
    # Of a typed request nothing outside tells when it was asked.
    stated = [(one.at - one.asked).total_seconds() + 30 for one in judged if one.asked is not None]
    bounds = [0, *(most for _, _, most in decided.WAITS), float("inf")]
    least = [sum(low <= seconds < high for seconds in stated) for low, high in pairwise(bounds)]
    assert sum(waits.values()) == len(judged)
    assert sum(least) == len(stated) > 10
    assert all(many >= few for many, few in zip(waits.values(), least, strict=True))


def test_a_value_is_a_near_miss_by_its_distance_from_the_bound(past: Past) -> None:
    """0.85 was asked for where 0.8 or 0.9 was the bound: neither is within two of a hundred of it; 0.95 passed."""
    with reading(past) as asked:
        metrics = decided.measured(asked)
    told = Counter((dot.value, metric.bounds[0], dot.passed, dot.near) for metric in metrics for dot in metric.dots)
    assert {bound for _, bound, _, _ in told} == {0.8, 0.9}
    assert all(passed == (value >= bound) and not near for value, bound, passed, near in told if bound is not None)
    assert sum(told.values()) == len(past.truth.judged)


def test_the_strip_has_the_time_in_which_nobody_ran_and_in_which_it_only_observed(past: Past) -> None:
    with reading(past) as asked:
        parts = ran.strip_of(asked)
        bands = ran.bands_of(asked)
    spent = {
        doing: sum(one.shares[doing] * (one.ended_at - one.began_at).total_seconds() for one in parts)
        for doing in Doing
    }
    (silence, pause), end = past.truth.gaps, parts[-1].ended_at
    idle = (end - past.truth.cycles[-1][1]).total_seconds()
    assert all(abs(sum(one.shares.values()) - 1) < 1e-6 for one in parts)
    assert abs(spent[Doing.PAUSED] - (pause[1] - pause[0]).total_seconds()) < 90
    silent = (silence[1] - silence[0]).total_seconds()
    # Since the last cycle nothing may have been due yet.
    assert silent - 90 < spent[Doing.DOWN] < silent + idle + 90
    assert abs(spent[Doing.OBSERVING] - 5 * 60) < 90
    assert [band.policy_digest for band in bands] == [digest for _, digest in past.truth.policies]
    assert abs(bands[1].began_at - past.truth.policies[1][0]) < timedelta(minutes=2)


def test_people_are_those_who_did_something(past: Past) -> None:
    with reading(past) as asked:
        found, every = people.by_person(asked, 100)
        rows = people.did(asked, 1000)
    spells = [one for one in past.truth.spells if one.person]
    named = Counter(one.person for one in rows if one.person)
    assert every == len(rows) == sum(one.times for one in found)
    if past.kept:
        assert named == Counter(one.person for one in spells)
