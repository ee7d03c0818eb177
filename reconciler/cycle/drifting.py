"""What changed of holders after they were approved: looked at after each look at everything, some holders a pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Final

from reconciler.cycle.happening import Tell, of_drift
from reconciler.domain.evidence.keeping import permitted
from reconciler.domain.holding.drift import changes_since, needs_again
from reconciler.domain.holding.looks import Tenure
from reconciler.domain.place import Place
from reconciler.domain.request import Request
from reconciler.ports import Listed, Registry, RegistryError
from reconciler.ports.observations import Drift, Observations, Watch

# So many holders a pass: each takes a call for its version, and a run or a logged model of many one together.
_TOGETHER: Final = 20
# Rows of one holder and look: somebody may write thousands of tags. The next look goes on.
_MOST_OF_ONE: Final = 100


class Drifting:
    """Which holders are still to be looked at. `at_once`: all of them in one pass."""

    def __init__(self, registry: Registry, record: Observations, tell: Tell, *, at_once: bool) -> None:
        self._registry = registry
        self._record = record
        self._tell = tell
        self._at_once = at_once
        self._left: dict[int, Place] = {}

    def begin(self, tenures: Iterable[Tenure]) -> None:
        """Everything was looked at: these are what holds a target now."""
        self._left |= {tenure.id: tenure.place for tenure in tenures}

    def forget(self, tenure_id: int) -> None:
        """It has ended."""
        self._left.pop(tenure_id, None)

    def go_on(self, watch: Watch, exclude: Sequence[str]) -> bool:
        """Looks at some. False: another replica has the lease."""
        while self._left:
            some = dict(list(self._left.items())[:_TOGETHER])
            for tenure_id in some:
                del self._left[tenure_id]
            drifts = list(self._drifts(some, exclude, watch.now))
            if drifts and self._record.drifted(watch.fence, drifts) is None:
                return False
            self._report(some, drifts)
            if not self._at_once:
                break
        return True

    def _drifts(self, some: dict[int, Place], exclude: Sequence[str], now: datetime) -> Iterator[Drift]:
        approved = self._record.approved(list(some))
        where = self._registry.uri, self._registry.workspace
        asked = {one.tenure_id: Request.as_if(*where, some[one.tenure_id], now) for one in approved}
        needs = {one.tenure_id: needs_again(one.judged) for one in approved}
        wanted = [(Listed(asked[id], None), needs[id]) for id in asked]
        try:
            read = self._registry.evidence(wanted, now) if wanted else {}
        except RegistryError:
            # The next look at everything tries again.
            return
        for one in approved:
            evidence = permitted(read[asked[one.tenure_id].key], needs[one.tenure_id], exclude)
            for change in islice(changes_since(one.judged, one.seen, evidence, exclude), _MOST_OF_ONE):
                yield Drift(one.tenure_id, one.decision_id, change)

    def _report(self, some: dict[int, Place], drifts: Sequence[Drift]) -> None:
        for tenure_id, place in some.items():
            changes = [one.change for one in drifts if one.tenure_id == tenure_id]
            if changes:
                self._tell(of_drift(place, tenure_id, changes))
