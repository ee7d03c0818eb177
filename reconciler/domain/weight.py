"""How much an event matters to the daemon's operator."""

from __future__ import annotations

from enum import Enum


class Weight(Enum):
    """EXPECTED: shown only for a cycle run by hand. STUCK: it failed again and again, or for good."""

    EXPECTED = "expected"
    HAPPENED = "happened"
    FAILED = "failed"
    STUCK = "stuck"


NORMAL = Weight.HAPPENED
# As `stuck` counts: the same failure this many times in a row.
_TIMES = 3


def of_failure(before: int, *, reported_by_cycle: bool = False) -> Weight:
    """The weight of a failure after `before` others. `reported_by_cycle`: the cycle's own line reports it already."""
    if reported_by_cycle:
        return Weight.EXPECTED
    return Weight.STUCK if before + 1 >= _TIMES else Weight.FAILED
