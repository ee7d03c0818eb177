"""What people did with requests: told by the registry's own history, or inferred from what the registry shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from reconciler.cycle.asked import Asked
from reconciler.cycle.recognising import Recognising
from reconciler.domain.holding.earlier_names import holds_as
from reconciler.domain.request import Request
from reconciler.domain.scope import Scope
from reconciler.failpoints import failpoint
from reconciler.ports import AuditLog, Gone, Inferred, Listing, Registry, RegistryError, Resolution, Standing, Unread

# Each takes one call; of many that are gone at once, the others are recorded without.
_LOOKED_AT_TOGETHER: Final = 50
_NOT_LOOKED_AT = "it is not open any more; too many were gone at once to look at each"


class Resolving:
    """Records what others did, in one pass."""

    def __init__(self, registry: Registry, audit: AuditLog, asked: Asked | None = None) -> None:
        """`asked`: what earlier lists said of the versions that requests are about."""
        self._registry = registry
        self._audit = audit
        self._asked = asked or Asked()
        self._recognising = Recognising(registry)

    def read_to(self) -> int:
        return self._audit.history_read_to() if self._registry.keeps_history else 0

    def keep(self, listing: Listing, after: int) -> None:
        """Records the entries of a registry's history that came with a list."""
        history = listing.history
        if history is None or history.read_to == after:
            return
        # Numbers that went back are of a registry that was restored: all is read again, and what is known is skipped.
        begun_again = history.read_to < after
        self._audit.add_history(replace(history, read_to=0) if begun_again else history)
        failpoint("history kept")

    def infer(
        self, listed: Sequence[Request], unread: Sequence[Unread], asked_at: datetime, scope: Scope
    ) -> list[Inferred]:
        """What became of requests that are gone and that no daemon resolved. A registry with a history tells itself.

        A request whose target no rule names any more is not asked for: nothing was done with it.
        """
        if self._registry.keeps_history:
            return []
        seen = self._audit.gone(listed, unread, asked_at)
        gone = [one for one in seen if one.request.target in scope.targets]
        looked_at = [(one, self._look(one)) for one in gone[:_LOOKED_AT_TOGETHER]]
        return self._under_new_names(looked_at) + [
            Inferred(one.key, one.request, Resolution.GONE, _NOT_LOOKED_AT) for one in gone[_LOOKED_AT_TOGETHER:]
        ]

    def _look(self, gone: Gone) -> Inferred:
        try:
            standing = self._registry.standing_of(gone.request)
            if standing.holds and self._recognising.is_another(gone.request, self._created(gone)):
                # What was asked for is gone, and another has its name and number.
                standing = Standing(open=False, exists=False)
        except RegistryError as error:
            said = f"it is not open any more, and its version could not be read: {error}"
            return Inferred(gone.key, gone.request, Resolution.GONE, said)
        return inferred(gone, standing)

    # --- a new name of the model -----------------------------------------------------------------------------

    def _under_new_names(self, looked_at: Sequence[tuple[Gone, Inferred]]) -> list[Inferred]:
        """Whose version holds the target under a new name was approved, unless two may be the one that is there."""
        names = {one.key: self._new_name(one) for one, found in looked_at if found.what is Resolution.GONE}
        places = Counter((one.request.version, one.request.target, names.get(one.key)) for one, _ in looked_at)
        sure = {
            one.key: name
            for one, _ in looked_at
            if (name := names.get(one.key)) is not None and places[one.request.version, one.request.target, name] == 1
        }
        return [
            replace(found, what=Resolution.APPROVED, said=holds_as(sure[one.key])) if one.key in sure else found
            for one, found in looked_at
        ]

    def _new_name(self, gone: Gone) -> str | None:
        """Under which its version holds the target now, where it is the only one that may be."""
        places = self._audit.observations.begun_elsewhere(gone.key)
        created = self._created(gone) if places else None
        if created is None:
            return None
        try:
            return self._recognising.new_name(gone.request, created, places)
        except RegistryError:
            return None

    def _created(self, gone: Gone) -> int | None:
        if (created := self._asked.created(gone.key)) is not None:
            return created
        decided = self._audit.last_decisions([gone.key]).get(gone.key)
        if decided is None:
            return None
        return self._audit.observations.created([decided.decision_id]).get(decided.decision_id)


def inferred(gone: Gone, standing: Standing) -> Inferred:
    """Whose version came to hold the target was approved; of others, nothing tells if they were rejected or withdrawn.

    A request for what was there already approved nothing: otherwise whoever files and withdraws one after a bypass
    would have it on record as approved.
    """
    if not standing.exists:
        what, said = Resolution.GONE, "its version or model was deleted"
    elif standing.holds and gone.held_before:
        what, said = Resolution.GONE, "it is not open any more, and its version held the target before it was asked for"
    elif standing.holds:
        what, said = Resolution.APPROVED, "it is not open any more, and its version holds the target"
    else:
        what, said = Resolution.GONE, "it is not open any more, and its version does not hold the target"
    return Inferred(gone.key, gone.request, what, said)
