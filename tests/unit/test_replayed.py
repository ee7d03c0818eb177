"""A decision judged by another policy on what it was judged on: what is unknown, and what would abstain."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.domain.agreement import Recorded, RecordedCheck
from reconciler.domain.codes import AbsenceCode
from reconciler.domain.engines.current import ENGINE
from reconciler.domain.engines.evaluate import evaluate
from reconciler.domain.evidence.evidence import Absent, Evidence, HolderFacts, LoggedModelFacts, RunFacts, VersionFacts
from reconciler.domain.evidence.holder_facts import Arrival
from reconciler.domain.policy import Policy
from reconciler.policy.file import parse_policy
from reconciler.policy.replay import Judging, replayed
from tests.builders import a_request
from tests.plugins.packages import seen
from tests.whole_evidence import NOW

ASKED = a_request("fraud", NOW - timedelta(minutes=1))
COMPARE = "compare: validation_accuracy, min_absolute_change: 0, greater_is_better: true"
STRICT = f"{{{COMPARE}, if_no_holder: fail}}"
LAX = f"{{{COMPARE}, if_no_holder: pass, bypassed_holder: allow}}"
CLOSED = "{window: {hours: '01:00-01:01', zone: UTC}}"


def policy(*checks: str) -> Policy:
    listed = "".join(f"      - {check}\n" for check in checks)
    return parse_policy(
        f"version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require:\n{listed}", "p"
    ).policy


def by(old: Policy, new: Policy, evidence: Evidence, redacted: tuple[str, ...] = ()) -> tuple[str, str, str]:
    """What was decided, whether it would be otherwise, and what would be."""
    verdict = evaluate(old, ASKED, evidence, NOW)
    checks = [RecordedCheck.of(check) for check in verdict.checks]
    recorded = Recorded(
        ENGINE, verdict.kind, verdict.reason_code, verdict.rule, verdict.archive_existing, checks
    )  # fmt: skip
    left = evidence.withholding(list(redacted), "was redacted") if redacted else evidence
    found = replayed(Judging(recorded, ASKED, left, old), new)
    return str(verdict.kind), str(found.change), found.would


def beside_a_bypass() -> Evidence:
    holder = seen("0.9")
    facts = (holder.fact(kind) for kind in (VersionFacts, RunFacts, LoggedModelFacts))
    return seen("0.95").answering(HolderFacts, HolderFacts("1", Arrival("bypass", why="it came by a bypass"), *facts))


def alone() -> Evidence:
    return seen("0.95").answering(HolderFacts, Absent(AbsenceCode.NO_HOLDER, "nothing holds Production"))


@pytest.mark.parametrize(
    ("new", "evidence"),
    [
        ((STRICT,), beside_a_bypass()),
        ((STRICT.replace("fail", "abstain"),), alone()),
        ((LAX, CLOSED), alone()),
        ((f"{{any_of: [[{STRICT}], [{{tag: nothing}}]]}}",), beside_a_bypass()),
    ],
    ids=["a bypass is no baseline any more", "no holder abstains", "outside a window", "an alternative of several"],
)
def test_what_would_abstain_on_what_was_captured_is_a_difference(new: tuple[str, ...], evidence: Evidence) -> None:
    assert by(policy(LAX), policy(*new), evidence) == ("approve", "differs", "abstain")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("{tag: owner}", ("{tag: owner}", CLOSED)),
        ("{tag: owner}", ("{tag: owner}", "{tag: other, on_missing: abstain}")),
        ("{tag: owner}", (LAX,)),
        ("{tag: owner}", (f"{{any_of: [[{LAX}], [{{tag: owner}}]]}}",)),
    ],
    ids=["outside a window", "what is missing abstains", "no holder was read", "in alternatives"],
)
def test_what_was_redacted_or_not_captured_is_unknown_beside_any_abstention(old: str, new: tuple[str, ...]) -> None:
    assert by(policy(old), policy(*new), seen(owner=None), ("version.tags.owner",))[:2] == ("reject", "unknown")


def test_alternatives_of_which_one_was_not_captured_are_unknown_though_another_would_abstain() -> None:
    either = f"{{id: either, any_of: [[{STRICT}], [{{tag: owner}}]]}}"
    assert by(policy(LAX), policy(either), beside_a_bypass(), ("version.tags.owner",))[:2] == ("approve", "unknown")


def test_a_check_that_another_replaces_is_told_to_be_replaced() -> None:
    text = (
        "version: 1\nrules:\n"
        "- {name: r, targets: [Production], require: [{id: a, metric: validation_accuracy, min: 0.99, %s}]}\n"
    )
    old = parse_policy(text % "overridable: false", "p").policy
    team = "- {name: team, targets: [Production], require: [{metric: validation_accuracy, min: 0.9, overrides: [r/a]}]}"
    new = parse_policy(text % "overridable: true" + team, "p").policy
    verdict = evaluate(old, ASKED, seen("0.95"), NOW)
    checks = [RecordedCheck.of(check) for check in verdict.checks]
    recorded = Recorded(ENGINE, verdict.kind, verdict.reason_code, verdict.rule, verdict.archive_existing, checks)
    found = replayed(Judging(recorded, ASKED, seen("0.95"), old), new)
    assert [(one.check, one.recorded, one.would) for one in found.checks] == [
        ("r/a", "failed", "replaced by team/metric validation_accuracy")
    ]
