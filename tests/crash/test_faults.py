"""Network faults, database faults and people, at every third step; and mutants, to show that the suite would notice.

LONG_TESTS=1: at every step.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.cycle import Cycle
from reconciler.cycle.acting import Acting, Standings
from reconciler.cycle.acting import Attempt as ActAttempt
from reconciler.cycle.deciding import Deciding, New
from reconciler.cycle.happening import Happening
from reconciler.cycle.one_pass import Pass
from reconciler.domain.decision import Decision, Outcome, OutcomeKind
from reconciler.ports import Ending, Pending, Recorded, RegistryError, Standing
from reconciler.registry.transport import Transport
from tests.crash.conftest import LONG
from tests.crash.explore import Attempt, explore
from tests.databricks_double import workspace


def test_no_fault_at_any_step_breaks_a_promise(tmp_path: Path) -> None:
    with workspace() as held:
        cases = explore(held, tmp_path, Attempt(), every=1 if LONG else 3)
    assert cases > (300 if LONG else 100)


class ActsBeforeItRecords(Deciding):
    def _record(self, new: Sequence[New]) -> list[Recorded]:
        for judged in (self._judged(judgement, before) for judgement, before in new):
            early = Decision(
                str(uuid.uuid4()), datetime.now(UTC), judged.request, judged.verdict.kind, "", judged.mode,
                judged.policy_digest, "", False,
            )  # fmt: skip
            self._registry.act(early)
        return super()._record(new)


class RetriesPosts(Transport):
    def _write(self, method: str, path: str, body: Any, query: Any = None) -> Any:
        try:
            return super()._write(method, path, body, query)
        except RegistryError:
            return super()._write(method, path, body, query)


class CallsEverythingApplied(Acting):
    def _conclude(self, endings: Sequence[Ending]) -> list[Happening]:
        applied = [replace(one, outcome=replace(one.outcome, kind=OutcomeKind.APPLIED)) for one in endings]
        return super()._conclude(applied)


class SkipsTheReRead(Acting):
    def carry_out(self, pending: Sequence[Pending], *, fresh: bool, judged: bool = False) -> list[Happening]:
        self.fresh = fresh
        return super().carry_out(pending, fresh=fresh, judged=judged)

    def _read_again(self, batch: Sequence[Pending]) -> tuple[Standings, list[Happening]]:
        if not self.fresh:
            return super()._read_again(batch)
        return {one.decision.decision_id: Standing(open=True) for one in batch}, []


class TakesAnErrorForAnEnd(Acting):
    def _again(self, attempt: ActAttempt, detail: str) -> Happening:
        [concluded] = self._conclude([Ending(attempt.pending, Outcome(OutcomeKind.SUPERSEDED, detail))])
        return concluded


class ForgetsWhatTheLastCycleLeft(Pass):
    def _settle(self) -> None:
        pass


class ActsOnEachOfSeveral(Acting):
    def _one_per_place(self, pending: Sequence[Pending]) -> list[Pending]:
        return [one for one in pending for _ in range(2)]


def cycle_with(part: type[Any]) -> type[Cycle]:
    """A cycle with one part replaced, named after it."""
    [place] = [name for name in ("deciding", "acting", "making_passes") if issubclass(part, getattr(Cycle, name))]
    return type(part.__name__, (Cycle,), {place: part})


@pytest.mark.parametrize(
    "mutant",
    [
        Attempt(cycle=cycle_with(ActsBeforeItRecords)),
        Attempt(transport=RetriesPosts),
        Attempt(cycle=cycle_with(CallsEverythingApplied)),
        Attempt(cycle=cycle_with(SkipsTheReRead)),
        Attempt(cycle=cycle_with(TakesAnErrorForAnEnd)),
        Attempt(cycle=cycle_with(ForgetsWhatTheLastCycleLeft)),
        Attempt(cycle=cycle_with(ActsOnEachOfSeveral)),
    ],
    ids=lambda mutant: (mutant.cycle if mutant.cycle is not Cycle else mutant.transport).__name__,
)
def test_a_mutant_is_noticed(mutant: Attempt, tmp_path: Path) -> None:
    with workspace() as held, pytest.raises(AssertionError):
        explore(held, tmp_path, mutant, every=1 if LONG else 3)
