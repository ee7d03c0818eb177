"""metric: a number that was measured lies within limits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence.evidence import (
    Absent,
    Evidence,
    HistoryFacts,
    LoggedModelFacts,
    Needs,
    Reading,
    RunFacts,
    Unreadable,
)
from reconciler.domain.evidence.lineage import logged_several_models
from reconciler.domain.evidence.measured import Data, several_models, unproven
from reconciler.domain.evidence.readings import at_step, best, latest, several_datasets, several_values
from reconciler.domain.evidence.shares import Bounds, bounds_of
from reconciler.domain.fields import DurationField, StepField, TextField
from reconciler.domain.metric_codes import MetricCode, code_of, what_is_wrong
from reconciler.domain.mistakes import Mistake
from reconciler.domain.text import number_text
from reconciler.domain.times import CLOCKS_DIFFER, duration_text, from_millis, iso

__all__ = ["MetricCheck", "MetricCode"]


class MetricCheck(Check):
    """A metric within limits."""

    kind: ClassVar[str] = "metric"
    may_be_empty: ClassVar[frozenset[str]] = frozenset({"bounds"})
    codes: ClassVar[type[FindingCode]] = MetricCode
    remedy: ClassVar[str] = "train or measure again, and register the result as a new version"
    example: ClassVar[str] = "{metric: validation_accuracy, names: [val_acc], min: 0.9, dataset: holdout, max_age: 30d}"
    notes: ClassVar[str] = """\
Give at least one of `min` and `max`; `allow_zero` needs `source: logged_model`. If the run has no `metric`, the keys
in `names` are tried in their order; the reason says which was found.

For a logged model, `dataset` and `dataset_digest` say what it was measured on. For a run, they only require that the
run names this dataset among its inputs, for whatever use. Whoever logged the run wrote its times, inputs and digests.

From a run, the check judges the metric's latest value, as MLflow reduces it. With `step` it reads the metric's history,
which takes at least one more call for each run and metric. Of a numbered step it takes the value of the latest time; if
there are several, it fails as `ambiguous_value`. `best` is the highest value with `min`, the lowest with `max`, and
skips NaN and infinities unless there is nothing else. A history of more than a million points cannot be read. Whoever
may write to the run may log a better value, and the model need not have been saved at the best step: also set a limit
for the latest value.

From a logged model, the check judges the value of the highest step and time on one dataset. If the version was made
from a logged model, the run that the version names must have made that model. A run that logged several models proves
none of them: the check then judges the logged model's own metric, as with `source: logged_model`. It fails if the
logged model is deleted, or if the version is a copy that cannot be followed.

Anybody may register a version under any run's id. Only a check `run: {linked: true}` beside this one makes sure that
the run's metrics are those of this version.

`bounds` is `[0, 1]` by default if a word of the metric's name is accuracy, acc, precision, recall, auc or f1, as in
`validationAccuracy` and `val_acc`; `bounds: null` removes that default."""

    metric: TextField = Field(min_length=1, description="The metric's key.", examples=["validation_accuracy"])
    min: float | None = Field(None, strict=True, description="The lowest value that passes.")
    max: float | None = Field(None, strict=True, description="The highest value that passes.")
    names: tuple[TextField, ...] = Field((), description="Other keys that it may have been logged under.")
    source: Literal["run", "logged_model"] = Field("run", description="Where the metric is read.")
    dataset: TextField | None = Field(None, description="Name of the dataset.")
    dataset_digest: TextField | None = Field(None, description="Digest of the dataset, as MLflow has it.")
    step: StepField = Field(
        "last", description="The step to judge: `last`, a number, or `best`, by whichever of `min` and `max` is given."
    )
    experiments: tuple[TextField, ...] | None = Field(
        None, min_length=1, description="Ids of experiments; the metric must come from one of them."
    )
    max_age: DurationField | None = Field(None, description="The longest time since it was logged.")
    bounds: Bounds | None = Field(
        None,
        description="Values outside are broken measurements. By default [0, 1] for accuracy and other shares.",
    )
    allow_zero: bool = Field(False, description="Accept 0.0 from a logged model, where MLflow serves NaN as 0.0.")

    def mistakes(self) -> Iterator[Mistake]:
        if self.min is None and self.max is None:
            yield Mistake("set min, max or both", lacks=True)
        if self.min is not None and self.max is not None and self.min > self.max:
            yield Mistake(f"min {number_text(self.min)} is greater than max {number_text(self.max)}")
        if self.bounds is not None and self.bounds[0] > self.bounds[1]:
            yield Mistake(f"bounds {list(self.bounds)}: the lower bound is greater than the upper")
        if self.source == "run" and self.allow_zero:
            yield Mistake("allow_zero requires source: logged_model", lacks=True)
        if self.step == "best" and self.min is not None and self.max is not None:
            yield Mistake("step: best needs one of min and max, which says what is better")

    @property
    def names_bounds(self) -> bool:
        """Whether the policy has the key, also as `bounds: null`."""
        return "bounds" in self.model_fields_set

    @property
    def limits(self) -> Bounds | None:
        """The bounds in force: those that the policy names, else by the metric's name."""
        if self.names_bounds:
            return self.bounds
        return bounds_of(self.metric)

    @property
    def title(self) -> str:
        return f"metric {self.metric}"

    @property
    def expected(self) -> str:
        low, high = (number_text(limit) if limit is not None else "" for limit in (self.min, self.max))
        if low and high:
            return f"between {low} and {high}{self._conditions}"
        return (f"at least {low}" if low else f"at most {high}") + self._conditions

    @property
    def _conditions(self) -> str:
        """What is asked beside the number."""
        # That of a logged model's dataset stands in `source`, as in the first releases.
        of_data = self.dataset_digest is not None or (self.dataset is not None and self.source == "run")
        words = [f" on {self._data}"] if of_data else []
        words += [f" at step {self.step}"] if self.step != "last" else []
        words += [f" in experiment {' or '.join(self.experiments)}"] if self.experiments is not None else []
        words += [f" within {duration_text(self.max_age)}"] if self.max_age is not None else []
        return "".join(words)

    @property
    def keys(self) -> tuple[str, ...]:
        return (self.metric, *self.names)

    def needs(self) -> Needs:
        # Both, whatever the source: the logged model shows whether the run is really the version's.
        on_model = self.source == "logged_model"
        step = None if isinstance(self.step, str) else self.step
        histories = frozenset() if on_model or self.step == "last" else frozenset((key, step) for key in self.keys)
        metrics = frozenset(self.keys)
        return Needs(metrics, run=True, logged_model=True, metrics_of_logged_model=on_model, histories=histories)

    def doubts(self) -> Iterator[str]:
        low, high = self.limits or (-math.inf, math.inf)
        if self.min is not None and self.min > high:
            yield f"can never pass: min {number_text(self.min)} is above the upper bound {number_text(high)}"
        if self.max is not None and self.max < low:
            yield f"can never pass: max {number_text(self.max)} is below the lower bound {number_text(low)}"

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        problem = unproven(evidence)
        if problem is not None:
            return problem
        run = evidence.fact(RunFacts)
        if self.source == "logged_model" or not isinstance(run, RunFacts) or not logged_several_models(run):
            judge = self.on_run if self.source == "run" else self.on_logged_model
            return judge(evidence, self.limits, now)
        if isinstance(evidence.fact(LoggedModelFacts), LoggedModelFacts):
            return self.on_logged_model(evidence, self.limits, now)
        return several_models(run)

    def on_run(self, evidence: Evidence, bounds: Bounds | None, now: datetime | None = None) -> Finding:
        """The run's latest value, or that of another step."""
        run = evidence.fact(RunFacts)
        if not isinstance(run, RunFacts):
            return nothing_to_judge(run)
        source = f"run {run.run_id}"
        name, reading = next(((key, run.metrics[key]) for key in self.keys if key in run.metrics), ("", None))
        if reading is None:
            return Finding(MetricCode.METRIC_MISSING, f"not logged on {source}", source=source, missing=True)
        if self.step != "last":
            found = self._of_history(evidence.fact(HistoryFacts), run, name)
            if isinstance(found, Finding):
                return found
            reading = found
        place = f"{source} step {reading.step}" + self._under(name)
        return (
            _elsewhere(self.experiments, run.experiment_id, place)
            or self._data.unused_by(run, place)
            or self._old(reading, now or evidence.read_at, place)
            or _compared(self, reading, bounds, place)
        )

    def _of_history(self, facts: HistoryFacts | Absent | Unreadable, run: RunFacts, name: str) -> Reading | Finding:
        source = f"run {run.run_id}" + self._under(name)
        if isinstance(facts, Unreadable):
            return nothing_to_judge(facts)
        history = facts.metrics.get(name) if isinstance(facts, HistoryFacts) and facts.run_id == run.run_id else None
        if history is None:
            return Finding(CommonCode.UNDETERMINED, "its history was not read", source=source, unreadable=True)
        if history.why:
            return Finding(CommonCode.UNREADABLE, history.why, source=source, unreadable=True)
        if isinstance(self.step, str):
            ends = history.best or history.last
            return best(ends, higher=self.min is not None)[0] if ends else self._no_step(source)
        there = history.at.get(self.step)
        if there is None:
            return Finding(CommonCode.UNDETERMINED, f"step {self.step} was not read", source=source, unreadable=True)
        if several := several_values(there):
            return Finding(MetricCode.AMBIGUOUS_VALUE, several, source=source)
        return there[0] if there else self._no_step(source)

    def _no_step(self, source: str) -> Finding:
        return Finding(MetricCode.STEP_MISSING, f"no value at step {self.step}", source=source, missing=True)

    def on_logged_model(self, evidence: Evidence, bounds: Bounds | None, now: datetime | None = None) -> Finding:
        """The value of the highest step and time, as MLflow reduces a run's metric, on one dataset."""
        model = evidence.fact(LoggedModelFacts)
        if not isinstance(model, LoggedModelFacts):
            return nothing_to_judge(model)
        source = f"logged model {model.model_id}"
        name = next((key for key in self.keys if model.metrics.get(key)), "")
        readings: Sequence[Reading] = model.metrics.get(name, ())
        if not readings:
            return Finding(MetricCode.METRIC_MISSING, f"not logged on {source}", source=source, missing=True)
        source += self._under(name)
        if elsewhere := _elsewhere(self.experiments, model.experiment_id, source):
            return elsewhere
        readings = self._data.of(readings)
        if not readings:
            return self._data.missing(source)
        found = self._of_chosen(readings, bounds, source, now or evidence.read_at)
        return found if self.step == "last" else _unless_left_out(evidence, found)

    def _of_chosen(self, readings: Sequence[Reading], bounds: Bounds | None, source: str, now: datetime) -> Finding:
        if several := several_datasets(readings):
            return Finding(MetricCode.AMBIGUOUS_DATASET, several, source=source)
        chosen = self._chosen(readings)
        if not chosen:
            return self._no_step(source)
        if several := several_values(chosen):
            return Finding(MetricCode.AMBIGUOUS_VALUE, several, source=source)
        return self._old(chosen[0], now, source) or self._of_latest(chosen[0], bounds, source)

    def _chosen(self, readings: Sequence[Reading]) -> Sequence[Reading]:
        if isinstance(self.step, int):
            return at_step(readings, self.step)
        return best(readings, higher=self.min is not None) if self.step == "best" else latest(readings)

    @property
    def _data(self) -> Data:
        return Data(self.dataset, self.dataset_digest)

    def _under(self, name: str) -> str:
        """Which of several names it was logged under."""
        return f" as {name}" if self.names else ""

    def _old(self, reading: Reading, now: datetime, source: str) -> Finding | None:
        """By the clock of whoever logged it: what is still to come is no recent measurement."""
        if self.max_age is None:
            return None
        measured = from_millis(reading.timestamp)
        if measured is not None and -CLOCKS_DIFFER <= now - measured <= self.max_age:
            return None
        observed = f"{reading.text}, measured at {iso(measured) if measured else reading.timestamp}"
        return Finding(MetricCode.METRIC_TOO_OLD, observed, source=source)

    def _of_latest(self, reading: Reading, bounds: Bounds | None, source: str) -> Finding:
        dataset = f" dataset {reading.dataset_name} ({reading.dataset_digest})" if reading.dataset_name else ""
        finding = _compared(self, reading, bounds, f"{source}{dataset} step {reading.step}")
        if finding.code == CommonCode.OK and reading.value == 0 and not self.allow_zero:
            observed = f"{reading.text}, which may be a NaN: MLflow serves a logged model's NaN as 0.0"
            return Finding(MetricCode.ZERO_MAY_BE_NAN, observed, reading.value, finding.source)
        return finding


def _elsewhere(experiments: Sequence[str] | None, id: str, source: str) -> Finding | None:
    if experiments is None or id in experiments:
        return None
    if not id:
        return Finding(CommonCode.UNDETERMINED, "the registry does not show the experiment", unreadable=True)
    return Finding(MetricCode.EXPERIMENT_NOT_ALLOWED, f"measured in experiment {id}", source=source)


def _unless_left_out(evidence: Evidence, finding: Finding) -> Finding:
    """What does not pass, unless a reading that had no room in the evidence might."""
    model = evidence.fact(LoggedModelFacts)
    if finding.code != CommonCode.OK and isinstance(model, LoggedModelFacts) and "metrics" in (model.left_out or {}):
        return Finding(CommonCode.UNDETERMINED, f"{finding.observed}; not all readings are kept", unreadable=True)
    return finding


def _compared(check: MetricCheck, reading: Reading, bounds: Bounds | None, source: str) -> Finding:
    value = reading.value
    if value is None:
        return Finding(MetricCode.NOT_A_NUMBER, f"{reading.text!r}, no number", source=source)
    code = code_of(value, bounds, check.min, check.max)
    observed = reading.text + what_is_wrong(code, bounds)
    return Finding(code, observed, value if math.isfinite(value) else None, source)
