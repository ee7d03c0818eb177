"""A kind of check is one class: nothing else in the product has to know it.

`owner` below is such a kind, as the next one of the product would be in a file of its own.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from reconciler.audit import schema
from reconciler.audit.database import make_engine
from reconciler.audit.reader import AuditReader, DecisionFilter
from reconciler.audit.store import SqlAuditLog
from reconciler.cycle import Cycle, PolicyInForce
from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.checks.kinds import KINDS, every_code
from reconciler.domain.codes import AbsenceCode, CommonCode, FindingCode
from reconciler.domain.decision import Mode
from reconciler.domain.evidence.evidence import Absent, Evidence, Needs, Unreadable, VersionFacts
from reconciler.domain.fields import TextField
from reconciler.domain.text import Text
from reconciler.policy.file import LoadedPolicy, PolicyError, parse_policy
from reconciler.policy.grammar import policy_model
from reconciler.ports import Listed
from tests.builders import evidence_of, with_changed
from tests.fake_registry import FakeRegistry

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs"))
policy_reference = importlib.import_module("policy_reference").policy_reference


class OwnerCode(FindingCode):
    NOBODYS = "nobodys", "nobody owns the model"
    ANOTHERS = "anothers", "another team owns the model"


class OwnerCheck(Check):
    """The model belongs to a team."""

    kind: ClassVar[str] = "owner"
    codes: ClassVar[type[FindingCode]] = OwnerCode

    example: ClassVar[str] = "owner: fraud-team"

    owner: TextField = Field(description="The team's name.")

    @property
    def title(self) -> str:
        return "owner"

    @property
    def expected(self) -> str:
        return f"team {self.owner}"

    def needs(self) -> Needs:
        return Needs(tags=frozenset({"owner"}))

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        version = evidence.fact(VersionFacts)
        if not isinstance(version, VersionFacts):
            return nothing_to_judge(version)
        owner = version.tags.get("owner")
        if owner is None:
            return Finding(OwnerCode.NOBODYS, "no owner", source="version", missing=True)
        code = CommonCode.OK if owner.head == self.owner else OwnerCode.ANOTHERS
        return Finding(code, f"team {owner.head}", source="version")

    def doubts(self) -> Iterator[str]:
        if self.owner == "nobody":
            yield "can never pass: nobody is no team"


KNOWN = ", ".join(kind.kind for kind in KINDS)
WITH_OWNER = (*KINDS, OwnerCheck)


class OwnedRegistry(FakeRegistry):
    """Each version has the tag `owner`, shown to whoever asks for it."""

    def evidence(self, wanted: Sequence[tuple[Listed, Needs]], now: datetime) -> dict[str, Evidence]:
        found = super().evidence(wanted, now)
        for listed, needs in wanted:
            shown = found[listed.request.key]
            tags = {name: Text.of("fraud-team") for name in needs.tags}
            found[listed.request.key] = with_changed(shown, VersionFacts, tags=tags)
        return found


def policy(owner: str, rest: str = "") -> LoadedPolicy:
    rule = "  - name: owned\n    targets: [Production]\n    require:\n"
    return parse_policy(f"version: 1\nrules:\n{rule}      - owner: {owner}\n{rest}", "p.yaml", WITH_OWNER)


@pytest.mark.parametrize(
    ("owner", "decided"),
    [("fraud-team", ("approve", "passed", "ok")), ("churn-team", ("reject", "failed", "anothers"))],
)
def test_a_policy_that_requires_it_is_decided_and_recorded(
    audit_url: str, owner: str, decided: tuple[str, str, str]
) -> None:
    loaded, registry = policy(owner), OwnedRegistry()
    registry.file("fraud", "1")
    schema.upgrade(audit_url)
    engine = make_engine(audit_url)
    log = SqlAuditLog(engine, "test:1", registry.uri)
    Cycle(registry, log).run(PolicyInForce(loaded.policy, loaded.digest, loaded.text), Mode.ENFORCE)
    reader = AuditReader(engine)
    [row] = reader.decisions(DecisionFilter())
    [check] = reader.decision(row["decision_id"])["checks"]
    assert (row["verdict"], check["result"], check["code"]) == decided
    assert (check["check"], check["expected"], check["observed"]) == ("owner", f"team {owner}", "team fraud-team")
    engine.dispose()


def test_its_mistakes_and_doubts_are_told_with_their_place() -> None:
    with pytest.raises(PolicyError) as caught:
        policy("fraud-team", "        onwer: x\n      - ownr: y\n")
    assert [problem.in_file("p") for problem in caught.value.problems] == [
        "p:7:9: rules[0].require[0].onwer: unknown key: did you mean owner?",
        f"p:8:9: rules[0].require[1]: not a check: use exactly one of {KNOWN}, owner, any_of; "
        "checks of your own are loaded by plugins.checks",
    ]
    [doubt] = policy("nobody").warnings
    assert doubt.in_file("p") == "p:6:9: rules[0].require[0]: can never pass: nobody is no team"


def test_the_schema_and_the_reference_show_it() -> None:
    assert "OwnerCheck" in policy_model(WITH_OWNER).model_json_schema()["$defs"]
    page = policy_reference(WITH_OWNER)
    assert "## `owner`\n\nThe model belongs to a team." in page
    assert "| `owner` | text | required | The team's name. |" in page
    assert "| `anothers` | another team owns the model |" in page


def test_a_policy_of_the_product_does_not_know_it() -> None:
    text = policy("fraud-team").text
    with pytest.raises(PolicyError, match=f"use exactly one of {KNOWN}, any_of; checks of your own "):
        parse_policy(text, "p.yaml")


def test_what_a_rule_needs_is_worked_out_once_for_a_model_and_target() -> None:
    asked: list[str] = []

    class CountingCheck(OwnerCheck):
        def needs(self) -> Needs:
            asked.append(self.owner)
            return super().needs()

    loaded = parse_policy(policy("fraud-team").text, "p.yaml", (*KINDS, CountingCheck)).policy
    registry = OwnedRegistry()
    requests = [registry.file(model, version) for model in ("fraud", "churn") for version in ("1", "2", "3")]
    assert {loaded.needs(request) for request in requests} == {Needs(tags=frozenset({"owner"}))}
    assert len(asked) == 2


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_kind_is_a_key_and_a_sentence(kind: type[Check]) -> None:
    assert kind.kind in kind.model_fields
    assert kind.__doc__ is not None
    assert kind.__doc__.endswith(".")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_the_example_of_every_kind_is_one_and_nothing_is_doubtful_in_it(kind: type[Check]) -> None:
    of, target = ("prompt", "'@production'") if "model" not in kind.of else ("model", "Production")
    rule = f"  - name: r\n    kind: {of}\n    targets: [{target}]\n    require:\n"
    linked = "" if kind.kind == "run" or of == "prompt" else "      - run: {linked: true}\n"
    text = f"version: 1\nrules:\n{rule}      - {kind.example}\n{linked}"
    assert parse_policy(text, "p").warnings == ()


def test_a_code_means_one_thing_and_fits_its_column() -> None:
    codes = list(every_code())
    assert len(set(codes)) == len(codes)
    assert all(len(code) <= 32 and code.meaning for code in codes)


def test_no_kind_judges_a_version_that_is_gone_or_could_not_be_read() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    text = "version: 1\nrules:\n  - name: r\n    targets: [Production]\n    require:\n"
    text += "      - {metric: a, min: 1}\n      - description: {}\n      - tag: t\n      - run: {}\n"
    checks = parse_policy(text, "p").policy.rules[0].require
    gone = Absent(AbsenceCode.VERSION_MISSING, "gone")
    for check in checks:
        assert check.find(evidence_of(now, gone, gone, gone), now).code == AbsenceCode.VERSION_MISSING
        unread = Unreadable("500")
        assert check.find(evidence_of(now, unread, unread, unread), now).unreadable
