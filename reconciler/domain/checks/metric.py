"""metric: a number that was measured lies within limits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import BROKEN_LINEAGE, CommonCode, FindingCode
from reconciler.domain.evidence import (
    Absent,
    Evidence,
    LoggedModelFacts,
    Needs,
    Reading,
    RunFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.fields import TextField
from reconciler.domain.lineage import contradiction, logged_several_models

Bounds = tuple[float, float]

# Metrics that are shares of one: a value outside [0, 1] is not a good model but a broken measurement.
_SHARES = frozenset({"accuracy", "acc", "precision", "recall", "auc", "f1"})
# `validationAccuracy` and `ROCScore` are two words each, as `val_acc` and `val/acc` are.
_WORD = re.compile(r"[A-Z]+(?![a-z])[0-9]*|[A-Z]?[a-z]+[0-9]*")

# MLflow stores infinities as the largest double (1.7976931348623157e308) and serves them as that number.
_AS_GOOD_AS_INFINITE = 1.797e308


class MetricCode(FindingCode):
    BELOW_MIN = "below_min", "less than `min`"
    ABOVE_MAX = "above_max", "more than `max`"
    OUT_OF_BOUNDS = "out_of_bounds", "outside `bounds`: a broken measurement"
    NOT_FINITE = "not_finite", "NaN, an infinity, or ±1.797e308, as which MLflow serves an infinity"
    NOT_A_NUMBER = "not_a_number", "the registry gave text"
    METRIC_MISSING = "metric_missing", "the metric was not logged"
    DATASET_MISSING = "dataset_missing", "the metric was not measured on `dataset`"
    AMBIGUOUS_DATASET = "ambiguous_dataset", "measured on several datasets: name one with `dataset`"
    AMBIGUOUS_VALUE = "ambiguous_value", "several values at one step and time"
    ZERO_MAY_BE_NAN = (
        "zero_may_be_nan",
        "0.0 on a logged model, as which MLflow serves NaN; `allow_zero: true` accepts it",
    )
    MEASURED_ON_OTHER_RUN = "measured_on_other_run", "the version's run did not make its model"
    SEVERAL_MODELS = "several_models", "the run logged several models, and the version does not say which one it is"


class MetricCheck(Check):
    """A metric within limits."""

    kind: ClassVar[str] = "metric"
    codes: ClassVar[type[FindingCode]] = MetricCode
    notes: ClassVar[str] = """\
Give at least one of `min` and `max`; `dataset` and `allow_zero` need `source: logged_model`.

From a run, the metric's latest value is judged, as MLflow reduces it. From a logged model, the value of the highest
step and time on one dataset. Where the version was made from a logged model, that model must have been made by the
run that the version names. A run that logged several models proves none of them: then the logged model's own metric is
judged, as with `source: logged_model`. A logged model that is deleted, or a copy that cannot be followed, fails.

Anybody may register a version under any run's id. What the run measured is this version's only where a check
`run: {linked: true}` stands beside it.

`bounds` is `[0, 1]` by default where a word of the metric's name is accuracy, acc, precision, recall, auc or f1, as in
`validationAccuracy` and `val_acc`; `bounds: null` takes that away."""

    metric: TextField = Field(min_length=1, description="The metric's key.", examples=["validation_accuracy"])
    min: float | None = Field(None, strict=True, description="The lowest value that passes.")
    max: float | None = Field(None, strict=True, description="The highest value that passes.")
    source: Literal["run", "logged_model"] = Field("run", description="Where the metric is read.")
    dataset: TextField | None = Field(None, description="Name of the dataset (logged_model only).")
    bounds: Bounds | None = Field(
        None,
        description="Values outside are broken, not good. By default [0, 1] for accuracy and other shares of one.",
    )
    allow_zero: bool = Field(False, description="Accept 0.0 from a logged model, where MLflow serves NaN as 0.0.")

    @model_validator(mode="after")
    def _sensible(self) -> MetricCheck:
        if self.min is None and self.max is None:
            raise ValueError("set min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is greater than max {self.max:g}")
        if self.bounds is not None and self.bounds[0] > self.bounds[1]:
            raise ValueError(f"bounds {list(self.bounds)}: the lower bound is greater than the upper")
        if self.source == "run" and (self.dataset is not None or self.allow_zero):
            raise ValueError("dataset and allow_zero require source: logged_model")
        return self

    @property
    def names_bounds(self) -> bool:
        """Whether the policy has the key, also as `bounds: null`."""
        return "bounds" in self.model_fields_set

    @property
    def limits(self) -> Bounds | None:
        """The bounds in force: those that the policy names, else by the metric's name."""
        if self.names_bounds:
            return self.bounds
        return (0.0, 1.0) if _SHARES.intersection(map(str.lower, _WORD.findall(self.metric))) else None

    @property
    def title(self) -> str:
        return f"metric {self.metric}"

    @property
    def expected(self) -> str:
        if self.min is not None and self.max is not None:
            return f"between {self.min:g} and {self.max:g}"
        return f"at least {self.min:g}" if self.min is not None else f"at most {self.max:g}"

    def needs(self) -> Needs:
        # Both, whatever the source: the logged model shows whether the run is really the version's.
        on_model = self.source == "logged_model"
        return Needs(metrics=frozenset({self.metric}), run=True, logged_model=True, metrics_of_logged_model=on_model)

    def doubts(self) -> Iterator[str]:
        low, high = self.limits or (-math.inf, math.inf)
        if self.min is not None and self.min > high:
            yield f"can never pass: min {self.min:g} is above the upper bound {high:g}"
        if self.max is not None and self.max < low:
            yield f"can never pass: max {self.max:g} is below the lower bound {low:g}"

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        problem = _broken(evidence) or _measured_on_other_run(evidence)
        if problem is not None:
            return problem
        run = evidence.fact(RunFacts)
        if self.source == "logged_model" or not isinstance(run, RunFacts) or not logged_several_models(run):
            judge = self.on_run if self.source == "run" else self.on_logged_model
            return judge(evidence, self.limits)
        if isinstance(evidence.fact(LoggedModelFacts), LoggedModelFacts):
            return self.on_logged_model(evidence, self.limits)
        observed = "the run logged several models, so its metrics may be another model's"
        return Finding(MetricCode.SEVERAL_MODELS, observed, source=f"run {run.run_id}")

    def on_run(self, evidence: Evidence, bounds: Bounds | None) -> Finding:
        """The run's latest value."""
        run = evidence.fact(RunFacts)
        if not isinstance(run, RunFacts):
            return nothing_to_judge(run)
        source = f"run {run.run_id}"
        reading = run.metrics.get(self.metric)
        if reading is None:
            return Finding(MetricCode.METRIC_MISSING, f"not logged on {source}", source=source, missing=True)
        return _compared(self, reading, bounds, f"{source} step {reading.step}")

    def on_logged_model(self, evidence: Evidence, bounds: Bounds | None) -> Finding:
        """The value of the highest step and time, as MLflow reduces a run's metric, on one dataset."""
        model = evidence.fact(LoggedModelFacts)
        if not isinstance(model, LoggedModelFacts):
            return nothing_to_judge(model)
        source = f"logged model {model.model_id}"
        readings = model.metrics.get(self.metric, ())
        if not readings:
            return Finding(MetricCode.METRIC_MISSING, f"not logged on {source}", source=source, missing=True)
        if self.dataset is not None:
            readings = tuple(reading for reading in readings if reading.dataset_name == self.dataset)
            if not readings:
                observed = f"not measured on dataset {self.dataset}"
                return Finding(MetricCode.DATASET_MISSING, observed, source=source, missing=True)
        return _ambiguous(readings, source) or self._of_latest(_latest(readings)[0], bounds, source)

    def _of_latest(self, reading: Reading, bounds: Bounds | None, source: str) -> Finding:
        dataset = f" dataset {reading.dataset_name} ({reading.dataset_digest})" if reading.dataset_name else ""
        finding = _compared(self, reading, bounds, f"{source}{dataset} step {reading.step}")
        if finding.code == CommonCode.OK and reading.value == 0 and not self.allow_zero:
            observed = f"{reading.text}, which may be a NaN: MLflow serves a logged model's NaN as 0.0"
            return Finding(MetricCode.ZERO_MAY_BE_NAN, observed, reading.value, finding.source)
        return finding


def _compared(check: MetricCheck, reading: Reading, bounds: Bounds | None, source: str) -> Finding:
    value = reading.value
    if value is None:
        return Finding(MetricCode.NOT_A_NUMBER, f"{reading.text!r}, no number", source=source)
    code = _code_of(check, value, bounds)
    observed = reading.text + _what_is_wrong(code, bounds)
    return Finding(code, observed, value if math.isfinite(value) else None, source)


def _code_of(check: MetricCheck, value: float, bounds: Bounds | None) -> FindingCode:
    """Every comparison is written so that NaN fails it."""
    if not abs(value) < _AS_GOOD_AS_INFINITE:
        return MetricCode.NOT_FINITE
    if bounds is not None and not bounds[0] <= value <= bounds[1]:
        return MetricCode.OUT_OF_BOUNDS
    if check.min is not None and not value >= check.min:
        return MetricCode.BELOW_MIN
    if check.max is not None and not value <= check.max:
        return MetricCode.ABOVE_MAX
    return CommonCode.OK


def _what_is_wrong(code: FindingCode, bounds: Bounds | None) -> str:
    if code is MetricCode.NOT_FINITE:
        return ", not a finite number"
    if code is MetricCode.OUT_OF_BOUNDS and bounds is not None:
        return f", outside of {bounds[0]:g} to {bounds[1]:g}"
    return ""


def _ambiguous(readings: Sequence[Reading], source: str) -> Finding | None:
    """Measured on several datasets, or several values where only one can be the latest."""
    datasets = sorted({reading.dataset_name or "(none)" for reading in readings})
    if len(datasets) > 1:
        observed = f"measured on several datasets ({', '.join(datasets)}): the policy must name one"
        return Finding(MetricCode.AMBIGUOUS_DATASET, observed, source=source)
    texts = sorted({reading.text for reading in _latest(readings)})
    if len(texts) > 1:
        observed = f"several values at one step and time: {', '.join(texts)}"
        return Finding(MetricCode.AMBIGUOUS_VALUE, observed, source=source)
    return None


def _latest(readings: Sequence[Reading]) -> Sequence[Reading]:
    last = max((reading.step, reading.timestamp) for reading in readings)
    return [reading for reading in readings if (reading.step, reading.timestamp) == last]


def _broken(evidence: Evidence) -> Finding | None:
    """Who deletes what the version was made from must not hide by it that another run made it."""
    model = evidence.fact(LoggedModelFacts)
    if isinstance(model, Unreadable):
        observed = f"the logged model could not be read: {model.detail}"
        return Finding(CommonCode.UNREADABLE, observed, unreadable=True)
    return nothing_to_judge(model) if isinstance(model, Absent) and model.code in BROKEN_LINEAGE else None


def _measured_on_other_run(evidence: Evidence) -> Finding | None:
    """A version may name any run; where it has a logged model, the two must agree."""
    model, version = evidence.fact(LoggedModelFacts), evidence.fact(VersionFacts)
    if not isinstance(model, LoggedModelFacts) or not isinstance(version, VersionFacts):
        return None
    observed = contradiction(model, version, evidence.fact(RunFacts))
    source = f"logged model {model.model_id}"
    return Finding(MetricCode.MEASURED_ON_OTHER_RUN, observed, source=source) if observed else None
