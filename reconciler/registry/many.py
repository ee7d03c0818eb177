"""Read many runs or logged models at once, by searches for their ids.

A run may have so many metrics that its server takes minutes to show it, or that it is larger than a reply may be. It
must not keep the others from being judged: whoever asked for it put it among them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from reconciler.domain.evidence.evidence import Absent, Unreadable
from reconciler.ports import NotFound, RegistryError
from reconciler.registry.errors import TooLarge
from reconciler.registry.paging import Row, rows_in_pages
from reconciler.registry.transport import Transport
from reconciler.registry.versions import API

# A page of logged models holds at most 50.
_CHUNK = 50
# With more experiments than this, their ids alone make a search heavier than single reads.
_MANY_EXPERIMENTS = 2000

# A row, or why there is none.
RowAnswer = Row | Absent | Unreadable
# Finds rows by ids and the ids of experiments.
Search = Callable[[Sequence[str], Sequence[str]], dict[str, RowAnswer]]
# Reads one by its id. Raises RegistryError; NotFound where there is none.
Read = Callable[[str], RowAnswer]

# So many that do not come are waited for, each as long as a call may take; then the server is taken to be ill.
_UNANSWERED = 3
_REMEMBERED = 1000


class Many:
    """Searches in every experiment, whose ids it remembers."""

    def __init__(self, tracking: Transport) -> None:
        self._tracking = tracking
        self._experiments: list[str] | None = None
        # Ids of what did not come when it was read by itself. It is left out of searches, and read last.
        self._heavy: set[str] = set()

    def found(self, ids: Sequence[str], search: Search) -> dict[str, RowAnswer]:
        """What searches find of `ids`. The ids that are missing from the result must be read one by one."""
        ids = [id for id in ids if id not in self._heavy]
        if len(ids) < 2:
            return {}
        found: dict[str, RowAnswer] = {}
        try:
            # A run may be newer than the remembered experiments; then they are read once more.
            for refresh in (False, True):
                missing = [id for id in ids if id not in found]
                known = self._experiments is not None
                experiments = self._experiment_ids(refresh) if missing else []
                if not experiments or len(experiments) > _MANY_EXPERIMENTS:
                    break
                for chunk in _chunks(missing):
                    found |= search(chunk, experiments)
                if not known:
                    break
        except RegistryError:
            # One of them may be why.
            return found
        return found

    def each(self, ids: Iterable[str], read: Read, absent: Callable[[str], Absent]) -> dict[str, RowAnswer]:
        """Each read by itself. After several that do not come the others are given up, as when a server is down."""
        found: dict[str, RowAnswer] = {}
        unanswered: list[str] = []
        for id in sorted(ids, key=self._heavy.__contains__):
            if len(unanswered) >= _UNANSWERED:
                found[id] = Unreadable(unanswered[-1])
                continue
            try:
                found[id] = read(id)
                self._heavy.discard(id)
            except NotFound:
                found[id] = absent(id)
            except RegistryError as error:
                found[id] = Unreadable(str(error))
                self._remember(id)
                # What is too large does come.
                unanswered += [] if isinstance(error, TooLarge) else [str(error)]
        return found

    def _remember(self, id: str) -> None:
        if len(self._heavy) >= _REMEMBERED:
            self._heavy.clear()
        self._heavy.add(id)

    def _experiment_ids(self, refresh: bool) -> list[str]:
        """Every experiment's id, remembered: a search for runs must name the experiments to search."""
        if self._experiments is None or refresh:
            self._experiments = self.read_experiments()
        return self._experiments

    def read_experiments(self) -> list[str]:
        everything = {"view_type": "ALL", "max_results": 1000}
        rows = rows_in_pages(
            lambda more: self._tracking.search(f"{API}/experiments/search", {**everything, **more}), "experiments"
        )
        # One more than the limit for searches: above it, each run is read by itself.
        return [str(row.get("experiment_id")) for row in itertools.islice(rows, _MANY_EXPERIMENTS + 1)]


def _chunks(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))
