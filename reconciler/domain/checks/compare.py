"""compare: better than what holds the target now, by as much as is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Literal

from pydantic import Field

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import AbsenceCode, CommonCode, FindingCode
from reconciler.domain.evidence.evidence import (
    Absent,
    Evidence,
    HolderFacts,
    LoggedModelFacts,
    Needs,
    Reading,
    RunFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.evidence.measured import Asked, Data, value_of
from reconciler.domain.evidence.shares import Bounds, bounds_of
from reconciler.domain.fields import TextField
from reconciler.domain.metric_codes import MetricCode, code_of, what_is_wrong
from reconciler.domain.mistakes import Mistake
from reconciler.domain.text import number_text

# What MLflow asks for beside a baseline of 0, of which there is no share.
_MORE_THAN_ZERO = 1e-10


class CompareCode(FindingCode):
    NOT_BETTER = "not_better", "not better than the holder by `min_absolute_change` and `min_relative_change`"
    HOLDER_NOT_MEASURED = (
        "holder_not_measured",
        "the holder has no number of this metric to compare with, such as one on `dataset` or within `bounds`",
    )


class CompareCheck(Check):
    """A metric is better than that of the version which holds the target."""

    kind: ClassVar[str] = "compare"
    may_be_empty: ClassVar[frozenset[str]] = frozenset({"bounds"})
    of_holders: ClassVar[bool] = False
    codes: ClassVar[type[FindingCode]] = CompareCode
    remedy: ClassVar[str] = "train or measure again, and register the result as a new version"
    example: ClassVar[str] = (
        "{compare: validation_accuracy, min_relative_change: 0.01, greater_is_better: true, if_no_holder: fail}"
    )
    notes: ClassVar[str] = """\
The two changes mean the same as in MLflow's `MetricThreshold`. With `greater_is_better: true`, the value must be at
least the holder's plus `min_absolute_change`, and `(value - holder's) / |holder's|` at least `min_relative_change`;
with `false`, the other way round. If the holder's value is 0, there is no relative change: the value must then be
better by 1e-10. Unlike in MLflow, `min_absolute_change` may be 0, meaning "not worse", and NaN and infinities never
pass.

Both numbers are read as `metric` reads them: the run's latest value, or the logged model's on one dataset. A value that
is missing, not a number or out of `bounds` gets the codes of `metric`. Only a check `run: {linked: true}` beside this
one makes sure that the run's metrics are those of this version.

The holder is the version that the alias names or, for a stage, the newest version there that was approved. It counts as
approved if its tenure began by a decision, a person's approval, an administrator or a rollback, or as a baseline, or if
a decision has approved it since; see `tenures` in [the audit database](audit.md). A version is never compared with
itself.

If the holder came by a bypass, or the audit database is missing or does not say how, the verdict is an abstention
(`holder_unapproved`). Otherwise anybody could get a worse version approved by first moving one there that nobody had
approved. `bypassed_holder: allow` turns this off. A holder whose metric is missing or out of bounds counts as a missing
value: the check fails, or with `on_missing: abstain` leaves the request to a person.

`if_no_holder: pass` trusts everybody who may remove the alias or the stage: add a `metric` with `min` beside it.

The holder is read when the request is judged, and again right before the decision is carried out. It is kept with the
decision."""

    compare: TextField = Field(min_length=1, description="The metric's key.", examples=["validation_accuracy"])
    greater_is_better: bool = Field(
        strict=True, description="Whether higher is better (as for accuracy) or lower (as for loss)."
    )
    min_absolute_change: float | None = Field(None, ge=0, strict=True, description="The smallest improvement.")
    min_relative_change: float | None = Field(
        None, ge=0, le=1, strict=True, description="The smallest improvement, as a share of the holder's value."
    )
    if_no_holder: Literal["pass", "fail", "abstain"] = Field(
        description="What to do if nothing holds the target, or only the version itself."
    )
    bypassed_holder: Literal["abstain", "allow"] = Field(
        "abstain", description="`allow`: also compare with a holder that nobody is known to have approved."
    )
    source: Literal["run", "logged_model"] = Field("run", description="Where the metric is read, on both sides.")
    dataset: TextField | None = Field(None, description="Name of the dataset, on both sides.")
    dataset_digest: TextField | None = Field(None, description="Digest of the dataset, as MLflow has it.")
    bounds: Bounds | None = Field(
        None,
        description="Values outside, on either side, are broken measurements. By default [0, 1] for shares.",
    )
    allow_zero: bool = Field(False, description="Accept 0.0 from a logged model, where MLflow serves NaN as 0.0.")

    def mistakes(self) -> Iterator[Mistake]:
        if self.min_absolute_change is None and self.min_relative_change is None:
            yield Mistake("set min_absolute_change, min_relative_change or both", lacks=True)
        if self.bounds is not None and self.bounds[0] > self.bounds[1]:
            yield Mistake(f"bounds {list(self.bounds)}: the lower bound is greater than the upper")

    @property
    def limits(self) -> Bounds | None:
        """The bounds in force: those that the policy names, also as `bounds: null`, else by the metric's name."""
        return self.bounds if "bounds" in self.model_fields_set else bounds_of(self.compare)

    @property
    def title(self) -> str:
        return f"compare {self.compare}"

    @property
    def expected(self) -> str:
        changes = []
        if self.min_absolute_change is not None:
            changes.append(number_text(self.min_absolute_change))
        if self.min_relative_change is not None:
            changes.append(f"{number_text(float(Decimal(repr(self.min_relative_change)) * 100))} %")
        way = "more" if self.greater_is_better else "less"
        data = f" on {self._data}" if self._data != Data() else ""
        return f"{' and '.join(changes)} {way} than what holds the target{data}"

    @property
    def _data(self) -> Data:
        return Data(self.dataset, self.dataset_digest)

    def needs(self) -> Needs:
        on_model = self.source == "logged_model"
        metrics = frozenset({self.compare})
        return Needs(metrics=metrics, run=True, logged_model=True, metrics_of_logged_model=on_model, holder=True)

    def doubts(self) -> Iterator[str]:
        if self.bypassed_holder == "allow":
            yield "anybody who may move the target can put a bad version there first: leave bypassed_holder out"
        low, high = self.limits or (-math.inf, math.inf)
        if self.min_absolute_change is not None and self.min_absolute_change > high - low:
            change = f"min_absolute_change {number_text(self.min_absolute_change)}"
            between = f"{number_text(low)} and {number_text(high)}"
            yield f"can never pass: {change} is more than lies between the bounds {between}"

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        return self.within(self.limits, evidence)

    def within(self, bounds: Bounds | None, evidence: Evidence) -> Finding:
        """What the evidence says, where both numbers have to lie within these bounds."""
        value = self._number(evidence, bounds)
        if isinstance(value, Finding):
            return value
        holder = evidence.fact(HolderFacts)
        if isinstance(holder, Absent):
            return self._without_holder(holder, value)
        if isinstance(holder, Unreadable):
            return nothing_to_judge(holder)
        if holder.arrival.approved is not True and self.bypassed_holder != "allow":
            observed = f"version {holder.version} holds the target: {holder.arrival.why}"
            return Finding(CommonCode.HOLDER_UNAPPROVED, observed, source=f"version {holder.version}", unreadable=True)
        baseline = self._number(_of_holder(holder, evidence), bounds)
        if isinstance(baseline, Finding):
            return _not_measured(holder, baseline)
        return self._compared(value, baseline, holder)

    def _without_holder(self, holder: Absent, value: tuple[Reading, str]) -> Finding:
        if holder.code != AbsenceCode.NO_HOLDER:
            # Evidence of an earlier release, or of other rules.
            return Finding(CommonCode.UNDETERMINED, "what holds the target was not read", unreadable=True)
        observed = f"{value[0].text}; {holder.detail}"
        if self.if_no_holder == "pass":
            return Finding(CommonCode.OK, observed, value[0].value, value[1])
        return Finding(AbsenceCode.NO_HOLDER, observed, source=value[1], unreadable=self.if_no_holder == "abstain")

    def _number(self, evidence: Evidence, bounds: Bounds | None) -> tuple[Reading, str] | Finding:
        """A finite number within the bounds, and where it was read; or why there is none."""
        on_model = self.source == "logged_model"
        found = value_of(Asked(self.compare, on_model, self._data), evidence)
        if isinstance(found, Finding):
            return found
        reading, source = found
        if reading.value is None:
            return Finding(MetricCode.NOT_A_NUMBER, f"{reading.text!r}, no number", source=source)
        if (code := code_of(reading.value, bounds, None, None)) != CommonCode.OK:
            return Finding(code, reading.text + what_is_wrong(code, bounds), source=source)
        if reading.value == 0 and source.startswith("logged model") and not self.allow_zero:
            observed = f"{reading.text}, which may be a NaN: MLflow serves a logged model's NaN as 0.0"
            return Finding(MetricCode.ZERO_MAY_BE_NAN, observed, reading.value, source)
        return found

    def _compared(self, value: tuple[Reading, str], baseline: tuple[Reading, str], holder: HolderFacts) -> Finding:
        mine, its = value[0].value or 0.0, baseline[0].value or 0.0
        code = CommonCode.OK if self._is_better(mine, its) else CompareCode.NOT_BETTER
        share = f", {(mine - its) / abs(its) * 100:+.4g} %" if its else ""
        held = f"version {holder.version}, which holds the target ({holder.arrival.why}), has {baseline[0].text}"
        observed = f"{value[0].text}; {held}: {mine - its:+.6g}{share}"
        return Finding(code, observed, source=f"{value[1]}; {baseline[1]}")

    def _is_better(self, mine: float, its: float) -> bool:
        """As `mlflow.validate_evaluation_results`, for finite numbers."""
        more = mine - its if self.greater_is_better else its - mine
        if self.min_absolute_change is not None and not self._is_beyond(mine, its, self.min_absolute_change):
            return False
        if self.min_relative_change is None:
            return True
        return self._is_beyond(mine, its, _MORE_THAN_ZERO) if its == 0 else more / abs(its) >= self.min_relative_change

    def _is_beyond(self, mine: float, its: float, change: float) -> bool:
        return mine >= its + change if self.greater_is_better else mine <= its - change


def _of_holder(holder: HolderFacts, evidence: Evidence) -> Evidence:
    """The evidence about the holder, as if it were judged itself."""
    answers = {VersionFacts: holder.shown, RunFacts: holder.run, LoggedModelFacts: holder.logged_model}
    return Evidence.of(evidence.read_at, answers)


def _not_measured(holder: HolderFacts, finding: Finding) -> Finding:
    observed = f"version {holder.version}, which holds the target: {finding.observed}"
    if finding.unreadable:
        return Finding(finding.code, observed, source=finding.source, unreadable=True)
    return Finding(CompareCode.HOLDER_NOT_MEASURED, observed, source=finding.source, missing=True)
