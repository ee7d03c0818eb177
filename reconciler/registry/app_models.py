"""Which models the account may read on a server with the app, whose list shows only those that hold something."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from reconciler.domain.holding.looks import Look, Wanted
from reconciler.domain.scope import Scope
from reconciler.domain.text import counted
from reconciler.registry.rotation import Rotation, name_filters
from reconciler.registry.transport import Transport
from reconciler.registry.trials import TrialResult, untried, works
from reconciler.registry.versions import API, model_in, name_of


class AppModels:
    """A round over all models, with each look at everything.

    Args:
        budget: as `Looking.budget`.
        clock: seconds.
    """

    def __init__(self, transport: Transport, budget: timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._budget = budget.total_seconds()
        self._clock = clock
        self._round = Rotation(self._ask, "registered_models", model_in, clock)
        self._scope: Scope | None = None
        # When, by `clock`, what is known of this look at everything was so: of the holders, and of the models.
        self._held: float | None = None
        self._listed: float | None = None

    def narrowed(self, wanted: Wanted) -> Wanted:
        """All holders are told once for each look at everything, however long the models take."""
        if wanted.afresh or wanted.scope != self._scope:
            self._scope, self._held, self._listed = wanted.scope, None, None
            self._round.begin_anew()
        return replace(wanted, everything=wanted.everything and self._held is None)

    def added_to(self, look: Look, wanted: Wanted) -> Look:
        """The look, with the models that were read; everything was seen once both are whole."""
        shown = {model for seen in (look.versions, look.models) for model in (one.model for one in seen)}
        if look.everything is not None:
            self._held = self._clock() - look.everything.total_seconds()
        if self._round.under_way or (self._listed is None and (wanted.everything or self._held is not None)):
            shown |= self._read(wanted)
        everything = None
        if self._held is not None and self._listed is not None:
            everything = timedelta(seconds=self._clock() - min(self._held, self._listed))
            self._held = self._listed = None
        return replace(look, shown=frozenset(shown), everything=everything, clock=self._transport.registry_clock)

    def try_call(self, scope: Scope) -> TrialResult:
        """As a look asks. The round that this begins is not gone on with."""
        filters = name_filters(scope, lambda target: True)
        if not filters:
            return untried("nothing to look for: no policy says which targets are governed")
        rows, _ = Rotation(self._ask, "registered_models", model_in, self._clock).read(filters, lambda: False)
        return works(f"models can be listed: {counted(len(rows), 'model')} on the first page")

    def _read(self, wanted: Wanted) -> set[str]:
        filters, ends = name_filters(wanted.scope, lambda target: True), self._clock() + self._budget
        rows, whole = self._round.read(filters, lambda: wanted.at_once or self._clock() < ends)
        if whole is not None:
            self._listed = self._clock() - whole.seconds
        return set(map(name_of, rows))

    def _ask(self, query: Mapping[str, Any]) -> Any:
        return self._transport.get(f"{API}/registered-models/search", {**query, "order_by": ["name ASC"]})
