"""What a policy means before anybody asks: its cases, and what differs from another."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.shown.markdown import code_span
from reconciler.domain.evidence.evidence import LeftOut, RunFacts, VersionFacts
from reconciler.domain.target import Target
from reconciler.domain.text import Text
from reconciler.policy.cases import Cases
from reconciler.policy.diff import differences
from reconciler.policy.file import PolicyError, parse_policy
from reconciler.policy.testing import Tested, outcomes_of, read_cases, untouched
from tests.builders import NO_LOGGED_MODEL, a_request, evidence_of

POLICY = """\
version: 1
people: {ada: [ada@corp], bob: [bob@corp]}
rules:
  - name: tier-1
    models: ["credit-*"]
    when: {model_tag: {tier: "1"}}
    targets: [Production]
    require:
      - {id: accuracy, metric: validation_accuracy, min: 0.9}
      - {tag: risk.review, equals: accepted}
      - requester: {not_run_user: true}
  - name: others
    targets: [Staging]
    require: [{metric: loss, max: 1, source: logged_model}]
"""
GONE = LeftOut(3, "")
GOOD = """\
  - name: a good model
    model: credit-cards
    target: Production
    requester: {name: ada}
    given:
      version: {tags: {risk.review: accepted}}
      run: {metrics: {validation_accuracy: 0.95}, user: bob@corp}
      registered_model: {tags: {tier: "1"}}
    expect: approve
"""


def results(tmp_path: Path, cases: str, policy: str = POLICY) -> list[Tested]:
    path = tmp_path / "policy.test.yaml"
    path.write_text("cases:\n" + cases)
    return outcomes_of(parse_policy(policy, "p").policy, *read_cases(path))


def test_a_case_passes_where_it_is_judged_as_it_expects(tmp_path: Path) -> None:
    [one] = results(tmp_path, GOOD)
    assert one.failures == ()
    assert untouched(parse_policy(POLICY, "p").policy, [one]) == ["others"]


@pytest.mark.parametrize(
    ("change", "into", "says"),
    [
        ("0.95", "0.85", "expected approve, got reject (checks_failed): 1 of 3 checks failed"),
        ("0.95", "NaN", "got reject"),
        ("user: bob@corp", "user: ada@corp", "the run's user is 'ada@corp'"),
        ("credit-cards", "ads", "expected approve, got abstain (no_policy)"),
        ("credit-cards", "ads", "no rule matches: see the names, the target and the kind of the case"),
        ("expect: approve", "expect: {verdict: approve, codes: {tier-1/accuray: ok}}",
         "there is no check 'tier-1/accuray': name it as rule/id"),
        ("expect: approve", "expect: {verdict: approve, codes: {tier-1/accuracy: below_min}}",
         "'tier-1/accuracy': expected below_min, got ok"),
        ("expect: approve", "expect: {verdict: approve, codes: {'others/metric loss': ok}}",
         "'others/metric loss' was not judged: its rule does not match"),
        ("expect: approve", "expect: {verdict: approve, archive_existing: true}", "expected archive_existing true"),
        ("registered_model: {tags: {tier: \"1\"}}", "unreadable: [registered_model]", "got abstain (unreadable)"),
    ],
)  # fmt: skip
def test_a_case_fails_with_what_came_instead(tmp_path: Path, change: str, into: str, says: str) -> None:
    [one] = results(tmp_path, GOOD.replace(change, into))
    assert any(says in failure for failure in one.failures), one.failures


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ":1:1: there are no cases: start with `cases:`"),
        ("cases: []", ":1:8: cases: length must be at least 1"),
        ("cases:\n" + GOOD.replace("metrics", "metrcs"), ":8:13: cases[0].given.run.metrcs: unknown key"),
        ("cases:\n" + GOOD.replace("expect: approve", "expect: aprove"), "must be"),
        ("cases:\n  - {name: x, expect: approve}", "give either given: with evidence, or decision:"),
        ("cases:\n  - {name: x, expect: approve, given: {}}", "name the target"),
        (
            "decisions: d.json\ncases:\n  - {name: x, expect: approve, decision: d, target: Staging, model: y}",
            "a decision has its own request: remove model, target",
        ),
        ("decisions: gone.json\ncases:\n" + GOOD, "gone.json: cannot read the file"),
    ],
)
def test_a_file_of_cases_that_is_none_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "policy.test.yaml"
    path.write_text(text)
    with pytest.raises(PolicyError) as caught:
        read_cases(path)
    assert says in str(caught.value)


def test_that_no_rule_matches_can_be_what_a_case_expects(tmp_path: Path) -> None:
    expected = "expect: {verdict: abstain, reason: no_policy}"
    ads = GOOD.replace("credit-cards", "ads")
    [one] = results(tmp_path, ads.replace("expect: approve", expected))
    assert one.failures == ()
    [mistyped] = results(tmp_path, ads.replace("expect: approve", "expect: abstain"))
    assert mistyped.failures == ("no rule matches: see the names, the target and the kind of the case",)


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ("{tag: known}", "approve"),
        ("{tag: blocked, present: false}", "{verdict: abstain, reason: withheld}"),  # it may have had no room
        ("{documentation: {}}", "{verdict: abstain, reason: unreadable}"),
        ("{metric: loss, max: 1, step: best}", "{verdict: abstain, reason: withheld}"),
        ("{tag: known, equals: no}", "reject"),
    ],
)
def test_what_was_not_kept_with_a_decision_is_not_taken_for_absent(tmp_path: Path, check: str, expected: str) -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    version = VersionFacts("r", "", "READY", "None", Text.of(""), {"known": Text.of("yes")}, left_out={"tags": GONE})
    kept = evidence_of(now, version, RunFacts("r", "FINISHED", "active", 0, "", {}), NO_LOGGED_MODEL)
    request = replace(a_request("m", now), target=Target.parse("Production"))
    row = {"decision_id": "d-1", "request": request.to_data(), "evidence": json.loads(kept.to_json())}
    (tmp_path / "decisions.json").write_text(json.dumps([row]))
    text = f"version: 1\nrules: [{{name: r, targets: [Production], require: [{check}]}}]"
    path = tmp_path / "policy.test.yaml"
    path.write_text(f"decisions: decisions.json\ncases: [{{name: x, decision: d-1, expect: {expected}}}]")
    [one] = outcomes_of(parse_policy(text.replace(": no}", ": 'no'}"), "p").policy, *read_cases(path))
    assert one.failures == ()


def test_cases_may_be_anything_that_yaml_can_say() -> None:
    assert Cases.model_validate({"cases": [{"name": "x", "target": "@a", "given": {}, "expect": "abstain"}]})


# --- differences ---------------------------------------------------------------------------------------------


def told(old: str, new: str) -> list[str]:
    return list(differences(parse_policy(old, "a").policy, parse_policy(new, "b").policy))


@pytest.mark.parametrize(
    ("change", "into", "says"),
    [
        ("min: 0.9", "min: 0.85", ["rule 'tier-1', accuracy: min was 0.9, is 0.85"]),
        ('["credit-*"]', '["credit-*", ads]', ["rule 'tier-1': models was credit-*, is ads, credit-*"]),
        ('tier: "1"', 'tier: ["1", "2"]', ["rule 'tier-1': when was model_tag tier 1, is model_tag tier 1, 2"]),
        ("name: others", "name: else", [
            "rule 'others' is gone; it was for models * to Staging",
            "rule 'else' is new, for models * to Staging: metric loss: at most 1",
        ]),
        ("targets: [Staging]", "targets: [Staging]\n    mode: observe", ["rule 'others': mode was decide, is observe"]),
        ("      - {tag: risk.review, equals: accepted}\n", "",
         ["rule 'tier-1' no longer asks for tag risk.review: 'accepted'"]),
        ("bob: [bob@corp]", "bob: [bob@corp, uid-1]", ["the policy: people.bob was bob@corp, is bob@corp, uid-1"]),
        ("- requester: {not_run_user: true}", "- requester: {not_run_user: true, deny: [eve]}",
         ["rule 'tier-1', requester: requester was not_run_user true, is deny eve; not_run_user true"]),
    ],
)  # fmt: skip
def test_a_difference_is_told_in_words(change: str, into: str, says: list[str]) -> None:
    assert told(POLICY, POLICY.replace(change, into)) == says


def test_what_means_the_same_differs_in_nothing() -> None:
    rewritten = json.dumps(json.loads(json.dumps(_plain(POLICY))))
    assert told(POLICY, rewritten) == []
    assert told(POLICY, POLICY.replace("version: 1", "# comment\nversion: 1")) == []


def _plain(text: str) -> object:
    import yaml

    return yaml.safe_load(text)


# --- Markdown ------------------------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("`|<@\n"), max_size=30))
def test_a_strangers_text_stays_inside_its_code_span(text: str) -> None:
    """By CommonMark a code span ends at the next run of backticks of the same length."""
    span = code_span(text)
    if not span:
        return
    fence = len(span) - len(span.lstrip("`"))
    inner = span[fence:-fence]
    assert "\n" not in span
    runs = [len(run) for run in "".join(c if c == "`" else " " for c in inner).split()]
    assert fence not in runs
    assert "|" not in inner.replace("\\|", "")
