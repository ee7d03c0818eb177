"""run: the run behind the version can be relied on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar

from pydantic import Field

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence import Evidence, LoggedModelFacts, Needs, RunFacts, Unreadable, VersionFacts
from reconciler.domain.fields import DurationField, Value
from reconciler.domain.times import duration_text, from_millis, iso

Problem = tuple[FindingCode, str]


class RunCode(FindingCode):
    RUN_DELETED = "run_deleted", "the run is deleted"
    RUN_NOT_FINISHED = "run_not_finished", "the run's status is not FINISHED, or it has no end time"
    RUN_TOO_OLD = "run_too_old", "the run ended longer ago than `max_age`"
    LINK_UNPROVEN = "link_unproven", "nothing proves that the version comes from the run"


class RunTerms(Value):
    finished: bool = Field(True, strict=True, description="The run's status is FINISHED.")
    not_deleted: bool = Field(True, strict=True, description="The run is not deleted.")
    max_age: DurationField | None = Field(None, description="Since the run's end.")
    linked: bool = Field(False, strict=True, description="The version must provably come from this run.")


class RunCheck(Check):
    """The run behind the version can be relied on."""

    kind: ClassVar[str] = "run"
    codes: ClassVar[type[FindingCode]] = RunCode
    notes: ClassVar[str] = (
        "`linked` is proven by the run of the version's logged model, or by a source under the run's artifacts."
    )

    run: RunTerms

    @property
    def title(self) -> str:
        return "run"

    @property
    def expected(self) -> str:
        terms = self.run
        words = ["finished"] * terms.finished + ["not deleted"] * terms.not_deleted
        words += [f"ended within {duration_text(terms.max_age)}"] if terms.max_age is not None else []
        return ", ".join(words + ["linked to the version"] * terms.linked) or "there"

    def needs(self) -> Needs:
        # The logged model shows whether the run is really the version's.
        return Needs(run=True, logged_model=True)

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        run = evidence.fact(RunFacts)
        if not isinstance(run, RunFacts):
            return nothing_to_judge(run)
        model = evidence.fact(LoggedModelFacts)
        if self.run.linked and isinstance(model, Unreadable):
            return nothing_to_judge(model)
        problems = [*self._state_problems(run), *self._age_problems(run, now), *self._link_problems(run, evidence)]
        if not problems:
            return Finding(CommonCode.OK, f"{run.status}, {run.lifecycle_stage}", source=f"run {run.run_id}")
        first_code = problems[0][0]
        return Finding(first_code, "; ".join(text for _, text in problems), source=f"run {run.run_id}")

    def _state_problems(self, run: RunFacts) -> Iterator[Problem]:
        if self.run.not_deleted and run.lifecycle_stage == "deleted":
            yield RunCode.RUN_DELETED, "deleted"
        if self.run.finished and run.status != "FINISHED":
            yield RunCode.RUN_NOT_FINISHED, f"status {run.status or 'unknown'}"

    def _age_problems(self, run: RunFacts, now: datetime) -> Iterator[Problem]:
        if self.run.max_age is None:
            return
        ended = from_millis(run.end_time) if run.end_time is not None else None
        if ended is None:
            yield RunCode.RUN_NOT_FINISHED, "has no end time"
        elif now - ended > self.run.max_age:
            yield RunCode.RUN_TOO_OLD, f"ended {iso(ended)}, {duration_text(now - ended)} ago"

    def _link_problems(self, run: RunFacts, evidence: Evidence) -> Iterator[Problem]:
        if self.run.linked and not _is_linked(run, evidence):
            yield RunCode.LINK_UNPROVEN, "nothing proves that the version comes from this run"


def _is_linked(run: RunFacts, evidence: Evidence) -> bool:
    """By the logged model's own run, or by a source under the run's artifacts, which the registrant cannot fake."""
    model, version = evidence.fact(LoggedModelFacts), evidence.fact(VersionFacts)
    if isinstance(model, LoggedModelFacts):
        return model.source_run_id == run.run_id
    if not isinstance(version, VersionFacts):
        return False
    source, root = version.source, run.artifact_uri.rstrip("/")
    under_root = bool(root) and (source == root or source.startswith(root + "/"))
    return under_root or source.startswith(f"runs:/{run.run_id}/")
