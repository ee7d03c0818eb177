"""What could not be read for a while: a model that the account may read now, and holders of one that it may not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from reconciler.domain.holding.looks import Kind, Look, Tenure
from reconciler.domain.holding.shown import GROUPS, Shown
from reconciler.domain.holding.tenures import Holders
from reconciler.domain.place import Place
from reconciler.ports import Registry
from reconciler.ports.observations import Known, Observations, Watch

# Of the registry's clock, which is told in whole seconds, and of servers that differ.
_CLOSE: Final = timedelta(minutes=1)


class Appearing:
    """Remembers which models were shown, in this process and on record. Every method that writes takes the fence.

    What holds a target in a model that no look has shown, though it is older than a look that showed every model, was
    there before and could not be read. Whoever was shown once, under whatever name, is never taken for that, so
    that neither a right that is withdrawn for a while nor a new name hides a change. Nor is a version that changed
    since: a model that nobody looked at may have got a name that a rule governs.
    """

    def __init__(self, registry: Registry, record: Observations) -> None:
        self._registry = registry
        self._record = record
        self._shown = Shown()
        self._unsaved: set[int] = set()

    def know(self, known: Known) -> None:
        self._shown, self._unsaved = Shown(known.shown), set()

    def appears(self, watch: Watch, look: Look, place: Place, created: int | None) -> bool:
        """Whether a place was held before, and could not be read then. `created`: of the version, or of the model.

        Raises RegistryError: the version is read, where the look does not show when it changed.
        """
        if not self._shown.whole or created is None or look.clock is None or self._shown.has(place, created):
            return False
        as_of = [watch.as_of.everything, watch.as_of.kinds.get(Kind.of(place.target))]
        moments = [moment for moment in as_of if moment is not None]
        if len(moments) < len(as_of):
            return False
        # By the registry's clock of now, when everything had been seen; how long ago that is, the database's tells.
        then = timedelta(milliseconds=look.clock) - max(watch.now - min(moments), timedelta()) - _CLOSE
        return timedelta(milliseconds=created) < then and self._changed(look, place) < then

    def _changed(self, look: Look, place: Place) -> timedelta:
        """When the version changed last, by the registry's clock."""
        seen = look.version_at(place)
        if seen is None or seen.changed is None:
            seen = self._registry.look_at([place.of_the_version]).version_at(place)
        return timedelta.max if seen is None or seen.changed is None else timedelta(milliseconds=seen.changed)

    def keep(self, watch: Watch, look: Look) -> bool:
        """After what the look shows is on record. False: another replica has the lease."""
        self._unsaved |= self._shown.add(look)
        if look.everything is not None and not self._shown.whole:
            self._shown.whole, self._unsaved = True, set(range(GROUPS))
        if not (self._unsaved and self._shown.whole):
            return True
        texts = {group: self._shown.text(group) for group in self._unsaved}
        if self._record.keep_shown(watch.fence, texts) is None:
            return False
        self._unsaved = set()
        return True


def hidden_in(look: Look, holders: Holders) -> list[Tenure]:
    """Open tenures whose models the account may not read any more, or which are gone: some servers say the same."""
    tenures = (holders.at(place) for place in look.refused)
    return [tenure for tenure in tenures if tenure is not None and not tenure.hidden]


def seen_again(looks: Sequence[Look], holders: Holders) -> list[Tenure]:
    """Those that one of the looks shows, which could not be read before."""
    return [tenure for tenure in holders.hidden if any(_shows(look, tenure.place) for look in looks)]


def _shows(look: Look, place: Place) -> bool:
    if place.target.is_stage:
        return look.version_at(place) is not None
    return any(one.model == place.model for one in look.models)


def last_seen(watch: Watch, tenure: Tenure, kind: Kind | None = None) -> datetime:
    """The last look at everything, which it was in: others show what changed, and this one was refused.

    `kind`: of what rounds show, of which the last one did not show it, and the one before did.
    """
    as_of = watch.as_of.everything if kind is None else watch.as_of.kinds.get(kind)
    return tenure.since if as_of is None else max(tenure.since, min(as_of, watch.now))
