"""run: the run behind the version can be relied on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import ClassVar, NamedTuple

from pydantic import Field

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence.evidence import Absent, Evidence, Needs, RunFacts, Unreadable
from reconciler.domain.evidence.lineage import Unproven, doubt_about_link
from reconciler.domain.fields import DurationField, Value
from reconciler.domain.times import CLOCKS_DIFFER, duration_text, from_millis, iso


class Problem(NamedTuple):
    code: FindingCode
    text: str


class RunCode(FindingCode):
    RUN_DELETED = "run_deleted", "the run is deleted"
    RUN_NOT_FINISHED = "run_not_finished", "the run's status is not FINISHED, or it has no end time"
    RUN_TOO_OLD = "run_too_old", "the run ended longer ago than `max_age`, or at a time in the future"
    LINK_UNPROVEN = "link_unproven", "it is not proven that the version comes from the run"


class RunTerms(Value):
    finished: bool = Field(True, strict=True, description="The run's status is FINISHED.")
    not_deleted: bool = Field(True, strict=True, description="The run is not deleted.")
    max_age: DurationField | None = Field(None, description="The longest time since the run's end.")
    linked: bool = Field(False, strict=True, description="The version must provably come from this run.")


class RunCheck(Check):
    """The run behind the version can be relied on."""

    kind: ClassVar[str] = "run"
    codes: ClassVar[type[FindingCode]] = RunCode
    remedy: ClassVar[str] = "register a version of a finished run, from the model that the run itself logged"
    example: ClassVar[str] = "run: {max_age: 30d, linked: true}"
    notes: ClassVar[str] = """\
`linked` is proven in one of two ways. What anybody may write, such as the run's id in a version, proves nothing.

- The version was made from a logged model (MLflow 3), the run names that model as its only output, and both belong to
  one experiment. A run that logged several models proves none of them: take the metric from the logged model instead.
- The version's source lies under the run's artifacts: `runs:/<run id>/…`, or the run's own artifact address. An address
  that could lead elsewhere (`..` or `//` in any spelling, another run's artifacts within) proves nothing.

`max_age` counts from the end time that whoever logged the run wrote. A run whose end is more than 5 minutes in the
future fails.

A copy is followed to its original, through at most 5 copies. If the registry does not show the run's outputs, the check
abstains."""

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
        return self.judged(evidence, now, CLOCKS_DIFFER)

    def judged(self, evidence: Evidence, now: datetime, ahead: timedelta) -> Finding:
        """`ahead`: how far ahead of us the clock may be by which the run ended."""
        run = evidence.fact(RunFacts)
        if not isinstance(run, RunFacts):
            return nothing_to_judge(run)
        doubt = doubt_about_link(run, evidence) if self.run.linked else None
        if isinstance(doubt, Unreadable):
            return nothing_to_judge(doubt)
        problems = list(self.problems_of(run, now, ahead))
        if isinstance(doubt, Unproven):
            problems.append(Problem(RunCode.LINK_UNPROVEN, doubt.detail))
        elif isinstance(doubt, Absent):
            if not problems:
                return nothing_to_judge(doubt)
            problems.append(Problem(doubt.code, doubt.detail))
        elif doubt is not None and not problems:
            return Finding(CommonCode.UNDETERMINED, doubt.detail, source=f"run {run.run_id}", unreadable=True)
        return self.found(run, problems)

    def problems_of(self, run: RunFacts, now: datetime, ahead: timedelta) -> Iterator[Problem]:
        """What the run itself is not as it must be; not whether it is the version's."""
        if self.run.not_deleted and run.lifecycle_stage == "deleted":
            yield Problem(RunCode.RUN_DELETED, "deleted")
        if self.run.finished and run.status != "FINISHED":
            yield Problem(RunCode.RUN_NOT_FINISHED, f"status {run.status or 'unknown'}")
        if self.run.max_age is not None:
            yield from self._age_problems(run, self.run.max_age, now, ahead)

    @staticmethod
    def _age_problems(run: RunFacts, max_age: timedelta, now: datetime, ahead: timedelta) -> Iterator[Problem]:
        ended = from_millis(run.end_time) if run.end_time is not None else None
        if ended is None:
            yield Problem(RunCode.RUN_NOT_FINISHED, "has no end time")
        elif now - ended > max_age:
            yield Problem(RunCode.RUN_TOO_OLD, f"ended {iso(ended)}, {duration_text(now - ended)} ago")
        elif ended - now > ahead:
            yield Problem(RunCode.RUN_TOO_OLD, f"ended {iso(ended)}, which is still to come")

    @staticmethod
    def found(run: RunFacts, problems: Sequence[Problem]) -> Finding:
        """The finding about a run with these problems; the first one gives its code."""
        source = f"run {run.run_id}"
        if not problems:
            return Finding(CommonCode.OK, f"{run.status}, {run.lifecycle_stage}", source=source)
        return Finding(problems[0].code, "; ".join(problem.text for problem in problems), source=source)
