"""Which open requests a pass judges: those that were never decided, and those that are judged again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from reconciler.cycle.judging_again import JudgingAgain
from reconciler.cycle.waiting import TakingTurns
from reconciler.domain.judgements import LastDecision
from reconciler.ports import Listed


@dataclass(frozen=True, slots=True)
class Due:
    """What is due in one pass. `again`: of what was decided. `turns`: of what never was."""

    again: JudgingAgain
    turns: TakingTurns

    def among(
        self, listed: Sequence[Listed], last: Mapping[str, LastDecision], aside: Collection[str], everything: bool
    ) -> tuple[list[Listed], Mapping[str, str]]:
        """Those that are judged now, in the order in which they were asked for, and those that wait as before.

        The others: by key, the code of what they wait for.

        Args:
            last: the newest decision about each, by key.
            aside: keys whose next attempt is not due.
            everything: whoever runs a cycle by hand wants all of them judged.
        """
        undecided = [entry for entry in listed if entry.request.key not in last and entry.request.key not in aside]
        again = self.again.due(listed, last, aside, everything)
        later = {} if everything else self.turns.not_now(undecided)
        now = [entry for entry in undecided if entry.request.key not in later]
        return sorted(now + again, key=lambda entry: entry.request.order), later
