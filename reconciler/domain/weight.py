"""How much an event matters to whoever operates the daemon."""

from __future__ import annotations

from enum import Enum


class Weight(Enum):
    """EXPECTED: told only to whoever watches one cycle by hand. STUCK: it failed again and again, or for good."""

    EXPECTED = "expected"
    HAPPENED = "happened"
    FAILED = "failed"
    STUCK = "stuck"


NORMAL = Weight.HAPPENED
# As `stuck` counts: the same failure so often in a row.
_TIMES = 3


def of_failure(before: int, *, told_by_the_cycle: bool = False) -> Weight:
    """Of one more failure after so many. `told_by_the_cycle`: its own line says that the registry was not reached."""
    if told_by_the_cycle:
        return Weight.EXPECTED
    return Weight.STUCK if before + 1 >= _TIMES else Weight.FAILED
