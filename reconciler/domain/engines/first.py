"""What checks meant by engine 1, in the first releases. Decisions that it judged are judged again by this, for ever.

Kinds of check that are not named here mean today what they meant then.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.checks.description import DescriptionCheck, DescriptionCode
from reconciler.domain.checks.metric import MetricCheck, MetricCode
from reconciler.domain.checks.run import Problem, RunCheck, RunCode
from reconciler.domain.codes import CommonCode
from reconciler.domain.evidence.evidence import Evidence, LoggedModelFacts, RunFacts, Unreadable, VersionFacts
from reconciler.domain.evidence.shares import Bounds

_SHARES = frozenset({"accuracy", "precision", "recall", "auc", "f1"})
_WORD = re.compile(r"[a-z]+[0-9]*")


def expected(check: Check) -> str:
    if isinstance(check, DescriptionCheck):
        return f"at least {check.description.min_length} characters"
    return check.expected


def find(check: Check, evidence: Evidence, now: datetime) -> Finding:
    if isinstance(check, MetricCheck):
        return _find_metric(check, evidence)
    if isinstance(check, RunCheck):
        return _find_run(check, evidence, now)
    if isinstance(check, DescriptionCheck):
        return _find_description(check, evidence)
    return check.find(evidence, now)


# --- metric --------------------------------------------------------------------------------------------------


def _find_metric(check: MetricCheck, evidence: Evidence) -> Finding:
    foreign = _measured_on_other_run(evidence)
    if foreign is not None:
        return foreign
    judge = check.on_run if check.source == "run" else check.on_logged_model
    return judge(evidence, _bounds_of(check))


def _bounds_of(check: MetricCheck) -> Bounds | None:
    if check.names_bounds:
        return check.bounds
    return (0.0, 1.0) if _SHARES.intersection(_WORD.findall(check.metric.lower())) else None


def _measured_on_other_run(evidence: Evidence) -> Finding | None:
    """Only a logged model that was there, and its own word for its run."""
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


# --- run -----------------------------------------------------------------------------------------------------


def _find_run(check: RunCheck, evidence: Evidence, now: datetime) -> Finding:
    run = evidence.fact(RunFacts)
    if not isinstance(run, RunFacts):
        return nothing_to_judge(run)
    model = evidence.fact(LoggedModelFacts)
    if check.run.linked and isinstance(model, Unreadable):
        return nothing_to_judge(model)
    problems = [*check.problems_of(run, now, timedelta.max)]
    if check.run.linked and not _is_linked(run, evidence):
        problems.append(Problem(RunCode.LINK_UNPROVEN, "nothing proves that the version comes from this run"))
    return check.found(run, problems)


def _is_linked(run: RunFacts, evidence: Evidence) -> bool:
    """By the logged model's own word, or by how the source begins."""
    model, version = evidence.fact(LoggedModelFacts), evidence.fact(VersionFacts)
    if isinstance(model, LoggedModelFacts):
        return model.source_run_id == run.run_id
    if not isinstance(version, VersionFacts):
        return False
    source, root = version.source, run.artifact_uri.rstrip("/")
    under_root = bool(root) and (source == root or source.startswith(root + "/"))
    return under_root or source.startswith(f"runs:/{run.run_id}/")


# --- description ---------------------------------------------------------------------------------------------


def _find_description(check: DescriptionCheck, evidence: Evidence) -> Finding:
    """Characters of any kind, without blanks around the text; of a long text, its length."""
    version = evidence.fact(VersionFacts)
    if not isinstance(version, VersionFacts):
        return nothing_to_judge(version)
    text = version.description
    length = len(text.head.strip()) if text.whole else text.length
    if not length:
        return Finding(DescriptionCode.DESCRIPTION_MISSING, "none", source="version", missing=True)
    long_enough = length >= check.description.min_length
    code = CommonCode.OK if long_enough else DescriptionCode.DESCRIPTION_TOO_SHORT
    return Finding(code, f"{length} characters", float(length), "version")
