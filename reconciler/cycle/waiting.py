"""Which requests that wait, and were never decided, are judged again in a pass.

All of them, up to a budget. Beyond it they take turns, those first that were judged longest ago: thousands that wait
for a metric cost no more than the budget, and each is still looked at every few passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final, NamedTuple

from reconciler.cycle.grounds import Grounds
from reconciler.cycle.memory import Memory
from reconciler.cycle.policy_in_force import PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.ports import Listed, Waiting

# In one pass: fifty readings of evidence.
WAITING_READ_TOGETHER: Final = 2_500


class _Abstained(NamedTuple):
    grounds: Grounds
    code: str


class Abstained(Memory[_Abstained]):
    """What each request waits for, as this process judged it: the first was judged longest ago."""


class TakingTurns:
    """Requests that wait, in one pass."""

    def __init__(self, abstained: Abstained, in_force: PolicyInForce, mode: Mode) -> None:
        self._abstained = abstained
        self._in_force = in_force
        self._mode = mode

    def not_now(self, undecided: Sequence[Listed]) -> dict[str, str]:
        """Those that a later pass judges: by key, the code of what they wait for."""
        self._abstained.keep_only({entry.request.key for entry in undecided})
        beyond = len(undecided) - WAITING_READ_TOGETHER
        if beyond <= 0:
            return {}
        as_before = {entry.request.key for entry in undecided if self._is_as_before(entry)}
        newest_first = reversed(self._abstained.among(as_before))
        later = islice(newest_first, beyond)
        return {key: before.code for key in later if (before := self._abstained.of(key))}

    def _is_as_before(self, entry: Listed) -> bool:
        before = self._abstained.of(entry.request.key)
        return before is not None and not self._grounds(entry).differ_from(before.grounds)

    def _grounds(self, entry: Listed) -> Grounds:
        return Grounds.of(entry, self._in_force, self._mode)

    def waits(self, entry: Listed, waiting: Waiting) -> None:
        """Notes that the request was judged and is not decided."""
        # What could not be read is set aside for a time of its own.
        if not waiting.failed:
            self._abstained.put(entry.request.key, _Abstained(self._grounds(entry), str(waiting.code)))
