"""Which tags a policy decides by, and what `check` says of them."""

from __future__ import annotations

import pytest

from reconciler.doctor.findings import Level
from reconciler.doctor.tags import by_protection
from reconciler.policy.file import parse_policy
from reconciler.ports import Unavailable
from reconciler.registry.tag_protection import TagProtection, protection_in

POLICY = """\
version: 1
rules:
  - name: deciding
    models: ["*"]
    targets: [Production]
    when: {model_tag: {tier: "1"}}
    require:
      - {tag: validated.at, type: date}
      - {tag: note, level: advisory}
      - any_of: [[{tag: risk.review}], [{description: {min_length: 1}}]]
      - documentation: {or_tag: model.card}
  - name: twice
    models: ["*"]
    targets: [Production]
    require: [{tag: validated.at}]
  - name: observing
    models: ["*"]
    targets: [Production]
    mode: observe
    when: {model_tag: {team: risk}}
    require: [{tag: seen}]
  - name: advising
    models: ["*"]
    targets: [Production]
    when: {model_tag: {area: eu}}
    require: [{tag: advice, level: advisory}]
"""


def test_the_tags_that_decide_are_those_of_rules_and_checks_that_do() -> None:
    policy = parse_policy(POLICY, "policy.yaml").policy
    assert policy.tags_relied_on() == {
        "model.card": ["deciding"],
        "risk.review": ["deciding"],
        "tier": ["deciding"],
        "validated.at": ["deciding", "twice"],
    }
    # What is kept out of the evidence is never judged, which `check` says elsewhere.
    assert list(policy.excluding(["ti*", "*.*"]).tags_relied_on()) == []


@pytest.mark.parametrize(
    ("keys", "enforced", "named", "level", "said"),
    [
        (
            "tier,a.b",
            True,
            True,
            Level.OK,
            "only approvers and administrators may change a.b (rule 'r'), tier (rule 'r'",
        ),
        (
            "tier",
            True,
            True,
            Level.WARN,
            "everybody who may edit a model may change a.b (rule 'r'), on which the policy rests:",
        ),
        (
            "Tier",
            False,
            False,
            Level.WARN,
            "everybody who may edit a model may change a.b (rule 'r'), tier (rule 'r' and 1",
        ),
        (
            "tier,a.b,c",
            False,
            False,
            Level.WARN,
            "changes of a.b (rule 'r'), tier (rule 'r' and 1 more) are only logged",
        ),
        (
            "tier,a.b",
            True,
            False,
            Level.WARN,
            "everybody with MANAGE on a model, such as its creator, may change a.b (rule 'r')",
        ),
    ],
)
def test_the_worst_of_what_is_wrong_is_said(keys: str, enforced: bool, named: bool, level: Level, said: str) -> None:
    protection = TagProtection(frozenset(keys.split(",")), enforced, named)
    found = by_protection(protection, {"a.b": ["r"], "tier": ["r", "s"]})
    assert (found.level, found.detail[: len(said)]) == (level, said)


def test_an_answer_that_says_nothing_or_nonsense() -> None:
    assert protection_in({"requests": []}) is None
    assert protection_in([]) is None
    for nonsense in ([], {}, {"keys": "tier"}, {"keys": [1]}, {"keys": None}, "tier"):
        with pytest.raises(Unavailable, match="protected tags"):
            protection_in({"protected_tags": nonsense})
    # Only what is plainly said counts.
    said = protection_in({"protected_tags": {"keys": ["tier"], "enforced": "yes", "approvers_named": 1}})
    assert said == TagProtection(frozenset({"tier"}), enforced=False, approvers_named=False)
