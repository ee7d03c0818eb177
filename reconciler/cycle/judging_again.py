"""Which open requests, of those that were decided and not acted on, are judged again in a pass.

At once: where what the list shows of the version, what holds the target, the policy or the mode is not what it was.
Else by backoff, since the list does not show what runs and models say; within a budget, so that many that are stuck
delay nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Final

from reconciler.cycle.grounds import Grounds
from reconciler.cycle.memory import Memory
from reconciler.cycle.policy_in_force import PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.domain.judgements import LastDecision
from reconciler.ports import Listed

FIRST_WAIT: Final = timedelta(minutes=1)
LONGEST_WAIT: Final = timedelta(minutes=15)
# By backoff, in one pass: the evidence of as many is read together.
READ_AGAIN_TOGETHER: Final = 50


@dataclass(frozen=True, slots=True)
class _Judged:
    """How a request was judged by this process."""

    grounds: Grounds
    wait: timedelta
    due: float


class Backoff(Memory[_Judged]):
    """How each request was judged by this process; after a start each is judged again once, within the budget."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self.clock = clock


class JudgingAgain:
    """What is judged again in one pass."""

    def __init__(self, backoff: Backoff, in_force: PolicyInForce, mode: Mode) -> None:
        self._backoff = backoff
        self._in_force = in_force
        self._mode = mode

    def due(
        self, listed: Sequence[Listed], last: Mapping[str, LastDecision], aside: Collection[str], everything: bool
    ) -> list[Listed]:
        """Of the listed requests that were decided and not acted on, those that are judged again now.

        Args:
            aside: keys that are set aside, for which only what triggers at once counts.
        """
        stuck = [entry for entry in listed if (found := last.get(entry.request.key)) and found.may_be_followed]
        self._backoff.keep_only({entry.request.key for entry in stuck})
        if everything:
            return stuck
        at_once = [entry for entry in stuck if self._triggered(entry, last[entry.request.key])]
        triggered = {entry.request.key for entry in at_once}
        waited = [
            entry
            for entry in stuck
            if entry.request.key not in triggered and entry.request.key not in aside and self._is_due(entry)
        ]
        waited.sort(key=lambda entry: self._due_at(entry))
        return at_once + waited[:READ_AGAIN_TOGETHER]

    def _triggered(self, entry: Listed, last: LastDecision) -> bool:
        before = self._backoff.of(entry.request.key)
        if before is None:
            now_acts = not last.acts and self._mode.acts_on(last.verdict)
            return now_acts or last.policy_digest != self._in_force.digest
        return self._grounds(entry).differ_from(before.grounds)

    def _is_due(self, entry: Listed) -> bool:
        return self._due_at(entry) <= self._backoff.clock()

    def _due_at(self, entry: Listed) -> float:
        before = self._backoff.of(entry.request.key)
        return float("-inf") if before is None else before.due

    def _grounds(self, entry: Listed) -> Grounds:
        return Grounds.of(entry, self._in_force, self._mode)

    def judged(self, entry: Listed, *, recorded: bool) -> timedelta:
        """Notes that the request was judged, and returns after how long its evidence is read again.

        Args:
            recorded: there is a new decision, after which it is looked at sooner again.
        """
        before = self._backoff.of(entry.request.key)
        wait = FIRST_WAIT if before is None or recorded else min(before.wait * 2, LONGEST_WAIT)
        due = self._backoff.clock() + wait.total_seconds()
        self._backoff.put(entry.request.key, _Judged(self._grounds(entry), wait, due))
        return wait
