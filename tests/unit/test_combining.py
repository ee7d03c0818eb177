"""How rules select and combine: what decides, what advises, what stands in for another, and what nobody can tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest

from reconciler.domain.engines.current import ENGINE
from reconciler.domain.engines.evaluate import COMBINED, ENGINES, evaluate
from reconciler.domain.evidence.evidence import (
    Absent,
    Answer,
    Evidence,
    ModelFacts,
    Reading,
    RunFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.request import Request
from reconciler.domain.text import Text
from reconciler.domain.verdict import Result, Role, Verdict, VerdictKind
from reconciler.policy.file import parse_policy
from tests.builders import a_request, evidence_of, with_answer, with_changed

NOW = datetime(2026, 6, 1, tzinfo=UTC)
APPROVE, REJECT, ABSTAIN = VerdictKind.APPROVE, VerdictKind.REJECT, VerdictKind.ABSTAIN


def shown(
    tags: dict[str, str] | None = None, model: Answer | dict[str, str] | None = None, **metrics: float
) -> Evidence:
    """A version with these tags and metrics. `model`: the tags of its registered model."""
    read = {name: Reading(repr(value), value, 0, 0) for name, value in metrics.items()}
    run = RunFacts("r1", "FINISHED", "active", 1, "s3://b/r1", read)
    named = {name: Text.of(value) for name, value in (tags or {}).items()}
    evidence = evidence_of(NOW, VersionFacts("r1", "runs:/r1/m", "READY", "None", Text.of(""), named), run)
    if model is None:
        return evidence
    answer = ModelFacts({name: Text.of(value) for name, value in model.items()}) if isinstance(model, dict) else model
    return with_answer(evidence, ModelFacts, answer)


def rule(name: str, require: str, **keys: str) -> str:
    more = "".join(f"    {key}: {value}\n" for key, value in ({"targets": "[Production]"} | keys).items())
    return f"  - name: {name}\n{more}    require: [{require}]\n"


def judged(*rules: str, by: Evidence, of: str = "credit-cards", now: datetime = NOW, head: str = "") -> Verdict:
    return evaluate(parse_policy(f"version: 1\n{head}rules:\n" + "".join(rules), "p").policy, asked(of), by, now)


def asked(model: str, target: str = "Production") -> Request:
    return a_request(model, NOW, target=target)


def said(verdict: Verdict) -> tuple[str, str]:
    return str(verdict.kind), str(verdict.reason_code)


GOOD, BAD = "{metric: a, min: 0}", "{metric: a, min: 9}"
ONE = shown(a=1.0)

# --- selecting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "kind"), [("credit-cards", REJECT), ("credit-sandbox-1", APPROVE), ("ads", APPROVE)])
def test_what_a_rule_excludes_it_does_not_judge(model: str, kind: VerdictKind) -> None:
    strict = rule("strict", BAD, models='["credit-*"]', exclude='["credit-sandbox-*"]')
    assert judged(strict, rule("all", GOOD), by=ONE, of=model).kind is kind


TIER = "{model_tag: {tier: '1'}}"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"tier": "1"}, ("reject", "checks_failed")),
        ({"tier": "2"}, ("approve", "all_checks_passed")),
        # Who deletes the tag gets no way out.
        ({}, ("reject", "checks_failed")),
        ({"tier": "1" * 5000}, ("approve", "all_checks_passed")),
        (Unreadable("500"), ("abstain", "unreadable")),
        (Absent("version_missing", "gone"), ("reject", "checks_failed")),
        # As evidence of an earlier release, which had no rules of this kind.
        (None, ("abstain", "undetermined")),
    ],
    ids=str,
)  # fmt: skip
def test_a_rule_applies_by_the_tags_of_the_model_and_where_they_are_absent(
    model: Answer | dict[str, str] | None, expected: tuple[str, str]
) -> None:
    assert said(judged(rule("tier-1", BAD, when=TIER), rule("all", GOOD), by=shown(model=model, a=1.0))) == expected


def test_a_tag_of_the_model_may_have_one_of_several_values_and_all_of_them_must_match() -> None:
    several = rule("r", BAD, when="{model_tag: {tier: ['1', '2'], region: eu}}")
    by = [shown(model={"tier": tier, "region": region}, a=1.0) for tier in "123" for region in ("eu", "us")]
    assert [judged(several, by=one).kind for one in by] == [REJECT, ABSTAIN, REJECT, ABSTAIN, ABSTAIN, ABSTAIN]


def test_a_tag_of_the_model_that_is_kept_out_of_the_evidence_is_never_judged() -> None:
    policy = parse_policy("version: 1\nrules:\n" + rule("r", GOOD, when=TIER), "p").policy.excluding(["tier"])
    assert list(policy.never_judged()) == [
        "rule 'r': a tag of `when` is kept out of the evidence by evidence.exclude, so no request under this rule is "
        "decided: change one of the two"
    ]
    needs = policy.needs(asked("m"))
    assert (needs.model_tags, needs.excluded) == (frozenset(), {"registered_model.tags.tier"})
    kept_out = shown(model={"tier": "1"}, a=1.0).excluding(needs.excluded, ["tier"])
    assert said(evaluate(policy, asked("m"), kept_out, NOW)) == ("abstain", "withheld")


# --- what only advises ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [{"mode": "observe"}, {"from": "2026-06-02"}, {"from": "2026-06-01T00:00:01Z"}])
def test_a_rule_that_observes_or_begins_later_decides_nothing_and_says_what_it_would(keys: dict[str, str]) -> None:
    verdict = judged(rule("later", BAD, **keys), rule("all", GOOD), by=ONE)
    assert (said(verdict), verdict.rules) == (("approve", "all_checks_passed"), ("all",))
    assert [check.role for check in verdict.checks] == [Role.ADVISES, Role.DECIDES]
    assert "advice not met: a 1.0, at least 9 required (later; " in verdict.reason
    alone = judged(rule("later", BAD, **keys), by=ONE)
    assert said(alone) == ("abstain", "only_advisory")
    assert "they would reject: 0 of 1 passed; a 1.0, at least 9 required (later; " in alone.reason


def test_a_rule_decides_from_its_first_moment_in_utc() -> None:
    later = rule("later", BAD, **{"from": "2026-06-02T02:00:00+02:00"})
    begins = datetime(2026, 6, 2, tzinfo=UTC)
    assert judged(later, by=ONE, now=begins - timedelta(milliseconds=1)).reason_code == "only_advisory"
    assert judged(later, by=ONE, now=begins).kind is REJECT


def test_an_advisory_check_is_told_and_never_decides() -> None:
    verdict = judged(rule("r", f"{GOOD}, {{tag: card, level: advisory}}"), by=ONE)
    assert (verdict.kind, verdict.checks[1].result) == (APPROVE, Result.FAILED)
    assert verdict.reason.endswith("advice not met: tag card: not set; required: present (r; advisory)")


def test_a_team_that_observes_everything_disarms_nobody() -> None:
    team = rule("team", GOOD, mode="observe", archive_existing="true")
    assert judged(rule("strict", BAD), team, by=ONE).kind is REJECT
    assert not judged(rule("lax", GOOD, archive_existing="false"), team, by=ONE).archive_existing


# --- alternatives --------------------------------------------------------------------------------------------

# A check that passes, that fails, and that cannot be told.
P, F, U = "{metric: a, min: 0}", "{metric: a, min: 9}", "{metric: x, min: 0, on_missing: abstain}"


@pytest.mark.parametrize(
    ("alternatives", "expected"),
    [
        ([P], "passed"), ([F], "failed"), ([U], "unknown"),
        ([P, F], "passed"), ([P, U], "passed"), ([F, U], "unknown"), ([F, F], "failed"), ([U, U], "unknown"),
        ([f"{P}, {F}"], "failed"), ([f"{P}, {U}"], "unknown"), ([f"{F}, {U}"], "failed"),
        ([f"{F}, {U}", F], "failed"), ([f"{F}, {U}", P], "passed"), ([f"{F}, {U}", U], "unknown"),
    ],
)  # fmt: skip
def test_one_alternative_passes_or_none_can_or_it_cannot_be_told(alternatives: list[str], expected: str) -> None:
    """`docs/policy.md` has the table."""
    lists = ", ".join(f"[{one}]" for one in alternatives)
    verdict = judged(rule("r", f"{{id: either, any_of: [{lists}]}}"), by=ONE)
    assert str(verdict.checks[0].result) == expected
    kinds = {"passed": APPROVE, "failed": REJECT, "unknown": ABSTAIN}
    assert verdict.kind is kinds[expected]
    assert {check.role for check in verdict.checks[1:]} == {Role.PART}


def test_an_alternative_that_may_still_come_is_waited_for_within_its_grace() -> None:
    either = rule("r", "{any_of: [[{metric: a, min: 9}], [{metric: x, min: 0, grace: 1h}]]}")
    assert said(judged(either, by=ONE)) == ("abstain", "waiting")
    assert said(judged(either, by=ONE, now=NOW + timedelta(hours=1))) == ("reject", "checks_failed")


def test_alternatives_are_told_as_a_whole_and_in_parts() -> None:
    either = "{id: accuracy, any_of: [[{metric: a, min: 9}], [{metric: a, min: 1}, {tag: review, equals: ok}]]}"
    whole, *parts = judged(rule("r", either), by=shown({"review": "ok"}, a=1.0)).checks
    assert (whole.id, whole.code, whole.observed) == (
        "accuracy", "ok", "alternative 2 passes: a 1.0, at least 1 required, tag review: 'ok'; required: 'ok'"
    )  # fmt: skip
    assert [(part.check, str(part.result), part.note) for part in parts] == [
        ("metric a", "failed", "alternative 1 of accuracy"),
        ("metric a", "passed", "alternative 2 of accuracy"),
        ("tag review", "passed", "alternative 2 of accuracy"),
    ]


def test_a_tag_may_have_to_be_absent() -> None:
    blocked = rule("r", "{tag: blocked, present: false}")
    assert judged(blocked, by=shown()).kind is APPROVE
    verdict = judged(blocked, by=shown({"blocked": "legal"}))
    assert (verdict.kind, verdict.checks[0].code) == (REJECT, "tag_present")


# --- overrides -----------------------------------------------------------------------------------------------

STRICT = rule("tier-1", "{id: auc, metric: a, min: 9, overridable: true}")
TEAM = "{id: auc, metric: a, min: 1, overrides: [tier-1/auc]}"


def test_an_override_stands_in_its_place_for_its_own_models_only_and_every_decision_tells_it() -> None:
    team = rule("team", TEAM, models='["credit-*"]')
    verdict = judged(STRICT, team, by=ONE)
    assert (verdict.kind, verdict.checks[0].role, verdict.checks[0].result) == (APPROVE, Role.OVERRIDDEN, Result.FAILED)
    assert verdict.reason.endswith("; replaced: tier-1/auc by team/auc")
    assert judged(STRICT, team, by=shown(a=0.5)).reason.endswith("; replaced: tier-1/auc by team/auc")
    assert judged(STRICT, team, by=ONE, of="ads").kind is REJECT


@pytest.mark.parametrize(
    "keys", [{"mode": "observe"}, {"from": "2027-01-01"}, {"when": "{model_tag: {team: credit}}"}], ids=str
)
def test_what_does_not_decide_or_does_not_certainly_apply_overrides_nothing(keys: dict[str, str]) -> None:
    verdict = judged(STRICT, rule("team", TEAM, **keys), by=shown(model={}, a=1.0))
    assert verdict.kind is REJECT


def test_an_override_with_a_tag_of_the_model_counts_where_the_tag_is_there() -> None:
    team = rule("team", TEAM, when="{model_tag: {team: credit}}")
    assert judged(STRICT, team, by=shown(model={"team": "credit"}, a=1.0)).kind is APPROVE
    assert judged(STRICT, team, by=shown(model={"team": "ads"}, a=1.0)).kind is REJECT


def test_a_check_that_failed_rejects_nothing_where_it_could_not_be_told_whether_another_replaces_it() -> None:
    team = rule("team", TEAM, when="{model_tag: {team: credit}}")
    unread = shown(model=Unreadable("500"), a=1.0)
    verdict = judged(STRICT, team, by=unread)
    assert said(verdict) == ("abstain", "unreadable")
    assert "a: 1.0; whether team/auc replaces this check could not be told" in verdict.reason
    for order in permutations((STRICT, team, rule("other", TEAM, when="{model_tag: {team: ads}}"))):
        assert said(judged(*order, by=unread)) == ("abstain", "unreadable")
    # What fails beside it is mended by nothing.
    assert judged(STRICT, team, rule("all", BAD), by=unread).kind is REJECT
    # To engines 3 and 4 it rejected.
    for engine in (3, 4):
        policy = parse_policy("version: 1\nrules:\n" + STRICT + team, "p").policy
        assert ENGINES[engine](policy, asked("credit-cards"), unread, NOW).kind is REJECT


def test_alternatives_that_may_be_replaced_reject_nothing_either() -> None:
    whole = rule("tier-1", "{id: auc, any_of: [[" + BAD + "]], overridable: true}")
    team = rule("team", TEAM, when="{model_tag: {team: credit}}")
    verdict = judged(whole, team, by=shown(model=Unreadable("500"), a=1.0))
    assert said(verdict) == ("abstain", "unreadable")
    assert [check.role for check in verdict.checks] == [Role.DECIDES, Role.PART, Role.DECIDES]


@pytest.mark.parametrize("keys", [{"mode": "observe"}, {"from": "2027-01-01"}], ids=str)
def test_what_only_advises_leaves_no_doubt_whether_it_replaces(keys: dict[str, str]) -> None:
    team = rule("team", TEAM, when="{model_tag: {team: credit}}", **keys)
    assert judged(STRICT, team, by=shown(model=Unreadable("500"), a=1.0)).kind is REJECT


def test_an_override_is_told_however_long_the_rest_of_the_reason_is() -> None:
    checks = ", ".join(f"{{tag: {'t' * 200}{number}, equals: {'v' * 200}}}" for number in range(40))
    for by in (ONE, shown({f"{'t' * 200}{number}": "v" * 200 for number in range(40)}, a=1.0)):
        verdict = judged(STRICT, rule("team", f"{TEAM}, {checks}"), by=by)
        assert len(verdict.reason.encode()) <= 4000
        assert "; replaced: tier-1/auc by team/auc" in verdict.reason


# --- the verdict of all --------------------------------------------------------------------------------------


def test_a_failure_rejects_at_once_whatever_else_is_still_unknown() -> None:
    waiting = "{metric: x, min: 0, grace: 1h}"
    assert said(judged(rule("r", f"{waiting}, {GOOD}"), by=ONE)) == ("abstain", "waiting")
    assert said(judged(rule("r", f"{waiting}, {BAD}"), by=ONE)) == ("reject", "checks_failed")
    unread = with_answer(shown(a=1.0), RunFacts, Unreadable("500"))
    assert said(judged(rule("r", f"{GOOD}, {{tag: t}}"), by=unread)) == ("reject", "checks_failed")


def test_archiving_is_an_opinion_and_two_that_differ_abstain() -> None:
    lax, strict = rule("lax", GOOD, archive_existing="true"), rule("strict", GOOD, archive_existing="false", when=TIER)
    both = judged(lax, strict, by=shown(model={"tier": "1"}, a=1.0))
    assert said(both) == ("abstain", "conflicting_rules")
    assert (
        both.reason == "every check passed, but rules disagree: archive_existing is true in 'lax' and false in 'strict'"
    )
    assert judged(lax, strict, by=shown(model={"tier": "2"}, a=1.0)).archive_existing
    assert judged(lax, rule("silent", GOOD), by=ONE).archive_existing
    # What is rejected has no effect to disagree about.
    failing = rule("strict", BAD, archive_existing="false", when=TIER)
    assert judged(lax, failing, by=shown(model={}, a=1.0)).kind is REJECT


def test_a_default_holds_where_no_rule_that_matches_says_otherwise() -> None:
    head = "defaults: {archive_existing: true}\n"
    assert judged(rule("r", GOOD), by=ONE, head=head).archive_existing
    assert not judged(rule("r", GOOD, archive_existing="false"), by=ONE, head=head).archive_existing
    assert not judged(rule("r", GOOD), by=ONE).archive_existing


def test_the_reason_says_what_demands_a_check_and_where_to_read_more() -> None:
    verdict = judged(rule("r", "{metric: a, min: 9, why: Standard 4.2, help: 'https://w.example/auc'}"), by=ONE)
    assert verdict.reason == "a 1.0, at least 9 required (r; Standard 4.2; https://w.example/auc)"


def test_the_order_of_rules_and_of_checks_makes_no_difference() -> None:
    rules = [STRICT, rule("team", TEAM, models='["credit-*"]'), rule("late", f"{BAD}, {{tag: t}}", mode="observe")]
    verdicts = [judged(*some, by=ONE) for some in permutations(rules)]
    assert len({(one.kind, one.reason_code, one.archive_existing, frozenset(one.checks)) for one in verdicts}) == 1


def test_what_is_recorded_of_the_checks_gives_the_same_verdict() -> None:
    verdict = judged(STRICT, rule("team", TEAM), rule("late", BAD, mode="observe"), by=ONE)
    assert COMBINED[ENGINE](verdict.checks) == (verdict.kind, verdict.reason_code)


# --- prompts -------------------------------------------------------------------------------------------------

PROMPT = rule("prompts", "{commit_message: {min_length: 3}}", kind="prompt", targets='["@production"]')


def of_a_prompt(source: str, message: str) -> Evidence:
    return with_changed(shown(), VersionFacts, source=source, description=Text.of(message))


@pytest.mark.parametrize("source", ["prompt-template", "dummy-source"])
def test_a_prompt_is_judged_by_rules_for_prompts_only(source: str) -> None:
    policy = parse_policy("version: 1\nrules:\n" + PROMPT + rule("all", BAD, targets='["@production"]'), "p").policy
    prompt = replace(asked("summary", "@production"), is_prompt=True)
    assert evaluate(policy, prompt, of_a_prompt(source, "shorter"), NOW).rules == ("prompts",)
    assert evaluate(policy, prompt, of_a_prompt(source, "ab"), NOW).checks[0].code == "commit_message_too_short"
    assert evaluate(policy, prompt, of_a_prompt(source, " !"), NOW).checks[0].code == "commit_message_missing"
    model = asked("summary", "@production")
    assert evaluate(policy, model, shown(a=1.0), NOW).rules == ("all",)


def test_a_model_that_somebody_calls_a_prompt_is_left_to_a_person() -> None:
    """Anybody who may set tags of a registered model can set the one that MLflow tells prompts by."""
    policy = parse_policy("version: 1\nrules:\n" + PROMPT, "p").policy
    pretended = replace(asked("credit", "@production"), is_prompt=True)
    verdict = evaluate(policy, pretended, of_a_prompt("runs:/r1/model", "a good model"), NOW)
    assert said(verdict) == ("abstain", "undetermined")
    assert "its version has files: runs:/r1/model" in verdict.reason
