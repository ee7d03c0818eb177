"""How a daemon looks at what holds a target."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Habits:
    """How a daemon looks.

    Args:
        full_look: how often everything is looked at, also what leaves no trace in a list of changes.
        lease: how long the others wait for a replica that looks and is not heard of any more.
        at_once: what takes a daemon several looks is done in one; for processes that make one pass.
        after_acts: what the acts of a pass moved is looked at when it ends, since no other may follow soon.
    """

    full_look: timedelta = timedelta(hours=1)
    lease: timedelta = timedelta(minutes=5)
    at_once: bool = False
    after_acts: bool = False
