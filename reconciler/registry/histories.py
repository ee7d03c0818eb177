"""Read what runs logged of a metric over their steps, page by page, and keep what checks ask for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from reconciler.domain.evidence.evidence import Evidence, HistoryFacts, Needs, Reading, RunFacts
from reconciler.domain.evidence.history_facts import History
from reconciler.ports import Listed, RegistryError, Unavailable
from reconciler.registry.facts import reading_of
from reconciler.registry.paging import rows_in_pages
from reconciler.registry.transport import Transport
from reconciler.registry.versions import API

# Servers answer with 25,000 at once, which takes a busy one longer than a call may; earlier ones know no pages.
_PAGE: Final = 5_000
# What a history may have: some of it would say nothing about the rest.
MOST_POINTS: Final = 1_000_000

# By run and metric, the steps that are asked for; none: the best alone.
_Steps = Mapping[tuple[str, str], set[int]]


def with_histories(
    tracking: Transport, evidence: Mapping[str, Evidence], wanted: Sequence[tuple[Listed, Needs]]
) -> dict[str, Evidence]:
    """The evidence, by key, with the histories that checks ask for; each is read once, and none where no check asks."""
    read = {place: _read(tracking, *place, steps) for place, steps in _asked(evidence, wanted).items()}
    found = dict(evidence)
    for listed, needs in wanted:
        key = listed.request.key
        run = found[key].fact(RunFacts)
        if needs.histories and isinstance(run, RunFacts):
            metrics = {name: read[run.run_id, name] for name, _ in needs.histories if name in run.metrics}
            found[key] = found[key].answering(HistoryFacts, HistoryFacts(run.run_id, metrics))
    return found


def _asked(evidence: Mapping[str, Evidence], wanted: Sequence[tuple[Listed, Needs]]) -> _Steps:
    """Of metrics that the run has: whatever it lacks is missing in any case."""
    asked: dict[tuple[str, str], set[int]] = defaultdict(set)
    for listed, needs in wanted:
        run = evidence[listed.request.key].fact(RunFacts)
        if not isinstance(run, RunFacts):
            continue
        for name, step in needs.histories:
            if name in run.metrics:
                asked[run.run_id, name] |= set() if step is None else {step}
    return asked


def _read(tracking: Transport, run_id: str, name: str, steps: set[int]) -> History:
    try:
        return History.of(_readings(tracking, run_id, name), steps)
    except RegistryError as error:
        return History(why=f"its history could not be read: {error}")


def history_page(tracking: Transport, run_id: str, name: str, more: Mapping[str, str] = MappingProxyType({})) -> Any:
    """Of the readings in the order in which the server has them."""
    query = {"run_id": run_id, "metric_key": name, "max_results": _PAGE, **more}
    return tracking.get(f"{API}/metrics/get-history", query)


def _readings(tracking: Transport, run_id: str, name: str) -> Iterator[Reading]:
    """Raises Unavailable where there are too many."""
    rows = rows_in_pages(lambda more: history_page(tracking, run_id, name, more), "metrics")
    for number, row in enumerate(rows):
        if number == MOST_POINTS:
            raise Unavailable(f"it has more than {MOST_POINTS:,} points: log fewer, or judge the latest value")
        yield reading_of(row, run_id)
