"""Observing what holds a target: one look a pass, by the replica that has the lease."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from reconciler.cycle.appearing import Appearing, hidden_in, last_seen, seen_again
from reconciler.cycle.as_of import as_of_after, last_seen_with, last_seen_without
from reconciler.cycle.asked import Asked
from reconciler.cycle.batches import batches
from reconciler.cycle.drifting import Drifting
from reconciler.cycle.habits import Habits
from reconciler.cycle.happening import Tell, of_bypass
from reconciler.cycle.recognising import Recognising
from reconciler.cycle.straying import Straying
from reconciler.domain.decision import Mode
from reconciler.domain.holding.causes import Cause
from reconciler.domain.holding.looks import Kind, Look, Wanted
from reconciler.domain.holding.tenures import (
    Began,
    Changes,
    Holders,
    changes_in,
    missing_from,
    overlooked_in,
    ungoverned,
    vanished_aliases,
)
from reconciler.domain.place import Place
from reconciler.domain.request import Request
from reconciler.domain.scope import Scope
from reconciler.domain.times import from_millis
from reconciler.ports import Listed, Registry, RegistryError
from reconciler.ports.observations import (
    AsOf,
    EndOfTenure,
    Looked,
    NewTenure,
    Observations,
    Traces,
    Watch,
)

# Each takes one call; the others wait for the next look.
_READ_TOGETHER = 50


class Observing:
    """What is remembered from pass to pass. Make one for the life of the process."""

    def __init__(
        self, registry: Registry, record: Observations, habits: Habits, tell: Tell, asked: Asked | None = None
    ) -> None:
        self._asked = asked or Asked()
        self._registry = registry
        self._record = record
        self._habits = habits
        self._tell = tell
        self._drifting = Drifting(registry, record, tell, at_once=habits.at_once)
        self._recognising = Recognising(registry)
        self._appearing = Appearing(registry, record)
        self._straying = Straying(registry, record, tell)
        self._fence: int | None = None
        self._holders = Holders()
        self._forget()
        self._watched: Scope | None = None
        self._scope: Scope | None = None
        self._settled: Scope | None = None  # the same, once everything was looked at with it
        self._watch: Watch | None = None
        # What the look showed, and what was read by itself beside it.
        self._seen = self._read = Look()
        self._looked = False
        self._requested: set[Place] = set()
        # Whether the record may have observations that are not explained, or bypasses that are open.
        self._unexplained = self._bypasses = True

    def _forget(self) -> None:
        """What earlier looks showed does not count any more: they may not be on record."""
        self._afresh = True
        self._unread: dict[Place, None] = {}
        # Of the rounds since then: what was complete.
        self._complete: set[object] = set()
        self._straying.forget()

    # --- look ------------------------------------------------------------------------------------------------

    def begin(self, scope: Scope) -> bool:
        """Whether this replica looks in this pass."""
        self._looked = False
        self._watch = watch = self._record.watch(self._fence, self._habits.lease)
        if watch is None:
            return False
        if watch.known is not None:
            self._fence, self._watched = watch.fence, watch.known.scope
            self._holders = Holders.of(watch.known.tenures)
            self._appearing.know(watch.known)
            self._unexplained = self._bypasses = True
        if scope != self._scope or watch.known is not None:
            self._scope, self._settled = scope, None
            self._forget()
        return True

    def look(self, scope: Scope, mode: Mode, listed: Iterable[Listed] = ()) -> Looked | None:
        """What the look leaves for the next one. A registry that cannot be looked at delays nothing else."""
        watch = self._watch
        self._requested = {one.request.place for one in listed}
        if watch is None:
            return None
        try:
            return self._look(watch, scope, mode)
        except RegistryError as error:
            # Part of a list may be lost with it.
            self._forget()
            return Looked(watch.fence, watch.changed_since, watch.as_of, str(error))
        except BaseException:
            self._forget()
            raise

    def _look(self, watch: Watch, scope: Scope, mode: Mode) -> Looked | None:
        wanted = self._wanted(watch, scope)
        look = self._registry.look(wanted)
        changes, self._seen = self._changes(look, scope.looked_at), look
        if not self._keep(watch, changes, scope) or not self._keep_readable(watch, look):
            return None
        self._afresh = False
        self._complete |= set(look.as_of) | ({_EVERYTHING} if look.everything is not None else set())
        if not self._keep_scope(watch, scope):
            return None
        if not self._straying.keep(watch.fence, look, scope, mode):
            self._lost_lease()
            return None
        self._looked = True
        if wanted.everything and look.everything is not None:
            self._drifting.begin(self._holders)
        # Nothing is known as of any time before everything has been looked at once.
        as_of = AsOf() if self._watched is None else as_of_after(watch, look, self._kinds(scope))
        return Looked(watch.fence, look.newest_change, as_of)

    def _kinds(self, scope: Scope) -> Collection[Kind]:
        """What is looked at, and what was until everything has been looked at with the new policy."""
        return list(Kind) if self._settled != scope else {Kind.of(target) for target in scope.looked_at.targets}

    def look_after_acts(self, looked: Looked, scope: Scope, moved: Iterable[Request]) -> None:
        """At the versions that this pass moved, and at what else their models have, where no pass follows soon.

        Only what is shown counts: what is gone meanwhile may have another name, which a look at everything finds.
        """
        if self._watch is None or not (self._looked and self._habits.after_acts):
            return
        watch = replace(self._watch, as_of=looked.as_of)
        for some in batches(list(self._around(scope, moved)), _READ_TOGETHER):
            try:
                look = self._registry.look_at(some)
                shown = Look(look.versions, look.models)
                if not self._keep(watch, changes_in(shown, self._holders, scope.looked_at), scope):
                    return
            except RegistryError:
                return

    def _around(self, scope: Scope, moved: Iterable[Request]) -> dict[Place, None]:
        governed = [one for one in moved if one.target in scope.targets_of(one.model, is_prompt=one.is_prompt)]
        looked_at = [one.place for one in governed]
        others = [tenure.place for place in looked_at for tenure in self._holders.of_model(place.model)]
        return dict.fromkeys([*looked_at, *others])

    def _wanted(self, watch: Watch, scope: Scope) -> Wanted:
        at_once = self._habits.at_once
        due = watch.is_due(self._habits.full_look) or self._watched != scope.without_watched
        due = due or (bool(scope.watched) and self._settled != scope)  # what is only watched is on record nowhere
        looked_at, since = scope.looked_at, watch.since(Kind.STAGES)
        return Wanted(looked_at, watch.changed_since, since, everything=due, afresh=self._afresh, at_once=at_once)

    def _changes(self, look: Look, scope: Scope) -> Changes:
        """Beginnings and ends; what a whole list did not show, and a model's earlier name, are read by themselves."""
        self._holders.learn(look.models)
        changes, self._read = changes_in(look, self._holders, scope), Look()
        for place in missing_from(look, self._holders):
            if place.target in scope.targets_of_name(place.model):
                self._unread[place] = None
        earlier = [old.place for one in changes.began for old in self._holders.under_another_name(one)]
        # What may be a new name has to be read now: without that it would be a new tenure.
        others = [*vanished_aliases(changes), *self._unread][:_READ_TOGETHER]
        to_read = list(dict.fromkeys([*earlier, *others]))
        if not to_read:
            return changes
        read = self._read = self._registry.look_at(to_read)
        self._holders.learn(read.models)
        for place in to_read:
            self._unread.pop(place, None)
        versions, models = [*look.versions, *read.versions], [*look.models, *read.models]
        both = Look(versions, models, look.gone | read.gone, refused=read.refused)
        return changes_in(both, self._holders, scope)

    # --- what is kept ----------------------------------------------------------------------------------------

    def _keep(self, watch: Watch, changes: Changes, scope: Scope) -> bool:
        if not changes:
            return True
        ended = [EndOfTenure(one, last_seen_with(watch, one)) for one in changes.ended]
        began = [self._new(watch, one, scope) for one in changes.began]
        self._unexplained = True
        tenures = self._record.observe(watch.fence, ended, began)
        if tenures is None:
            return self._lost_lease()
        for one in changes.ended:
            self._holders.remove(one.tenure.place)
            self._drifting.forget(one.tenure.id)
        for tenure in tenures:
            self._holders.add(tenure)
        return True

    def _keep_readable(self, watch: Watch, look: Look) -> bool:
        """Which models were shown, and which tenures cannot be read any more."""
        changed = [*hidden_in(self._read, self._holders), *seen_again([look, self._read], self._holders)]
        seen = {one.id: None if one.hidden else last_seen(watch, one) for one in changed}
        missed = overlooked_in(look, self._holders)
        seen |= {one.id: last_seen(watch, one, Kind.of(one.place.target)) for one in missed}
        if seen and self._record.hide(watch.fence, seen) is None:
            return self._lost_lease()
        for one in [*changed, *missed]:
            self._holders.add(replace(one, last_seen=seen[one.id]))
        return self._appearing.keep(watch, look) or self._lost_lease()

    def _lost_lease(self) -> bool:
        self._fence = None
        return False

    def _new(self, watch: Watch, began: Began, scope: Scope) -> NewTenure:
        place = began.place
        watched = place.target not in scope.targets_of(place.model, is_prompt=began.is_prompt)
        known = self._settled is not None if watched else self._was_governed(began)
        known = known and not self._appearing.appears(watch, self._seen, place, began.created)
        not_since = last_seen_without(watch, self._seen, place) if known else None
        if began.continues is not None and began.continues.watched != watched:
            began = replace(began, continues=None)
        remade = self._asked.about_another(place, began.created)
        return NewTenure(began, not_since, not known, place in self._requested and not remade, watched, remade)

    def _was_governed(self, began: Began) -> bool:
        if self._watched is None:
            return False
        return began.place.target in self._watched.targets_of(began.place.model, is_prompt=began.is_prompt)

    def _keep_scope(self, watch: Watch, scope: Scope) -> bool:
        """Once everything was looked at, whatever appears later was not there before.

        Until then the earlier scope counts, with all its tenures: it may be in force again before that.
        """
        if self._settled == scope and not self._holders.relearned:
            return True
        needed = {_EVERYTHING} | {Kind.of(target) for target in scope.looked_at.targets}
        if not needed <= self._complete:
            return True
        if not self._keep(watch, ungoverned(self._holders, scope), scope):
            return False
        self._holders.relearned = False
        governed = scope.without_watched
        if self._watched != governed and self._record.keep_scope(watch.fence, governed, watch.now) is None:
            return self._lost_lease()
        self._watched, self._settled = governed, scope
        return True

    # --- what explains it ------------------------------------------------------------------------------------

    def attribute(self) -> None:
        """Explains what was seen. To be called after a pass that has read every list of requests."""
        if self._watch is None or not (self._looked and self._unexplained):
            return
        clock = None if self._seen.clock is None else from_millis(self._seen.clock)
        ahead = None if clock is None else clock - self._watch.now
        traces = Traces(self._registry.hides_people, self._registry.keeps_history, ahead)
        found = self._record.attribute(self._watch.fence, traces, self._recognising.recognise)
        if found is None:
            self._lost_lease()
            return
        self._unexplained = found.left
        for one in found.done:
            # A bypass goes on under a model's new name.
            self._bypasses |= one.began and one.explained.cause in {Cause.BYPASS, Cause.RENAME}
            if one.began and one.explained.cause is Cause.BYPASS:
                self._tell(of_bypass(one))

    def compare(self, exclude: Sequence[str]) -> None:
        """Looks at what was approved, some of it in each pass. `exclude`: what the configuration keeps out."""
        if self._watch is not None and self._looked and not self._drifting.go_on(self._watch, exclude):
            self._lost_lease()

    def open_bypasses(self) -> int:
        """As this replica knows; 0 where another one looks."""
        if self._watch is None or not self._bypasses:
            return 0
        count = self._record.open_bypasses()
        # One that is not open any more does not open again.
        self._bypasses = count > 0
        return count


_EVERYTHING = "everything"
