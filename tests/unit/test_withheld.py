"""Evidence that lacks something: judged without a guess, whether it was redacted or kept out from the start."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.domain.codes import CommonCode, ReasonCode
from reconciler.domain.evidence.evidence import Absent, Evidence, VersionFacts
from reconciler.domain.evidence.redacted import evidence_left
from reconciler.domain.evidence.salted import KEPT, document_of, fields_of
from reconciler.domain.evidence.withheld import REDACTED, Withheld
from reconciler.domain.request import Request
from reconciler.domain.text import Text
from reconciler.domain.verdict import Result, VerdictKind
from reconciler.judging import judge_again, judge_batch
from reconciler.policy.file import parse_policy
from reconciler.ports import Listed
from tests.builders import a_request, evidence_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)
DECISIONS = json.loads((Path(__file__).parent / "data/decisions_of_engine_1.json").read_text())
CASES = [
    (stored, field.path)
    for stored in DECISIONS
    for field in fields_of(json.loads(stored["evidence"]))
    if field.path not in KEPT and not field.path.endswith((".answer", ".code"))
]
POLICY = """\
version: 1
rules:
  - name: owned
    targets: [Production]
    require: [{tag: owner}, {tag: stage.of.work, equals: done}]
"""


def judged_without(stored: dict[str, Any], path: str) -> Any:
    fields = {field.path: field.value for field in fields_of(json.loads(stored["evidence"]))}
    del fields[path]
    policy = parse_policy(stored["policy"], "p").policy
    request = Request.from_data(json.loads(stored["request"]))
    return judge_again(1, policy, request, evidence_left(document_of(fields), [path]))


def test_a_decision_without_one_field_is_judged_as_before_or_not_at_all() -> None:
    told = set()
    for stored, path in CASES:
        verdict = judged_without(stored, path)
        withheld = [check for check in verdict.checks if check.code == CommonCode.WITHHELD]
        if withheld:
            assert (verdict.kind, verdict.reason_code) == (VerdictKind.ABSTAIN, ReasonCode.WITHHELD)
            assert {check.result for check in withheld} == {Result.UNKNOWN}
            assert {check.observed for check in withheld} == {f"{path} was redacted"}
            told.add(path.split(".")[1])
        else:
            assert (verdict.kind, verdict.reason_code) == (stored["verdict"], stored["reason_code"]), path
    assert {"metrics", "tags", "description", "run_id", "source_run_id"} <= told


def test_a_check_that_asks_for_something_else_is_judged() -> None:
    stored = next(one for one in DECISIONS if [check[0] for check in one["checks"]] == ["metric validation_accuracy"])
    assert judged_without(stored, "version.description").kind == stored["verdict"]
    assert judged_without(stored, "run.metrics.validation_accuracy").kind == VerdictKind.ABSTAIN


# --- evidence.exclude ----------------------------------------------------------------------------------------

TAGS = {"owner": Text.of("ada@example.com"), "stage.of.work": Text.of("done")}
VERSION = VersionFacts("r1", "", "READY", "None", Text.of(""), TAGS)


@dataclass
class Shows:
    """A registry that shows one version, with more tags than anybody asked for."""

    version: VersionFacts = VERSION

    def evidence(self, wanted: Any, now: datetime) -> dict[str, Evidence]:
        nothing = Absent("no_run", "none")
        return {listed.request.key: evidence_of(now, self.version, nothing) for listed, _ in wanted}


def judged(exclude: list[str]) -> Any:
    policy = parse_policy(POLICY, "p").policy.excluding(exclude)
    registry: Any = Shows()
    [judgement] = judge_batch(registry, policy, [Listed(a_request("fraud", NOW), VERSION)], NOW)
    return judgement


def test_a_tag_that_is_kept_out_is_not_in_the_evidence_and_its_check_abstains() -> None:
    judgement = judged(["own*"])
    assert "ada" not in judgement.evidence.to_json()
    assert json.loads(judgement.evidence.to_json())["excluded"] == ["version.tags.owner"]
    assert (judgement.verdict.kind, judgement.verdict.reason_code) == (VerdictKind.ABSTAIN, ReasonCode.WITHHELD)
    assert [(check.code, check.observed) for check in judgement.verdict.checks] == [
        ("withheld", "version.tags.owner is kept out by evidence.exclude"),
        ("ok", "'done'"),
    ]


def test_it_is_judged_again_in_the_same_way_from_what_is_stored() -> None:
    judgement = judged(["own*"])
    stored = Evidence.from_json(judgement.evidence.to_json())
    again = judge_again(1, parse_policy(POLICY, "p").policy, judgement.listed.request, stored)
    assert again == judgement.verdict
    assert stored.to_json() == judgement.evidence.to_json()


def test_a_name_that_no_check_asks_for_changes_no_verdict_and_is_noted() -> None:
    assert judged(["another"]).verdict.kind is VerdictKind.APPROVE
    told = json.loads(judged(["another"]).evidence.to_json())
    assert ("excluded" in told, told["excluded_names"]) == (False, ["another"])


def test_what_is_withheld_is_neither_there_nor_missing() -> None:
    fact = judged(["own*"]).evidence.fact(VersionFacts)
    for ask in (lambda: fact.tags["owner"], lambda: fact.tags.get("owner"), lambda: "owner" in fact.tags):
        with pytest.raises(Withheld, match=r"version\.tags\.owner is kept out by evidence\.exclude"):
            ask()
    assert fact.tags.get("another") is None


def test_of_several_tags_that_are_withheld_none_is_taken_for_absent_though_no_other_is_left() -> None:
    version = VersionFacts("r1", "runs:/r1/m", "READY", "None", Text.of(""), {"a": Text.of("x"), "b": Text.of("x")})
    evidence = evidence_of(NOW, version, Absent("no_run", "none"))
    fact = evidence.withholding(["version.tags.a", "version.tags.b"], REDACTED).fact(VersionFacts)
    assert isinstance(fact, VersionFacts)
    for name in "ab":
        with pytest.raises(Withheld, match=f"version.tags.{name} was redacted"):
            fact.tags.get(name)


def test_a_policy_that_asks_for_what_is_kept_out_says_so_in_one_line_for_each_check() -> None:
    policy = parse_policy(POLICY, "p").policy
    assert list(policy.never_judged()) == []
    assert list(policy.excluding(["owner"]).never_judged()) == [
        "rule 'owned': tag owner is kept out of the evidence by evidence.exclude, so no request under this rule is "
        "decided: change one of the two"
    ]
