"""What a check of a metric finds."""

from __future__ import annotations

from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence.shares import Bounds, is_finite
from reconciler.domain.text import number_text


class MetricCode(FindingCode):
    BELOW_MIN = "below_min", "less than `min`"
    ABOVE_MAX = "above_max", "more than `max`"
    OUT_OF_BOUNDS = "out_of_bounds", "outside `bounds`: a broken measurement"
    NOT_FINITE = "not_finite", "NaN, an infinity, or ±1.797e308, which MLflow serves in place of an infinity"
    NOT_A_NUMBER = "not_a_number", "the registry gave text"
    METRIC_MISSING = "metric_missing", "the metric was not logged"
    DATASET_MISSING = "dataset_missing", "the metric was not measured on `dataset`"
    AMBIGUOUS_DATASET = "ambiguous_dataset", "measured on several datasets: name one with `dataset`"
    AMBIGUOUS_VALUE = "ambiguous_value", "several values at one step and time"
    ZERO_MAY_BE_NAN = (
        "zero_may_be_nan",
        "0.0 on a logged model, which MLflow serves in place of NaN; `allow_zero: true` accepts it",
    )
    STEP_MISSING = "step_missing", "there is no value at this `step`"
    DATASET_UNUSED = "dataset_unused", "the run does not name the dataset among its inputs"
    EXPERIMENT_NOT_ALLOWED = "experiment_not_allowed", "measured in an experiment that is not in `experiments`"
    METRIC_TOO_OLD = "metric_too_old", "measured longer ago than `max_age`, or at a time in the future"
    MEASURED_ON_OTHER_RUN = "measured_on_other_run", "the version's run did not make its model"
    SEVERAL_MODELS = "several_models", "the run logged several models, and the version does not say which one it is"


def code_of(value: float, bounds: Bounds | None, low: float | None, high: float | None) -> FindingCode:
    """Every comparison is written so that NaN fails it."""
    if not is_finite(value):
        return MetricCode.NOT_FINITE
    if bounds is not None and not bounds[0] <= value <= bounds[1]:
        return MetricCode.OUT_OF_BOUNDS
    if low is not None and not value >= low:
        return MetricCode.BELOW_MIN
    if high is not None and not value <= high:
        return MetricCode.ABOVE_MAX
    return CommonCode.OK


def what_is_wrong(code: FindingCode, bounds: Bounds | None) -> str:
    """What the number alone does not say."""
    if code is MetricCode.NOT_FINITE:
        return ", not a finite number"
    if code is MetricCode.OUT_OF_BOUNDS and bounds is not None:
        return f", outside of {number_text(bounds[0])} to {number_text(bounds[1])}"
    return ""
