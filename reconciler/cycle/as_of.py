"""As of when something is known of what holds a target: as far as the looks that showed it were whole."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from reconciler.domain.holding.looks import Kind, Look
from reconciler.domain.holding.tenures import Ended, Sign
from reconciler.domain.place import Place
from reconciler.ports.observations import AsOf, Watch


def as_of_after(watch: Watch, look: Look, among: Collection[Kind]) -> AsOf:
    """`among`: of what is not looked at any more nothing is known as of a time."""
    kinds = {**watch.as_of.kinds, **{kind: watch.now - ago for kind, ago in look.as_of.items()}}
    kinds = {kind: moment for kind, moment in kinds.items() if kind in among}
    everything = watch.as_of.everything if look.everything is None else watch.now - look.everything
    return AsOf(kinds, everything, look.aliases_take or watch.as_of.aliases_take)


def last_seen_with(watch: Watch, ended: Ended) -> datetime:
    """What was deleted or renamed is missing from a list of changes, so only a full look has seen it.

    Where the database's clock was set back, what explains an end may have an earlier time than the last look.
    """
    tenure = ended.tenure
    if tenure.last_seen is not None:
        return tenure.last_seen
    by_name = ended.sign in {Sign.DELETED, Sign.RENAMED} and tenure.place.target.is_stage
    as_of = watch.as_of.everything if by_name else watch.as_of.kinds.get(Kind.of(tenure.place.target))
    return min(max(tenure.since, as_of or tenure.since), watch.now)


def last_seen_without(watch: Watch, look: Look, place: Place) -> datetime | None:
    """`look`: the one that shows it first. A round that skipped the model says nothing of it."""
    as_of = watch.as_of.kinds.get(Kind.of(place.target))
    if place.model in look.apart and not place.target.is_stage:
        as_of = None if as_of is None or watch.as_of.everything is None else min(as_of, watch.as_of.everything)
    if as_of is None:
        return None
    if not place.target.is_stage and place.model in look.skipped:
        as_of = min(as_of, watch.now - look.skipped[place.model])
    return min(as_of, watch.now)
