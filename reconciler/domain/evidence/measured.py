"""Where a metric of a version is read, and what says that it may not be the version's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.domain.checks.base import Finding, nothing_to_judge
from reconciler.domain.codes import CommonCode
from reconciler.domain.evidence.evidence import Evidence, LoggedModelFacts, Reading, RunFacts, Unreadable, VersionFacts
from reconciler.domain.evidence.lineage import broken_lineage, contradiction, logged_several_models
from reconciler.domain.evidence.readings import latest, several_datasets, several_values
from reconciler.domain.metric_codes import MetricCode


@dataclass(frozen=True, slots=True)
class Data:
    """The dataset that a check asks for, by name, digest or both; neither: whichever."""

    name: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        name = f"dataset {self.name}" if self.name is not None else "a dataset"
        return name + (f" with digest {self.digest}" if self.digest is not None else "")

    def _is(self, name: str, digest: str) -> bool:
        return self.name in (None, name) and self.digest in (None, digest)

    def of(self, readings: Sequence[Reading]) -> Sequence[Reading]:
        """The readings on it."""
        if self == Data():
            return readings
        return [one for one in readings if self._is(one.dataset_name, one.dataset_digest)]

    def missing(self, source: str) -> Finding:
        return Finding(MetricCode.DATASET_MISSING, f"not measured on {self}", source=source, missing=True)

    def unused_by(self, run: RunFacts, source: str) -> Finding | None:
        """Where the run does not name it among its inputs."""
        if self == Data():
            return None
        if run.datasets is None:
            return Finding(CommonCode.UNDETERMINED, "the registry does not show the run's inputs", unreadable=True)
        if any(self._is(one.name, one.digest) for one in run.datasets):
            return None
        if "datasets" in (run.left_out or {}):
            return Finding(CommonCode.UNDETERMINED, "the run has more inputs than are kept", unreadable=True)
        return Finding(MetricCode.DATASET_UNUSED, f"not among the run's inputs: {self}", source=source)


@dataclass(frozen=True, slots=True)
class Asked:
    """A metric, and where it is read."""

    metric: str
    on_logged_model: bool
    data: Data


def value_of(asked: Asked, evidence: Evidence) -> tuple[Reading, str] | Finding:
    """The latest reading as the check `metric` finds it, and where it was read; or why there is none."""
    if (problem := unproven(evidence)) is not None:
        return problem
    run, model = evidence.fact(RunFacts), evidence.fact(LoggedModelFacts)
    several = isinstance(run, RunFacts) and logged_several_models(run)
    if asked.on_logged_model or (several and isinstance(model, LoggedModelFacts)):
        return _on_logged_model(asked, model) if isinstance(model, LoggedModelFacts) else nothing_to_judge(model)
    if not isinstance(run, RunFacts):
        return nothing_to_judge(run)
    return several_models(run) if several else _on_run(asked, run)


def _on_run(asked: Asked, run: RunFacts) -> tuple[Reading, str] | Finding:
    source = f"run {run.run_id}"
    reading = run.metrics.get(asked.metric)
    if reading is None:
        return _not_logged(source)
    place = f"{source} step {reading.step}"
    return asked.data.unused_by(run, place) or (reading, place)


def _on_logged_model(asked: Asked, model: LoggedModelFacts) -> tuple[Reading, str] | Finding:
    source = f"logged model {model.model_id}"
    logged: Sequence[Reading] = model.metrics.get(asked.metric, ())
    if not logged:
        return _not_logged(source)
    readings = asked.data.of(logged)
    if not readings:
        return asked.data.missing(source)
    if several := several_datasets(readings):
        return Finding(MetricCode.AMBIGUOUS_DATASET, several, source=source)
    chosen = latest(readings)
    if several := several_values(chosen):
        return Finding(MetricCode.AMBIGUOUS_VALUE, several, source=source)
    dataset = f" dataset {chosen[0].dataset_name} ({chosen[0].dataset_digest})" if chosen[0].dataset_name else ""
    return chosen[0], f"{source}{dataset} step {chosen[0].step}"


def _not_logged(source: str) -> Finding:
    return Finding(MetricCode.METRIC_MISSING, f"not logged on {source}", source=source, missing=True)


# --- whose it is ---------------------------------------------------------------------------------------------


def unproven(evidence: Evidence) -> Finding | None:
    """Where what the version was made from is broken, or another run made it."""
    return _broken(evidence) or _measured_on_other_run(evidence)


def several_models(run: RunFacts) -> Finding:
    observed = "the run logged several models, so its metrics may be another model's"
    return Finding(MetricCode.SEVERAL_MODELS, observed, source=f"run {run.run_id}")


def _broken(evidence: Evidence) -> Finding | None:
    """Who deletes what the version was made from must not hide by it that another run made it."""
    model = broken_lineage(evidence)
    if isinstance(model, Unreadable):
        observed = f"the logged model could not be read: {model.detail}"
        return Finding(CommonCode.UNREADABLE, observed, unreadable=True)
    return nothing_to_judge(model) if model is not None else None


def _measured_on_other_run(evidence: Evidence) -> Finding | None:
    """A version may name any run; where it has a logged model, the two must agree."""
    model, version = evidence.fact(LoggedModelFacts), evidence.fact(VersionFacts)
    if not isinstance(model, LoggedModelFacts) or not isinstance(version, VersionFacts):
        return None
    observed = contradiction(model, version, evidence.fact(RunFacts))
    source = f"logged model {model.model_id}"
    return Finding(MetricCode.MEASURED_ON_OTHER_RUN, observed, source=source) if observed else None
