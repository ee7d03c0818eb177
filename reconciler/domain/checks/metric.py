"""metric: a number that was measured lies within limits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence import Evidence, LoggedModelFacts, Needs, Reading, RunFacts, Unreadable, VersionFacts
from reconciler.domain.fields import TextField

# Metrics that are shares of one: a value outside [0, 1] is not a good model but a broken measurement.
_SHARES = frozenset({"accuracy", "precision", "recall", "auc", "f1"})
_WORD = re.compile(r"[a-z]+[0-9]*")

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


class MetricCheck(Check):
    """A metric within limits."""

    kind: ClassVar[str] = "metric"
    codes: ClassVar[type[FindingCode]] = MetricCode
    notes: ClassVar[str] = """\
Give at least one of `min` and `max`; `dataset` and `allow_zero` need `source: logged_model`.

From a run, the metric's latest value is judged, as MLflow reduces it. From a logged model, the value of the highest
step and time on one dataset. Where the version was made from a logged model, that model must have been made by the
run that the version names: anybody may register a version under any run's id.

`bounds` is `[0, 1]` by default where a word of the metric's name is accuracy, precision, recall, auc or f1, else none
(`null`)."""

    metric: TextField = Field(min_length=1, description="The metric's key.", examples=["validation_accuracy"])
    min: float | None = Field(None, strict=True, description="The lowest value that passes.")
    max: float | None = Field(None, strict=True, description="The highest value that passes.")
    source: Literal["run", "logged_model"] = Field("run", description="Where the metric is read.")
    dataset: TextField | None = Field(None, description="Name of the dataset (logged_model only).")
    bounds: tuple[float, float] | None = Field(
        None,
        description="Values outside are broken, not good. Default [0, 1] for accuracy, precision, recall, auc, f1.",
    )
    allow_zero: bool = Field(False, description="Accept 0.0 from a logged model, where MLflow serves NaN as 0.0.")

    @model_validator(mode="before")
    @classmethod
    def _default_bounds(cls, data: Any) -> Any:
        if isinstance(data, dict) and "bounds" not in data and isinstance(data.get("metric"), str):
            words = set(_WORD.findall(data["metric"].lower()))
            return {**data, "bounds": (0.0, 1.0)} if words & _SHARES else data
        return data

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
        low, high = self.bounds or (-math.inf, math.inf)
        if self.min is not None and self.min > high:
            yield f"can never pass: min {self.min:g} is above the upper bound {high:g}"
        if self.max is not None and self.max < low:
            yield f"can never pass: max {self.max:g} is below the lower bound {low:g}"

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        foreign = _measured_on_other_run(evidence)
        if foreign is not None:
            return foreign
        return self._on_run(evidence) if self.source == "run" else self._on_logged_model(evidence)

    def _on_run(self, evidence: Evidence) -> Finding:
        run = evidence.fact(RunFacts)
        if not isinstance(run, RunFacts):
            return nothing_to_judge(run)
        source = f"run {run.run_id}"
        reading = run.metrics.get(self.metric)
        if reading is None:
            return Finding(MetricCode.METRIC_MISSING, f"not logged on {source}", source=source, missing=True)
        return self._compared(reading, f"{source} step {reading.step}")

    def _on_logged_model(self, evidence: Evidence) -> Finding:
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
        return _ambiguous_dataset(readings, source) or self._latest(readings, source)

    def _latest(self, readings: Sequence[Reading], source: str) -> Finding:
        """The reading of the highest step and time, as MLflow reduces a run's metric."""
        last = max((reading.step, reading.timestamp) for reading in readings)
        latest = [reading for reading in readings if (reading.step, reading.timestamp) == last]
        texts = sorted({reading.text for reading in latest})
        if len(texts) > 1:
            observed = f"several values at one step and time: {', '.join(texts)}"
            return Finding(MetricCode.AMBIGUOUS_VALUE, observed, source=source)
        reading = latest[0]
        dataset = f" dataset {reading.dataset_name} ({reading.dataset_digest})" if reading.dataset_name else ""
        finding = self._compared(reading, f"{source}{dataset} step {reading.step}")
        if finding.code == CommonCode.OK and reading.value == 0 and not self.allow_zero:
            observed = f"{reading.text}, which may be a NaN: MLflow serves a logged model's NaN as 0.0"
            return Finding(MetricCode.ZERO_MAY_BE_NAN, observed, reading.value, finding.source)
        return finding

    def _compared(self, reading: Reading, source: str) -> Finding:
        value = reading.value
        if value is None:
            return Finding(MetricCode.NOT_A_NUMBER, f"{reading.text!r}, no number", source=source)
        code = self._code_of(value)
        return Finding(code, self._observed(code, reading.text), value if math.isfinite(value) else None, source)

    def _code_of(self, value: float) -> FindingCode:
        """Every comparison is written so that NaN fails it."""
        if not abs(value) < _AS_GOOD_AS_INFINITE:
            return MetricCode.NOT_FINITE
        if self.bounds is not None and not self.bounds[0] <= value <= self.bounds[1]:
            return MetricCode.OUT_OF_BOUNDS
        if self.min is not None and not value >= self.min:
            return MetricCode.BELOW_MIN
        if self.max is not None and not value <= self.max:
            return MetricCode.ABOVE_MAX
        return CommonCode.OK

    def _observed(self, code: FindingCode, text: str) -> str:
        if code is MetricCode.NOT_FINITE:
            return f"{text}, not a finite number"
        if code is MetricCode.OUT_OF_BOUNDS and self.bounds is not None:
            return f"{text}, outside of {self.bounds[0]:g} to {self.bounds[1]:g}"
        return text


def _measured_on_other_run(evidence: Evidence) -> Finding | None:
    """A version may name any run; where it has a logged model, the two must agree."""
    model, version = evidence.fact(LoggedModelFacts), evidence.fact(VersionFacts)
    if isinstance(model, Unreadable):
        observed = f"the logged model could not be read: {model.detail}"
        return Finding(CommonCode.UNREADABLE, observed, unreadable=True)
    if not isinstance(model, LoggedModelFacts) or not isinstance(version, VersionFacts):
        return None
    if not version.run_id or model.source_run_id == version.run_id:
        return None
    made_by = model.source_run_id or "no run"
    observed = f"the version names run {version.run_id}, but its model was made by {made_by}"
    return Finding(MetricCode.MEASURED_ON_OTHER_RUN, observed, source=f"logged model {model.model_id}")


def _ambiguous_dataset(readings: Sequence[Reading], source: str) -> Finding | None:
    datasets = sorted({reading.dataset_name or "(none)" for reading in readings})
    if len(datasets) == 1:
        return None
    observed = f"measured on several datasets ({', '.join(datasets)}): the policy must name one"
    return Finding(MetricCode.AMBIGUOUS_DATASET, observed, source=source)
