"""What holds the targets of a batch of requests, for checks that compare with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reconciler.domain.evidence.evidence import Absent, Evidence, HolderFacts, Needs, Unreadable
from reconciler.domain.evidence.holder_facts import Arrival
from reconciler.domain.holding.baselines import Baseline, HeldNow, chosen, holder_facts, needs_of, no_baseline
from reconciler.domain.place import Place
from reconciler.domain.request import Request
from reconciler.ports import Listed, Registry
from reconciler.ports.observations import Arrivals

Needed = Sequence[tuple[Listed, Needs]]

_NO_DATABASE = Arrival(why="no audit database was asked how it came there")


@dataclass(frozen=True, slots=True)
class Baselines:
    """What each request that is compared is compared with, by its key; `to_read`: the evidence of these versions."""

    found: Mapping[str, tuple[Baseline, str] | Absent | Unreadable]
    to_read: Needed

    def known_to(self, evidence: Evidence, key: str, needs: Needs, read: Mapping[str, Evidence]) -> Evidence:
        """The evidence of a request with the holder in it; `read` is the evidence of all, by key."""
        found = self.found.get(key)
        if found is None:
            return evidence
        if isinstance(found, tuple):
            baseline, of_holder = found
            return evidence.answering(HolderFacts, holder_facts(baseline, read[of_holder], needs))
        return evidence.answering(HolderFacts, found)


def baselines(registry: Registry, record: Arrivals | None, needed: Needed) -> Baselines:
    """Asks nothing where no rule compares.

    Raises:
        AuditUnavailable: the database did not say how the holders came to hold.
    """
    compared = [(listed.request, needs) for listed, needs in needed if needs.holder]
    if not compared:
        return Baselines({}, ())
    requests = [request for request, _ in compared]
    found = _chosen(registry, record, requests, all_of=False)
    if more := [request for request in requests if found[request.key] is None]:
        found |= _chosen(registry, record, more, all_of=True)
    to_read: dict[Place, tuple[Listed, Needs]] = {}
    answers: dict[str, tuple[Baseline, str] | Absent | Unreadable] = {}
    for request, needs in compared:
        answer = found[request.key]
        assert answer is not None  # of all that hold it one is chosen
        if not isinstance(answer, Baseline):
            answers[request.key] = answer
            continue
        place = answer.holding.place
        first, before = to_read.get(place, (_as_listed(request, answer), Needs()))
        to_read[place] = first, Needs.together((before, needs_of(needs)))
        answers[request.key] = answer, first.request.key
    return Baselines(answers, tuple(to_read.values()))


def _chosen(
    registry: Registry, record: Arrivals | None, requests: Sequence[Request], *, all_of: bool
) -> dict[str, Baseline | Absent | Unreadable | None]:
    """By key; None where the newest holder does not do, and the others must be read."""
    held = registry.held_now({request.place.model_target for request in requests}, all_of=all_of)
    arrivals = _arrivals(record, [one for one in held.values() if isinstance(one, HeldNow)])
    return {request.key: _of(request, held[request.place.model_target], arrivals) for request in requests}


def _of(
    request: Request, held: HeldNow | Unreadable, arrivals: Mapping[Place, Arrival]
) -> Baseline | Absent | Unreadable | None:
    if isinstance(held, Unreadable):
        return Unreadable(f"what holds {request.target} could not be read: {held.detail}")
    baseline = chosen(request.version, held, arrivals)
    return no_baseline(request.version, held, request.target) if baseline is None and held.whole else baseline


def _arrivals(record: Arrivals | None, held: Sequence[HeldNow]) -> Mapping[Place, Arrival]:
    holdings = [holding for one in held for holding in one.versions]
    if record is None:
        return {one.place: _NO_DATABASE for one in holdings}
    return record.arrivals(holdings) if holdings else {}


def _as_listed(request: Request, baseline: Baseline) -> Listed:
    """The holder as if it were requested, so that its evidence is read with that of the batch."""
    version = baseline.holding.place.version
    return Listed(replace(request, version=version, id="", fingerprint="", comment=""), baseline.holding.shown)
