"""Judging one check on evidence: passed, failed, or could not tell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import singledispatch

from reconciler.domain.evidence import (
    Absent,
    Evidence,
    LoggedModelFacts,
    Reading,
    RunFacts,
    Unreadable,
    VersionFacts,
)
from reconciler.domain.policy import (
    Check,
    DescriptionCheck,
    MetricCheck,
    OnMissing,
    Rule,
    RunCheck,
    TagCheck,
    compiled,
)
from reconciler.domain.request import Request
from reconciler.domain.text import visible
from reconciler.domain.times import duration_text, from_millis, iso
from reconciler.domain.verdict import CheckResult, Result

# MLflow stores infinities as the largest double (1.7976931348623157e308) and serves them as that number.
_AS_GOOD_AS_INFINITE = 1.797e308


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: `code` "ok" passes, `missing` and `unreadable` are told apart from a failure."""

    code: str
    observed: str
    number: float | None = None
    source: str = ""
    missing: bool = False
    unreadable: bool = False


def judge(rule: Rule, check: Check, request: Request, evidence: Evidence, now: datetime) -> CheckResult:
    """The result of one check of one rule; texts come out visible."""
    finding = find(check, evidence, now)
    result, code = _result(check, finding, now - request.requested_at)
    return CheckResult(
        rule=visible(rule.name),
        check=visible(check.title, 300),
        result=result,
        code=code,
        expected=visible(check.expected, 500),
        observed=visible(finding.observed, 500),
        observed_number=finding.number,
        source=visible(finding.source, 500),
    )


def _result(check: Check, finding: Finding, waited: timedelta) -> tuple[Result, str]:
    if finding.unreadable:
        return Result.UNKNOWN, "unreadable"
    if finding.code == "ok":
        return Result.PASSED, "ok"
    if finding.missing and waited < check.grace:
        return Result.UNKNOWN, "waiting"
    if finding.missing and check.on_missing is OnMissing.ABSTAIN:
        return Result.UNKNOWN, finding.code
    return Result.FAILED, finding.code


@singledispatch
def find(check: Check, evidence: Evidence, now: datetime) -> Finding:
    """What the evidence says of a check, before grace and on_missing."""
    raise TypeError(f"no check of kind {type(check).__name__}")


def _nothing(fact: Absent | Unreadable) -> Finding:
    if isinstance(fact, Unreadable):
        return Finding("unreadable", fact.detail, unreadable=True)
    return Finding(fact.code, fact.detail, missing=True)


# --- metric --------------------------------------------------------------------------------------------------


@find.register
def _metric(check: MetricCheck, evidence: Evidence, now: datetime) -> Finding:
    return _foreign(evidence) or (_on_run(check, evidence) if check.source == "run" else _on_model(check, evidence))


def _foreign(evidence: Evidence) -> Finding | None:
    """A version may name any run; where a logged model stands behind it, the two must agree."""
    model, version = evidence.logged_model, evidence.version
    if isinstance(model, Unreadable):
        return Finding("unreadable", f"the logged model could not be read: {model.detail}", unreadable=True)
    if not isinstance(model, LoggedModelFacts) or not isinstance(version, VersionFacts):
        return None
    if not version.run_id or model.source_run_id == version.run_id:
        return None
    made_by = model.source_run_id or "no run"
    observed = f"the version names run {version.run_id}, but its model was made by {made_by}"
    return Finding("measured_on_other_run", observed, source=f"logged model {model.model_id}")


def _on_run(check: MetricCheck, evidence: Evidence) -> Finding:
    run = evidence.run
    if not isinstance(run, RunFacts):
        return _nothing(run)
    reading = run.metrics.get(check.metric)
    if reading is None:
        return Finding("metric_missing", f"not logged on run {run.run_id}", source=f"run {run.run_id}", missing=True)
    return _value(check, reading, f"run {run.run_id} step {reading.step}")


def _on_model(check: MetricCheck, evidence: Evidence) -> Finding:
    model = evidence.logged_model
    if not isinstance(model, LoggedModelFacts):
        return _nothing(model)
    place = f"logged model {model.model_id}"
    readings = model.metrics.get(check.metric, ())
    if not readings:
        return Finding("metric_missing", f"not logged on {place}", source=place, missing=True)
    if check.dataset is not None:
        readings = tuple(one for one in readings if one.dataset_name == check.dataset)
        if not readings:
            return Finding("dataset_missing", f"not measured on dataset {check.dataset}", source=place, missing=True)
    datasets = sorted({one.dataset_name or "(none)" for one in readings})
    if len(datasets) > 1:
        observed = f"measured on several datasets ({', '.join(datasets)}): the policy must name one"
        return Finding("ambiguous_dataset", observed, source=place)
    return _latest(check, readings, place)


def _latest(check: MetricCheck, readings: tuple[Reading, ...], place: str) -> Finding:
    """The reading of the highest step and time, as MLflow reduces a run's metric."""
    last = max((one.step, one.timestamp) for one in readings)
    latest = [one for one in readings if (one.step, one.timestamp) == last]
    texts = sorted({one.text for one in latest})
    if len(texts) > 1:
        return Finding("ambiguous_value", f"several values at one step and time: {', '.join(texts)}", source=place)
    reading = latest[0]
    dataset = f" dataset {reading.dataset_name} ({reading.dataset_digest})" if reading.dataset_name else ""
    finding = _value(check, reading, f"{place}{dataset} step {reading.step}")
    if finding.code == "ok" and reading.value == 0 and not check.allow_zero:
        observed = f"{reading.text}, which may be a NaN: MLflow serves a logged model's NaN as 0.0"
        return Finding("zero_may_be_nan", observed, reading.value, finding.source)
    return finding


def _value(check: MetricCheck, reading: Reading, source: str) -> Finding:
    value = reading.value
    code = "not_a_number" if value is None else _code_of(check, value)
    finite = value if value is not None and math.isfinite(value) else None
    observed = {"not_finite": f"{reading.text}, not a finite number", "not_a_number": f"{reading.text!r}, no number"}
    if code == "out_of_bounds" and check.bounds is not None:
        low, high = check.bounds
        observed[code] = f"{reading.text}, outside of {low:g} to {high:g}"
    return Finding(code, observed.get(code, reading.text), finite, source)


def _code_of(check: MetricCheck, value: float) -> str:
    """Every comparison is written so that NaN fails it."""
    if not abs(value) < _AS_GOOD_AS_INFINITE:
        return "not_finite"
    if check.bounds is not None and not check.bounds[0] <= value <= check.bounds[1]:
        return "out_of_bounds"
    if check.min is not None and not value >= check.min:
        return "below_min"
    if check.max is not None and not value <= check.max:
        return "above_max"
    return "ok"


# --- description and tag -------------------------------------------------------------------------------------


@find.register
def _description(check: DescriptionCheck, evidence: Evidence, now: datetime) -> Finding:
    version = evidence.version
    if not isinstance(version, VersionFacts):
        return _nothing(version)
    length = len(version.description.head.strip()) if version.description.whole else version.description.length
    if not length:
        return Finding("description_missing", "none", source="version", missing=True)
    code = "ok" if length >= check.description.min_length else "description_too_short"
    return Finding(code, f"{length} characters", float(length), "version")


@find.register
def _tag(check: TagCheck, evidence: Evidence, now: datetime) -> Finding:
    version = evidence.version
    if not isinstance(version, VersionFacts):
        return _nothing(version)
    text = version.tags.get(check.tag)
    if text is None:
        return Finding("tag_missing", "not set", source="version", missing=True)
    if not text.whole and check.expected != "present":
        return Finding("too_long", f"{text.length} characters, too long to be compared", source="version")
    return Finding(_tag_code(check, text.head), f"{text.head[:200]!r}", source="version")


def _tag_code(check: TagCheck, value: str) -> str:
    if check.equals is not None:
        return "ok" if value == check.equals else "not_equal"
    if check.one_of is not None:
        return "ok" if value in check.one_of else "not_one_of"
    if check.matches is not None:
        return "ok" if _fully_matches(check.matches, value) else "no_match"
    return "ok"


def _fully_matches(pattern: str, value: str) -> bool:
    # RE2 works on UTF-8, which has no lone surrogates; a replaced one matches nothing that was meant.
    return compiled(pattern).fullmatch(value.encode("utf-8", "replace").decode()) is not None


# --- run -----------------------------------------------------------------------------------------------------


@find.register
def _run(check: RunCheck, evidence: Evidence, now: datetime) -> Finding:
    run = evidence.run
    if not isinstance(run, RunFacts):
        return _nothing(run)
    if check.run.linked and isinstance(evidence.logged_model, Unreadable):
        return _nothing(evidence.logged_model)
    problems = [*_state_problems(check, run), *_age_problems(check, run, now), *_link_problems(check, run, evidence)]
    if not problems:
        return Finding("ok", f"{run.status}, {run.lifecycle_stage}", source=f"run {run.run_id}")
    code = problems[0][0]
    return Finding(code, "; ".join(text for _, text in problems), source=f"run {run.run_id}")


def _state_problems(check: RunCheck, run: RunFacts) -> list[tuple[str, str]]:
    problems = []
    if check.run.not_deleted and run.lifecycle_stage == "deleted":
        problems.append(("run_deleted", "deleted"))
    if check.run.finished and run.status != "FINISHED":
        problems.append(("run_not_finished", f"status {run.status or 'unknown'}"))
    return problems


def _age_problems(check: RunCheck, run: RunFacts, now: datetime) -> list[tuple[str, str]]:
    if check.run.max_age is None:
        return []
    ended = from_millis(run.end_time) if run.end_time is not None else None
    if ended is None:
        return [("run_not_finished", "has no end time")]
    too_old = now - ended > check.run.max_age
    return [("run_too_old", f"ended {iso(ended)}, {duration_text(now - ended)} ago")] if too_old else []


def _link_problems(check: RunCheck, run: RunFacts, evidence: Evidence) -> list[tuple[str, str]]:
    if not check.run.linked or _linked(run, evidence):
        return []
    return [("link_unproven", "nothing proves that the version comes from this run")]


def _linked(run: RunFacts, evidence: Evidence) -> bool:
    """By the logged model's own run, or by a source under the run's artifacts, which the registrant cannot fake."""
    if isinstance(evidence.logged_model, LoggedModelFacts):
        return evidence.logged_model.source_run_id == run.run_id
    if not isinstance(evidence.version, VersionFacts):
        return False
    source, root = evidence.version.source, run.artifact_uri.rstrip("/")
    under_root = bool(root) and (source == root or source.startswith(root + "/"))
    return under_root or source.startswith(f"runs:/{run.run_id}/")
