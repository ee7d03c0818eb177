"""stage: the version comes from a stage, or an alias, and has held it for long enough."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import ClassVar

from pydantic import Field

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import AbsenceCode, CommonCode, FindingCode
from reconciler.domain.evidence.evidence import Absent, Evidence, Needs, TenureFacts, Unreadable, VersionFacts
from reconciler.domain.evidence.tenure_facts import TimeHeld
from reconciler.domain.fields import DurationField, TargetField
from reconciler.domain.mistakes import Mistake
from reconciler.domain.times import duration_text, iso


class StageCode(FindingCode):
    NOT_AT_STAGE = "not_at_stage", "the version does not hold the stage or alias that it has to come from"


class StageCheck(Check):
    """The version comes from a stage, or from an alias, and has held it for some time."""

    kind: ClassVar[str] = "stage"
    of_holders: ClassVar[bool] = False
    codes: ClassVar[type[FindingCode]] = StageCode
    remedy: ClassVar[str] = "see that the version is there, and wait until looks have seen it there for long enough"
    example: ClassVar[str] = "{stage: Staging, held_for: 7d}"
    notes: ClassVar[str] = """\
The registry says where the version is, when the request is judged. Only the audit database says since when: a time that
a registry claims proves nothing. The time counts from the first look of a daemon that saw the version there
(`first_seen_with` of its tenure) to the last one, by the database's clock. For a version that left and came back, it
starts again. A look says only what it saw: if a version left and came back between two looks, or while no daemon ran,
nobody saw that, and the time goes on.

Until the version has been there long enough, the verdict is an abstention (`held_too_short`) that says from when on it
passes, and the request is judged again, as with a `window`. A request that fails another check is rejected all the
same. The verdict is also an abstention (`not_observed`) if no look has seen the version there, if the last look is
older than `seen_within`, or if the audit database cannot be asked.

The daemon looks at a stage or alias named with `held_for` from the first cycle with this policy on, even if no rule
governs it. The time counts from then, so a new policy makes everybody wait once. This does not make the target
governed: nothing there is a bypass, a baseline or an exception, and its tenures are in `observations` (`sign` is
`watched`), not in `tenures`. The time starts again if a rule begins or ceases to govern the target, or if the audit
database is set up again. It goes on if the model is renamed.

`seen_within` must be longer than the time between two looks: between cycles, or runs of `once`; for an alias, between
rounds over all models; on Databricks, between sweeps. In `fleet` this check says nothing, since a version that holds a
target has already left where it came from."""

    stage: TargetField = Field(description="A stage, or an alias with @, that the version holds.", examples=["Staging"])
    held_for: DurationField | None = Field(None, description="The shortest time, as looks saw it.")
    seen_within: DurationField = Field(
        timedelta(days=1), description="How old the last look that saw it there may be. Needs `held_for`."
    )

    def mistakes(self) -> Iterator[Mistake]:
        if self.held_for == timedelta(0):
            yield Mistake("held_for must be positive: leave it out to ask only where the version is")
        if self.held_for is None and "seen_within" in self.model_fields_set:
            yield Mistake("seen_within says how old a look may be: it requires held_for", lacks=True)
        if self.seen_within == timedelta(0):
            yield Mistake("seen_within must be positive: no look is of this very moment")

    @property
    def title(self) -> str:
        return f"stage {self.stage}"

    @property
    def expected(self) -> str:
        where = f"in {self.stage}" if self.stage.is_stage else f"named by {self.stage}"
        return where if self.held_for is None else f"{where} for at least {duration_text(self.held_for)}"

    def needs(self) -> Needs:
        target = frozenset({self.stage})
        if self.held_for is not None:
            return Needs(held=target, held_for=target)
        # A version shows its stage by itself.
        return Needs() if self.stage.is_stage else Needs(held=target)

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        version = evidence.fact(VersionFacts)
        if not isinstance(version, VersionFacts):
            return nothing_to_judge(version)
        if self.stage.is_stage and version.current_stage != self.stage.name:
            return Finding(StageCode.NOT_AT_STAGE, f"in {version.current_stage}", source="version")
        if self.stage.is_stage and self.held_for is None:
            return Finding(CommonCode.OK, f"in {version.current_stage}", source="version")
        tenure = evidence.fact(TenureFacts)
        if not isinstance(tenure, TenureFacts):
            return _unknown(tenure)
        held = tenure.targets.get(str(self.stage))
        if held is None:
            return Finding(CommonCode.UNDETERMINED, f"{self.stage} was not looked up", unreadable=True)
        if not held.holds:
            return Finding(StageCode.NOT_AT_STAGE, f"{self.stage} does not name it", source="version")
        if self.held_for is None:
            return Finding(CommonCode.OK, f"named by {self.stage}", source="version")
        return self._of_time(held, self.held_for)

    def _of_time(self, held: TimeHeld, held_for: timedelta) -> Finding:
        """The texts say the same in each cycle, so that a request which waits is written once."""
        if held.since is None or held.seen_at is None or held.asked_at is None:
            why = held.why or "no look has seen it there"
            return Finding(CommonCode.NOT_OBSERVED, f"since when is not on record: {why}", unreadable=True)
        source = "tenures" if held.tenure_id is None else f"tenure {held.tenure_id}"
        since = f"first seen there at {iso(held.since)}"
        if held.asked_at - held.seen_at > self.seen_within:
            last = f"{since} and last at {iso(held.seen_at)}, longer ago than {duration_text(self.seen_within)}"
            told = f"{last}: see with `status` that a daemon looks"
            return Finding(CommonCode.NOT_OBSERVED, told, source=source, unreadable=True)
        if held.seen_at - held.since < held_for:
            told = f"{since}; it passes from {iso(held.since + held_for)} on"
            return Finding(CommonCode.HELD_TOO_SHORT, told, source=source, unreadable=True)
        return Finding(CommonCode.OK, f"{since} and last at {iso(held.seen_at)}", source=source)


def _unknown(tenure: Absent | Unreadable) -> Finding:
    """What was not asked for is not taken for absent: it is evidence of an earlier policy."""
    if isinstance(tenure, Absent) and tenure.code == AbsenceCode.NOT_ASKED:
        return Finding(CommonCode.UNDETERMINED, "what it holds was not looked up", unreadable=True)
    return nothing_to_judge(tenure)
