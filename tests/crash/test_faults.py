"""Every network fault, database fault and person at every step; and mutants, to show that the suite would notice."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reconciler.cycle import Cycle, CycleSummary
from reconciler.domain.decision import Decision, Judged, OutcomeKind
from reconciler.ports import Pending, RegistryError, Standing
from reconciler.registry.transport import Transport
from tests.crash.explore import Attempt, explore
from tests.databricks_double import workspace


def test_no_fault_at_any_step_breaks_a_promise(tmp_path: Path) -> None:
    with workspace() as held:
        cases = explore(held, tmp_path, Attempt())
    assert cases > 150


class ActsBeforeItRecords(Cycle):
    def _record(self, judged: Judged, summary: CycleSummary) -> Pending | None:
        early = Decision(
            str(uuid.uuid4()), datetime.now(UTC), judged.request, judged.verdict.kind, "", judged.mode,
            judged.policy_digest, "", False,
        )  # fmt: skip
        self._registry.act(early)
        return super()._record(judged, summary)


class RetriesPosts(Transport):
    def _write(self, method: str, path: str, body: Any, query: Any = None) -> Any:
        try:
            return super()._write(method, path, body, query)
        except RegistryError:
            return super()._write(method, path, body, query)


class CallsEverythingApplied(Cycle):
    def _conclude(self, pending: Pending, kind: OutcomeKind, detail: str, summary: CycleSummary) -> None:
        super()._conclude(pending, OutcomeKind.APPLIED, detail, summary)


class SkipsTheReRead(Cycle):
    def _concluded(
        self, pending: Pending, standings: Mapping[str, Standing], summary: CycleSummary, may_have_acted: bool
    ) -> bool:
        return may_have_acted and super()._concluded(pending, standings, summary, may_have_acted)


class TakesAnErrorForAnEnd(Cycle):
    def _again(self, attempt: Any, said: str, summary: CycleSummary) -> None:
        self._conclude(attempt.pending, OutcomeKind.SUPERSEDED, said, summary)


class ForgetsWhatTheLastCycleLeft(Cycle):
    def _settle(self, summary: CycleSummary) -> None:
        pass


class ActsOnEachOfSeveral(Cycle):
    def _one_a_place(self, pending: Sequence[Pending]) -> list[Pending]:
        return [one for one in pending for _ in range(2)]


@pytest.mark.parametrize(
    "mutant",
    [
        Attempt(cycle=ActsBeforeItRecords),
        Attempt(transport=RetriesPosts),
        Attempt(cycle=CallsEverythingApplied),
        Attempt(cycle=SkipsTheReRead),
        Attempt(cycle=TakesAnErrorForAnEnd),
        Attempt(cycle=ForgetsWhatTheLastCycleLeft),
        Attempt(cycle=ActsOnEachOfSeveral),
    ],
    ids=lambda mutant: (mutant.cycle if mutant.cycle is not Cycle else mutant.transport).__name__,
)
def test_a_mutant_is_noticed(mutant: Attempt, tmp_path: Path) -> None:
    with workspace() as held, pytest.raises(AssertionError):
        explore(held, tmp_path, mutant)
