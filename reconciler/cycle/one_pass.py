"""One pass: settle what the last one left, list, judge, record, act, confirm."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from reconciler.cycle.acting import ACTED_ON_TOGETHER, Acting
from reconciler.cycle.asked import Asked
from reconciler.cycle.batches import batches
from reconciler.cycle.deciding import Deciding
from reconciler.cycle.due import Due
from reconciler.cycle.happening import Happening, of_unread
from reconciler.cycle.observing import Observing
from reconciler.cycle.resolving import Resolving
from reconciler.domain.decision import Mode
from reconciler.domain.judgements import LastDecision
from reconciler.domain.scope import Scope
from reconciler.failpoints import failpoint
from reconciler.judging import JUDGED_TOGETHER
from reconciler.ports import AuditLog, FirstSeen, Listed, Listing, Registry, RegistryError, Unread, Waiting
from reconciler.ports.observations import Looked

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Stopping:
    """Whether to stop; once true, it stays true."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop
        self.seen = False

    def __call__(self) -> bool:
        self.seen = self.seen or self._stop()
        return self.seen


@dataclass(frozen=True, slots=True)
class Passed:
    """What a pass did.

    `listing` is None where the registry could not be listed; `still_open` is None where the picture of open requests
    was not updated.
    """

    happened: Sequence[Happening]
    stopped: bool
    listing: Listing | None = None
    oldest: timedelta = timedelta()
    still_open: bool | None = None
    looked: Looked | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a pass.

    Args:
        excludes: globs over names that are kept out of the evidence.
        had_open: the picture of open requests, as an earlier pass left it, is not empty.
    """

    scope: Scope
    excludes: Sequence[str]
    mode: Mode
    everything_is_due: bool
    had_open: bool


@dataclass(frozen=True, slots=True)
class Steps:
    """What a pass is made of, beside its lists."""

    asked: Asked
    observing: Observing
    due: Due
    deciding: Deciding
    acting: Acting


class Pass:
    """A single pass. Its steps return what happened; it keeps that in order, whatever ends the pass.

    Raises from `run`: AuditUnavailable, with nothing done that is not recorded.
    """

    def __init__(self, registry: Registry, audit: AuditLog, terms: Terms, stopping: Stopping, steps: Steps) -> None:
        self._registry = registry
        self._audit = audit
        self._terms = terms
        self._stopping = stopping
        self._observing = steps.observing
        self._due = steps.due
        self._deciding = steps.deciding
        self._acting = steps.acting
        self._asked = steps.asked
        self._resolving = Resolving(registry, audit, steps.asked)
        self._happened: list[Happening] = []
        self._listing: Listing | None = None
        self._unread: Sequence[Unread] = ()
        self._oldest = timedelta()
        self._asked_at = _LONG_AGO
        self._still_open: bool | None = None
        self._looked: Looked | None = None

    def run(self) -> Passed:
        """One bad request delays only itself; an unreachable registry ends the pass."""
        try:
            self._settle()
            listed = self._list()
            self._looked = self._observing.look(self._terms.scope, self._terms.mode, listed)
            failpoint("looked")
            settled = len(self._happened)
            self._decide_and_act(self._deciding.with_holders(listed))
            self._look_again(self._happened[settled:])
            if not self._unread and not self._stopping():
                self._observing.attribute()
                self._observing.compare(self._terms.excludes)
        except RegistryError as error:
            self._happened.append(Happening(unavailable=str(error)))
        unavailable = any(happening.unavailable is not None for happening in self._happened)
        self._acting.tell_unreachable(reported_by_cycle=unavailable)
        return Passed(self._happened, self._stopping.seen, self._listing, self._oldest, self._still_open, self._looked)

    def _look_again(self, happened: Sequence[Happening]) -> None:
        if self._looked is not None and not self._stopping():
            moved = [one.moved for one in happened if one.moved is not None]
            self._observing.look_after_acts(self._looked, self._terms.scope, moved)

    # --- settle ----------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Carries out what the last pass, or a daemon that is gone, left behind."""
        everything = self._terms.everything_is_due
        self._acting.look_for_late_effects(everything=everything)
        handled: set[str] = set()
        while not self._stopping():
            claimed = self._audit.claim(ACTED_ON_TOGETHER, handled, everything)
            if not claimed:
                return
            failpoint("claimed")
            handled |= {pending.decision.decision_id for pending in claimed}
            self._happened += self._acting.carry_out(claimed, fresh=False)

    # --- list ------------------------------------------------------------------------------------------------

    def _list(self) -> list[Listed]:
        """Every open request; one typed by hand has the id and time that it got when it was first seen."""
        after = self._resolving.read_to()
        # Where our last picture was empty, all that is in it now was seen by others since.
        self._asked_at = self._audit.now() if self._terms.had_open else _LONG_AGO
        looks = self._observing.begin(self._terms.scope)
        listing = self._registry.open_requests(self._terms.scope, after, with_holders=looks)
        self._resolving.keep(listing, after)
        typed = [entry.request for entry in listing.requests if not entry.stamped]
        first = self._audit.first_seen(typed) if typed else {}
        listed = [entry if entry.stamped else _seen(entry, first[entry.request.key]) for entry in listing.requests]
        failpoint("listed")
        self._listing = replace(listing, requests=listed)
        self._asked.note(listed)
        self._unread = listing.unread
        self._happened += of_unread(listing.unread, self._terms.scope)
        self._oldest = self._age_of_the_oldest(listed)
        return listed

    def _age_of_the_oldest(self, listed: Sequence[Listed]) -> timedelta:
        if not listed:
            return timedelta()
        return max(self._audit.now() - min(entry.request.requested_at for entry in listed), timedelta())

    # --- judge, record, act, confirm -------------------------------------------------------------------------

    def _decide_and_act(self, listed: Sequence[Listed]) -> None:
        last = self._last_decisions(listed)
        due, later = self._due.among(listed, last, self._set_aside(listed), self._terms.everything_is_due)
        waiting: list[Waiting] = []
        # Those that a stop left over, or another daemon decided, are still what the last picture says of them.
        left = {entry.request.key for entry in due}
        for batch in batches(self._rotated(due), JUDGED_TOGETHER):
            if self._stopping():
                break
            # Other daemons may have decided some of them while the last batch was carried out.
            remaining = self._still_as(last, batch) if len(due) > JUDGED_TOGETHER else batch
            decided = self._deciding.decide(remaining, last)
            left -= {entry.request.key for entry in remaining}
            failpoint("recorded")
            self._happened += decided.happened
            waiting += decided.waiting
            self._happened += self._acting.carry_out(decided.pending, fresh=True)
        self._happened += [Happening(abstained=code) for code in later.values()]
        self._keep_picture(listed, waiting, later, left)

    def _last_decisions(self, listed: Sequence[Listed]) -> Mapping[str, LastDecision]:
        return self._audit.last_decisions([entry.request.key for entry in listed]) if listed else {}

    def _set_aside(self, listed: Sequence[Listed]) -> set[str]:
        if not listed or self._terms.everything_is_due:
            return set()
        return self._audit.set_aside([entry.request.key for entry in listed])

    def _still_as(self, last: Mapping[str, LastDecision], batch: Sequence[Listed]) -> list[Listed]:
        now = self._last_decisions(batch)
        return [entry for entry in batch if now.get(entry.request.key) == last.get(entry.request.key)]

    def _rotated(self, listed: Sequence[Listed]) -> list[Listed]:
        """The same requests; each daemon begins elsewhere, so that several do not gather the same evidence."""
        if len(listed) <= JUDGED_TOGETHER:
            return list(listed)
        index, count = self._audit.share()
        first = len(listed) * index // count
        return [*listed[first:], *listed[:first]]

    # --- the picture of open requests ------------------------------------------------------------------------

    def _keep_picture(
        self, listed: Sequence[Listed], waiting: Sequence[Waiting], later: Collection[str], left: set[str]
    ) -> None:
        if not listed and not self._unread and not self._terms.had_open:
            return
        # The words of a resolved request, typed again, are a new request: nothing of the old one may remain.
        resolved = {happening.resolved for happening in self._happened}
        still_open = [entry.request for entry in listed if entry.request.key not in resolved]
        inferred = self._resolving.infer(still_open, self._unread, self._asked_at, self._terms.scope)
        self._audit.reconcile_open(still_open, waiting, self._unread, left.union(later), inferred, self._asked_at)
        # What was open for an unread target is still in the picture, and so is the target.
        self._still_open = bool(still_open or self._unread)
        if self._terms.mode is not Mode.OBSERVE:
            self._stamp(listed, {wait.request.key for wait in waiting}.union(later))

    def _stamp(self, listed: Sequence[Listed], waiting: set[str]) -> None:
        """Writes the id and time of hand-typed requests that stay open into the registry too."""
        for entry in listed:
            if entry.stamped or entry.request.key not in waiting:
                continue
            try:
                self._registry.stamp(entry.request)
            except RegistryError:
                # The request keeps its id in the database; the next cycle tries the stamp again.
                self._happened.append(Happening(in_error=True))


def _seen(listed: Listed, first: FirstSeen) -> Listed:
    return replace(listed, request=listed.request.seen_first(first.id, first.at))
