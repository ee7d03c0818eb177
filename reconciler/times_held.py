"""For how long the versions of a batch of requests have held the stages and aliases that checks name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from reconciler.domain.evidence.evidence import Answer, Evidence, TenureFacts, Unreadable, VersionFacts
from reconciler.domain.evidence.tenure_facts import TimeHeld
from reconciler.domain.holding.baselines import HeldNow, Holding
from reconciler.domain.place import Place
from reconciler.domain.request import Request
from reconciler.domain.target import Target
from reconciler.ports import HoldersNow, Registry
from reconciler.ports.observations import Arrivals

_NO_DATABASE: Final = "no audit database was asked"
_NEVER_SEEN: Final = "no look has seen it there; the daemon looks in each cycle"

# A request, its version, and the targets that are asked about.
_Asking = tuple[Request, VersionFacts, frozenset[Target]]


def times_held(
    registry: Registry, record: Arrivals | None, asking: Sequence[tuple[Request, frozenset[Target]]],
    read: Mapping[str, Evidence],
) -> Mapping[str, Answer]:  # fmt: skip
    """By key, of the requests whose checks ask. Asks nothing where none does.

    Args:
        record: as of `judging.judge_batch`.
        read: the evidence of all, by key: it shows the stage of each version.

    Raises:
        RegistryError: the registry could not be queried at all.
        AuditUnavailable: the database did not answer.
    """
    shown = [
        (request, version, targets)
        for request, targets in asking
        if targets and isinstance(version := read[request.key].fact(VersionFacts), VersionFacts)
    ]
    aliases = {(request.model, target) for request, _, targets in shown for target in targets if not target.is_stage}
    named = registry.held_now(aliases) if aliases else {}
    holdings = [one for asked in shown for one in _holdings(asked, named)]
    times = record.times_held(holdings) if record is not None and holdings else {}
    unknown = _NO_DATABASE if record is None else _NEVER_SEEN
    return {asked[0].key: _answer(asked, named, times, unknown) for asked in shown}


def _holdings(asked: _Asking, named: HoldersNow) -> Iterator[Holding]:
    """Those of the targets that the version holds now."""
    request, version, targets = asked
    for target in sorted(targets):
        if not target.is_stage:
            held = named[request.model, target]
            yield from (one for one in _of(held) if one.place.version == request.version)
        elif version.current_stage == target.name:
            yield Holding(request.place._replace(target=target), version.creation_timestamp)


def _of(held: HeldNow | Unreadable) -> Sequence[Holding]:
    return () if isinstance(held, Unreadable) else held.versions


def _answer(asked: _Asking, named: HoldersNow, times: Mapping[Place, TimeHeld], unknown: str) -> Answer:
    request, _, targets = asked
    for target in sorted(targets):
        held = named.get((request.model, target))
        if isinstance(held, Unreadable):
            return Unreadable(f"what holds {target} could not be read: {held.detail}")
    holds = {one.place.target: one.place for one in _holdings(asked, named)}
    return TenureFacts(
        {
            str(target): times.get(holds[target], TimeHeld(True, why=unknown)) if target in holds else TimeHeld(False)
            for target in sorted(targets)
        }
    )
