"""One pass: settle what the last one left, list, judge, record, act, confirm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from reconciler.cycle.acting import ACTED_ON_TOGETHER, Acting
from reconciler.cycle.batches import batches
from reconciler.cycle.deciding import Deciding
from reconciler.cycle.happening import Happening
from reconciler.domain.decision import Mode
from reconciler.domain.scope import Scope
from reconciler.failpoints import failpoint
from reconciler.judging import JUDGED_TOGETHER
from reconciler.ports import AuditLog, FirstSeen, Listed, Listing, Registry, RegistryError, Waiting


class Stopping:
    """Whether to stop; a pass that has begun to stop goes on stopping."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop
        self.seen = False

    def __call__(self) -> bool:
        self.seen = self.seen or self._stop()
        return self.seen


@dataclass(frozen=True, slots=True)
class Passed:
    """What a pass did.

    `listing` is None where the registry could not be listed; `still_open` None where the picture of open requests was
    not brought up to date.
    """

    happened: Sequence[Happening]
    stopped: bool
    listing: Listing | None = None
    oldest: timedelta = timedelta()
    still_open: bool | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a pass goes by. `had_open`: the picture of open requests, as an earlier pass left it, is not empty."""

    scope: Scope
    mode: Mode
    everything_is_due: bool
    had_open: bool


class Pass:
    """Made for one pass. Its steps return what happened; it keeps that in order, whatever ends the pass.

    Raises from `run`: AuditUnavailable, with nothing done that is not recorded.
    """

    def __init__(
        self, registry: Registry, audit: AuditLog, terms: Terms, stopping: Stopping, deciding: Deciding, acting: Acting
    ) -> None:
        self._registry = registry
        self._audit = audit
        self._terms = terms
        self._stopping = stopping
        self._deciding = deciding
        self._acting = acting
        self._happened: list[Happening] = []
        self._listing: Listing | None = None
        self._oldest = timedelta()
        self._still_open: bool | None = None

    def run(self) -> Passed:
        """One bad request delays only itself; an unreachable registry ends the pass."""
        try:
            self._settle()
            self._work_off(self._list())
        except RegistryError as error:
            self._happened.append(Happening(unavailable=str(error)))
        return Passed(self._happened, self._stopping.seen, self._listing, self._oldest, self._still_open)

    # --- settle ----------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Carries out what the last pass left, or a daemon that is gone."""
        handled: set[str] = set()
        while not self._stopping():
            claimed = self._audit.claim(ACTED_ON_TOGETHER, handled, self._terms.everything_is_due)
            if not claimed:
                return
            failpoint("claimed")
            handled |= {one.decision.decision_id for one in claimed}
            self._happened += self._acting.carry_out(claimed, fresh=False)

    # --- list ------------------------------------------------------------------------------------------------

    def _list(self) -> list[Listed]:
        """Every open request; what was typed by hand has its id and the time when it was first seen."""
        listing = self._registry.open_requests(self._terms.scope)
        typed = [one.request for one in listing.requests if not one.stamped]
        first = self._audit.first_seen(typed) if typed else {}
        listed = [one if one.stamped else _seen(one, first[one.request.key]) for one in listing.requests]
        failpoint("listed")
        self._listing = Listing(listed, listing.remark)
        self._oldest = self._age_of_the_oldest(listed)
        return listed

    def _age_of_the_oldest(self, listed: Sequence[Listed]) -> timedelta:
        if not listed:
            return timedelta()
        return max(self._audit.now() - min(one.request.requested_at for one in listed), timedelta())

    # --- judge, record, act, confirm -------------------------------------------------------------------------

    def _work_off(self, listed: Sequence[Listed]) -> None:
        undecided = self._undecided(listed)
        waiting: list[Waiting] = []
        for batch in batches(self._our_turn(self._due(undecided)), JUDGED_TOGETHER):
            if self._stopping():
                break
            # Others may have decided some of them while the last batch was carried out.
            still = self._undecided(batch) if len(undecided) > JUDGED_TOGETHER else batch
            decided = self._deciding.decide(still)
            failpoint("recorded")
            self._happened += decided.happened
            waiting += decided.waiting
            self._happened += self._acting.carry_out(decided.pending, fresh=True)
        self._keep_picture(listed, waiting)

    def _undecided(self, listed: Sequence[Listed]) -> list[Listed]:
        settled = self._audit.settled([one.request.key for one in listed], self._terms.mode) if listed else set()
        return sorted((one for one in listed if one.request.key not in settled), key=lambda one: one.request.order)

    def _due(self, listed: Sequence[Listed]) -> list[Listed]:
        if self._terms.everything_is_due or not listed:
            return list(listed)
        aside = self._audit.set_aside([one.request.key for one in listed])
        return [one for one in listed if one.request.key not in aside]

    def _our_turn(self, listed: Sequence[Listed]) -> list[Listed]:
        """The same requests, each daemon beginning elsewhere, so that several do not gather the same evidence."""
        if len(listed) <= JUDGED_TOGETHER:
            return list(listed)
        index, count = self._audit.share()
        first = len(listed) * index // count
        return [*listed[first:], *listed[:first]]

    # --- the picture of open requests ------------------------------------------------------------------------

    def _keep_picture(self, listed: Sequence[Listed], waiting: Sequence[Waiting]) -> None:
        if not listed and not self._terms.had_open:
            return
        # Whoever types the words of a resolved request again asks anew: nothing of the old one may be found then.
        resolved = {one.resolved for one in self._happened}
        still_open = [one.request for one in listed if one.request.key not in resolved]
        self._audit.reconcile_open(still_open, waiting)
        self._still_open = bool(still_open)
        if self._terms.mode is not Mode.OBSERVE:
            self._stamp(listed, {one.request.key for one in waiting})

    def _stamp(self, listed: Sequence[Listed], waiting: set[str]) -> None:
        """Gives what was typed by hand, and stays open, its id and time in the registry too."""
        for one in listed:
            if one.stamped or one.request.key not in waiting:
                continue
            try:
                self._registry.stamp(one.request)
            except RegistryError:
                # It keeps its id in the database; the stamp is tried again by the next cycle.
                self._happened.append(Happening(in_error=True))


def _seen(listed: Listed, first: FirstSeen) -> Listed:
    return replace(listed, request=listed.request.seen_first(first.id, first.at))
