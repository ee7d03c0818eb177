"""Which rules apply to a request, which of them decide, and which checks others stand in for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from reconciler.domain.checks.base import Finding, nothing_to_judge
from reconciler.domain.codes import AbsenceCode, CommonCode, FindingCode
from reconciler.domain.engines.results import code_of_unread, withheld_finding
from reconciler.domain.evidence.evidence import Absent, Evidence, ModelFacts, Unreadable, VersionFacts
from reconciler.domain.evidence.withheld import Withheld
from reconciler.domain.policy import Rule, When
from reconciler.domain.prompts import SOURCES_OF_PROMPTS
from reconciler.domain.text import visible
from reconciler.domain.times import iso
from reconciler.domain.verdict import CheckResult, Result, Role

# By (rule, id): the checks that stand in its place, as `rule/id`.
Overrides = Mapping[tuple[str, str | None], Sequence[str]]
# By (rule, id): a check that may stand in its place, and why it could not be told.
Doubted = Mapping[tuple[str, str | None], tuple[str, FindingCode]]


class _Match(Enum):
    YES = auto()
    BY_ABSENCE = auto()  # a tag is absent, which must not be a way out of the rule
    NO = auto()


@dataclass(frozen=True, slots=True)
class Applying:
    """A rule that applies, or may. `advises`: why it decides nothing; "" if it decides.

    `certain`: its tags are there with the values. `unclear`: it could not be told whether it applies.
    """

    rule: Rule
    advises: str
    certain: bool = True
    unclear: CheckResult | None = None

    @property
    def decides(self) -> bool:
        """Whether one of its checks does: only then its effects count, too."""
        return not self.advises


def applying(rule: Rule, evidence: Evidence, now: datetime) -> Applying | None:
    """How a rule that covers the request applies; None if it does not."""
    advises = _advises(rule, now)
    if rule.kind == "prompt" and (doubt := _not_a_prompt(evidence)) is not None:
        return Applying(rule, advises, certain=False, unclear=_unclear(rule, "is a prompt", doubt, advises))
    if rule.when is None:
        return Applying(rule, advises)
    match = _matched(rule.when, evidence)
    if isinstance(match, Finding):
        return Applying(rule, advises, certain=False, unclear=_unclear(rule, _title(rule.when), match, advises))
    return None if match is _Match.NO else Applying(rule, advises, match is _Match.YES)


def overridden(rules: Sequence[Applying]) -> Overrides:
    """Only what itself decides stands in for another, and only where its rule certainly applies."""
    found: dict[tuple[str, str | None], list[str]] = defaultdict(list)
    for one in rules:
        for key, by in _overriding(one) if one.certain else ():
            found[key].append(by)
    return {key: sorted(by) for key, by in found.items()}


def perhaps_overridden(rules: Sequence[Applying]) -> Doubted:
    """What would stand in for another, did its rule apply: that could not be told."""
    found: dict[tuple[str, str | None], list[tuple[str, FindingCode]]] = defaultdict(list)
    for one in rules:
        if (unclear := one.unclear) is not None:
            for key, by in _overriding(one):
                found[key].append((by, unclear.code))
    return {key: min(by) for key, by in found.items()}


def _overriding(applying: Applying) -> Iterator[tuple[tuple[str, str | None], str]]:
    """Of each check that stands in for another: which one that is, and its own name."""
    for required in applying.rule.require if applying.decides else ():
        for name in required.overrides if required.level == "hard" else ():
            rule, _, id = name.rpartition("/")
            yield (rule, id), visible(f"{applying.rule.name}/{required.name}", 300)


def _advises(rule: Rule, now: datetime) -> str:
    if rule.mode == "observe":
        return "its rule only observes"
    if rule.starts is not None and now < rule.starts:
        return f"will decide from {iso(rule.starts)}"
    return "" if any(required.level == "hard" for required in rule.require) else "advisory"


def _matched(when: When, evidence: Evidence) -> _Match | Finding:
    model = evidence.fact(ModelFacts)
    if isinstance(model, Unreadable):
        return nothing_to_judge(model)
    if isinstance(model, Absent) and model.code == AbsenceCode.NOT_ASKED:
        return Finding(CommonCode.UNDETERMINED, "the registered model was not read", unreadable=True)
    try:
        return _by_tags(when, model)
    except Withheld as withheld:
        return withheld_finding(withheld)


def _by_tags(when: When, model: ModelFacts | Absent) -> _Match:
    absent = False
    for name, values in when.model_tag.items():
        text = model.tags.get(name) if isinstance(model, ModelFacts) else None
        if text is None:
            absent = True
        elif not text.whole or text.head not in values:
            return _Match.NO
    return _Match.BY_ABSENCE if absent else _Match.YES


def _title(when: When) -> str:
    return f"when model_tag {', '.join(when.model_tag)}"


def _not_a_prompt(evidence: Evidence) -> Finding | None:
    """Whoever may set tags can call a model a prompt; but only a prompt's version has no files."""
    version = evidence.fact(VersionFacts)
    if isinstance(version, Unreadable):
        return nothing_to_judge(version)
    try:
        if isinstance(version, Absent) or version.source in SOURCES_OF_PROMPTS:
            return None
    except Withheld as withheld:
        return withheld_finding(withheld)
    return Finding(CommonCode.UNDETERMINED, f"its version has files: {version.source or 'no source'}", unreadable=True)


def _unclear(rule: Rule, title: str, finding: Finding, advises: str) -> CheckResult:
    return CheckResult(
        rule=visible(rule.name),
        check=visible(title, 300),
        result=Result.UNKNOWN,
        code=code_of_unread(finding),
        expected="readable, to tell whether the rule applies",
        observed=visible(finding.observed, 500),
        role=Role.ADVISES if advises else Role.DECIDES,
        note=advises,
    )
