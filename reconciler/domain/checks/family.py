"""family: metrics of one pattern, such as those of each group of people, held against one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import ClassVar

from pydantic import Field

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence.evidence import (
    MOST_OF_A_FAMILY,
    Evidence,
    LoggedModelFacts,
    Needs,
    RunFacts,
    VersionFacts,
)
from reconciler.domain.evidence.lineage import broken_lineage, contradiction, logged_several_models
from reconciler.domain.evidence.shares import Bounds, bounds_of, is_finite
from reconciler.domain.fields import GlobField, TextField
from reconciler.domain.mistakes import Mistake
from reconciler.domain.text import number_beside, number_text

# One less than are kept, so that a family with more is told from what is kept.
MOST_MEMBERS = MOST_OF_A_FAMILY - 1


class FamilyCode(FindingCode):
    MEMBERS_MISSING = "members_missing", "fewer metrics of the family than `at_least`, or not all of `expect`"
    TOO_MANY_MEMBERS = "too_many_members", f"more than {MOST_MEMBERS} metrics match"
    MEMBER_NOT_FINITE = "member_not_finite", "a member is text, NaN or an infinity"
    MEMBER_OUT_OF_BOUNDS = "member_out_of_bounds", "a member is outside `bounds`: a broken measurement"
    MEMBER_BELOW_MIN = "member_below_min", "a member is less than `min`"
    MEMBER_ABOVE_MAX = "member_above_max", "a member is more than `max`"
    GAP_TOO_LARGE = "gap_too_large", "the largest member is further from the smallest than `max_gap`"
    RATIO_TOO_SMALL = "ratio_too_small", "the smallest member is less than `min_ratio` of the largest"
    FAMILY_OF_ANOTHER = "family_of_another", "the run did not make the version's model, or logged several models"


class FamilyCheck(Check):
    """Metrics that share a pattern are each good enough, and near enough to one another."""

    kind: ClassVar[str] = "family"
    may_be_empty: ClassVar[frozenset[str]] = frozenset({"bounds"})
    codes: ClassVar[type[FindingCode]] = FamilyCode
    remedy: ClassVar[str] = "train or measure again, and register the result as a new version"
    example: ClassVar[str] = '{family: "f1_group_*", expect: [f1_group_a, f1_group_b], min: 0.8, max_gap: 0.05}'
    notes: ClassVar[str] = """\
Use this check for fairness: `family: accuracy_group_*` compares the run's latest value of every metric of that pattern
with the limits. Name the groups in `expect`, since whoever trains decides which metrics are logged. The ratio is that
of the smallest value to the largest, and requires values above zero. `bounds` works as in `metric`."""

    family: GlobField = Field(min_length=1, description="A glob over metric keys.", examples=["accuracy_group_*"])
    expect: tuple[TextField, ...] = Field((), description="Metrics that must be among them.")
    at_least: int = Field(2, ge=1, strict=True, description="The lowest number of metrics that passes.")
    min: float | None = Field(None, strict=True, description="The lowest value that passes, of each.")
    max: float | None = Field(None, strict=True, description="The highest value that passes, of each.")
    max_gap: float | None = Field(None, ge=0, strict=True, description="The widest gap between largest and smallest.")
    min_ratio: float | None = Field(
        None, gt=0, le=1, strict=True, description="The lowest ratio of smallest to largest."
    )
    bounds: Bounds | None = Field(
        None, description="Values outside are broken measurements. By default [0, 1] for accuracy and other shares."
    )

    def mistakes(self) -> Iterator[Mistake]:
        if all(limit is None for limit in (self.min, self.max, self.max_gap, self.min_ratio)):
            yield Mistake("set one of min, max, max_gap and min_ratio", lacks=True)
        for least, most in ((self.min, self.max), self.bounds or (None, None)):
            if least is not None and most is not None and least > most:
                yield Mistake(f"no value is at least {number_text(least)} and at most {number_text(most)}")
        for name in self.expect:
            if not fnmatchcase(name, self.family):
                yield Mistake(f"{name!r} in expect does not match {self.family!r}, so it would never be found")

    @property
    def title(self) -> str:
        return f"family {self.family}"

    @property
    def expected(self) -> str:
        limits = (("each at least", self.min), ("each at most", self.max), ("largest gap at most", self.max_gap),
                  ("smallest ratio at least", self.min_ratio))  # fmt: skip
        words = [f"{word} {number_text(limit)}" for word, limit in limits if limit is not None]
        words.append(f"{self.at_least} members or more")
        return ", ".join(words + ([f"with {', '.join(self.expect)}"] if self.expect else []))

    def needs(self) -> Needs:
        return Needs(metric_globs=frozenset({self.family}), run=True, logged_model=True)

    def doubts(self) -> Iterator[str]:
        if not self.expect:
            yield "the person who trains decides which groups are logged: name them in `expect`"

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        run = evidence.fact(RunFacts)
        if not isinstance(run, RunFacts):
            return nothing_to_judge(run)
        source = f"run {run.run_id}"
        if (doubt := _another(run, evidence, source)) is not None:
            return doubt
        members = {name: one.value for name, one in sorted(run.metrics.items()) if fnmatchcase(name, self.family)}
        if len(members) > MOST_MEMBERS:
            return Finding(FamilyCode.TOO_MANY_MEMBERS, f"{len(members)} metrics match", source=source)
        missing = [name for name in self.expect if name not in members]
        if missing or len(members) < self.at_least:
            lacking = f"; missing: {', '.join(missing)}" if missing else ""
            observed = f"{len(members)} of them{lacking}"
            return Finding(FamilyCode.MEMBERS_MISSING, observed, source=source, missing=True)
        for name, value in members.items():
            if value is None or not is_finite(value):
                return Finding(FamilyCode.MEMBER_NOT_FINITE, f"{name} is {run.metrics[name].text!r}", source=source)
        return self._compared({name: value for name, value in members.items() if value is not None}, source)

    def _compared(self, members: Mapping[str, float], source: str) -> Finding:
        least, most = min(members, key=lambda name: members[name]), max(members, key=lambda name: members[name])
        low, high = members[least], members[most]
        bounds = self.bounds if "bounds" in self.model_fields_set else bounds_of(self.family)
        gap, ratio = _exact(high) - _exact(low), _exact(low) / _exact(high) if low > 0 else Fraction(0)
        apart = f"gap {number_beside(float(gap), self.max_gap)}, ratio {number_beside(float(ratio), self.min_ratio)}"
        observed = f"{len(members)} from {least} {number_text(low)} to {most} {number_text(high)}, {apart}"
        outside = bounds is not None and not (bounds[0] <= low and high <= bounds[1])
        # Each is written so that NaN fails.
        failed = (
            (FamilyCode.MEMBER_OUT_OF_BOUNDS, outside),
            (FamilyCode.MEMBER_BELOW_MIN, self.min is not None and not low >= self.min),
            (FamilyCode.MEMBER_ABOVE_MAX, self.max is not None and not high <= self.max),
            (FamilyCode.GAP_TOO_LARGE, self.max_gap is not None and not gap <= _exact(self.max_gap)),
            (FamilyCode.RATIO_TOO_SMALL, self.min_ratio is not None and not ratio >= _exact(self.min_ratio)),
        )
        code: FindingCode = next((code for code, is_so in failed if is_so), CommonCode.OK)
        return Finding(code, observed, source=source)


def _exact(number: float) -> Fraction:
    """As it is written: in doubles, 0.9 is further from 0.85 than 0.05."""
    return Fraction(repr(number))


def _another(run: RunFacts, evidence: Evidence, source: str) -> Finding | None:
    """Where the run's metrics may be another model's."""
    if (broken := broken_lineage(evidence)) is not None:
        return nothing_to_judge(broken)
    model, version = evidence.fact(LoggedModelFacts), evidence.fact(VersionFacts)
    observed = ""
    if isinstance(model, LoggedModelFacts) and isinstance(version, VersionFacts):
        observed = contradiction(model, version, run) or ""
    if not observed and logged_several_models(run):
        observed = "the run logged several models, so its metrics may be another model's"
    return Finding(FamilyCode.FAMILY_OF_ANOTHER, observed, source=source) if observed else None
