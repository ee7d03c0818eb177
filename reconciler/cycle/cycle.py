"""The cycle, which lives as long as the process and makes one pass after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from time import monotonic
from typing import ClassVar

from reconciler.cycle.acting import Acting
from reconciler.cycle.asked import Asked
from reconciler.cycle.deciding import Deciding
from reconciler.cycle.due import Due
from reconciler.cycle.habits import Habits
from reconciler.cycle.happening import Event
from reconciler.cycle.judging_again import Backoff, JudgingAgain
from reconciler.cycle.observing import Observing
from reconciler.cycle.one_pass import Pass, Passed, Steps, Stopping, Terms
from reconciler.cycle.policy_in_force import PolicyInForce
from reconciler.cycle.reconsidering import Reconsidering
from reconciler.cycle.summary import CycleSummary, summary_of
from reconciler.cycle.waiting import Abstained, TakingTurns
from reconciler.domain.decision import Mode
from reconciler.failpoints import failpoint
from reconciler.ports import AuditLog, CycleNote, Operation, Registry


@dataclass(frozen=True, slots=True)
class Times:
    """Times of a cycle.

    Args:
        deadline: how long it may make calls; None: for ever.
        evidence_age: how old a decision may be that is carried out without being judged again.
        interval: from one cycle to the next.
        full_look: from one look at everything that holds a target to the next.
        look_after_acts: what a cycle moved is looked at when it ends, and not in the next one, which may be far off.
    """

    deadline: timedelta | None = None
    evidence_age: timedelta = timedelta(minutes=5)
    interval: timedelta = timedelta(minutes=1)
    full_look: timedelta = timedelta(hours=1)
    look_after_acts: bool = False


_SILENT_INTERVALS = 3
_SHORTEST_LEASE = timedelta(seconds=90)


class Cycle:
    """Passes over the ports. Make one for the life of the process; `run` is one pass.

    Raises from `run`: AuditUnavailable, with nothing done that is not recorded.
    """

    # What a pass is made of: a test replaces one to show that the suite would notice.
    making_passes: ClassVar[type[Pass]] = Pass
    deciding: ClassVar[type[Deciding]] = Deciding
    acting: ClassVar[type[Acting]] = Acting

    def __init__(
        self,
        registry: Registry,
        audit: AuditLog,
        *,
        stop: Callable[[], bool] = lambda: False,
        on_event: Callable[[Event], None] = lambda event: None,
        times: Times = Times(),
        everything_is_due: bool = False,
    ) -> None:
        self._registry = registry
        self._audit = audit
        self._stop = stop
        self._on_event = on_event
        self._times = times
        self._everything_is_due = everything_is_due
        self._backoff = Backoff()
        self._abstained = Abstained()
        # A replica that is not heard of for so long looks no more.
        lease = max(_SILENT_INTERVALS * times.interval, _SHORTEST_LEASE)
        habits = Habits(times.full_look, lease, at_once=everything_is_due, after_acts=times.look_after_acts)
        self._asked = Asked()
        self._observing = Observing(registry, audit.observations, habits, on_event, self._asked)
        # The first pass always writes the picture: what an earlier process left may be out of date.
        self._had_open = True
        self._claims_are_whole = False

    def run(self, in_force: PolicyInForce, mode: Mode, problem: str | None = None) -> CycleSummary:
        """One pass.

        Args:
            problem: shown beside the sentence in `status`, such as a refused reload.
        """
        started = monotonic()
        meter = self._registry.begin(self._times.deadline)
        paused = self._audit.paused()
        self._audit.keep_policy(in_force.digest, in_force.text)
        self._audit.operate(self._operation(in_force, mode, paused))
        if paused is not None:
            # Listing and judging go on; requests are decided again once acts are allowed.
            mode = Mode.OBSERVE
        if not self._claims_are_whole:
            self._audit.restore_claims(self._stop)
            self._claims_are_whole = True
        failpoint("policy kept")
        passed = self._pass(in_force, mode).run()
        if passed.still_open is not None:
            self._had_open = passed.still_open
        stuck = self._audit.stuck()
        measured = meter()
        summary = replace(
            _summary(passed, mode), paused=paused, stuck=stuck, bypasses=self._observing.open_bypasses(),
            calls=measured.calls, skew=measured.skew,
            duration=timedelta(seconds=monotonic() - started),
        )  # fmt: skip
        failpoint("cycle to be noted")
        self._audit.note_cycle(replace(_note(summary, in_force.digest, problem), looked=passed.looked))
        return summary

    def _operation(self, in_force: PolicyInForce, mode: Mode, paused: str | None) -> Operation:
        longest = self._times.deadline or timedelta()
        terms = mode, in_force.digest, in_force.file, in_force.loaded_by
        return Operation(*terms, self._times.interval, longest, paused)

    def _pass(self, in_force: PolicyInForce, mode: Mode) -> Pass:
        registry, audit, stopping = self._registry, self._audit, Stopping(self._stop)
        terms = Terms(in_force.policy.scope(), in_force.policy.excludes, mode, self._everything_is_due, self._had_open)
        due = Due(JudgingAgain(self._backoff, in_force, mode), TakingTurns(self._abstained, in_force, mode))
        deciding = self.deciding(registry, audit, in_force, mode, due, self._on_event)
        reconsidering = Reconsidering(registry, audit, in_force, mode, self._times.evidence_age)
        acting = self.acting(registry, audit, reconsidering, stopping, self._on_event)
        return self.making_passes(
            registry, audit, terms, stopping, Steps(self._asked, self._observing, due, deciding, acting)
        )


def _summary(passed: Passed, mode: Mode) -> CycleSummary:
    summary = replace(summary_of(mode, passed.happened), stopped=passed.stopped, oldest=passed.oldest)
    if passed.listing is None:
        return summary
    return replace(summary, open=len(passed.listing.requests), remark=passed.listing.remark)


def _note(summary: CycleSummary, digest: str, problem: str | None) -> CycleNote:
    return CycleNote(
        summary.sentence, summary.ok, summary.mode, digest, summary.duration, summary.skew, problem,
        registry_down=summary.unavailable is not None,
    )  # fmt: skip
