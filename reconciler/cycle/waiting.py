"""Which requests that wait, and were never decided, are judged again in a pass.

All of them, up to a budget. Beyond it they take turns, those first that were judged longest ago: thousands that wait
for a metric cost no more than the budget, and each is still looked at every few passes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from reconciler.cycle.grounds import Grounds
from reconciler.cycle.policy_in_force import PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.ports import Listed, Waiting

# In one pass: fifty readings of evidence.
WAITING_READ_TOGETHER: Final = 2_500


class _Abstained(NamedTuple):
    grounds: Grounds
    code: str


class Abstained:
    """What this process remembers of the requests that wait, from pass to pass; the first was judged longest ago."""

    def __init__(self) -> None:
        self._by_key: dict[str, _Abstained] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def of(self, key: str) -> _Abstained | None:
        return self._by_key.get(key)

    def put(self, key: str, abstained: _Abstained) -> None:
        self._by_key.pop(key, None)
        self._by_key[key] = abstained

    def among(self, keys: Collection[str]) -> list[str]:
        """Those of the keys that are remembered, judged longest ago first."""
        return [key for key in self._by_key if key in keys]

    def keep_only(self, keys: Collection[str]) -> None:
        """Forgets every other request."""
        self._by_key = {key: abstained for key, abstained in self._by_key.items() if key in keys}


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
        later = [key for key, _ in zip(newest_first, range(beyond), strict=False)]
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
