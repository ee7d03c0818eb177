"""Finding out, once, which protocol a server speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from reconciler.domain.decision import Decision
from reconciler.domain.evidence import Evidence, Needs
from reconciler.domain.request import Request
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.ports import Found, Invalid, Listed, Listing, Measured, Meter, Standing
from reconciler.registry.errors import NoEndpoint, PlainlyRefused
from reconciler.registry.speaking import Speaking
from reconciler.registry.transport import Transport
from reconciler.registry.trials import Trial
from reconciler.registry.versions import API


def app_answers(transport: Transport) -> bool | None:
    """Whether the server lists every open request in one call; None: it has the calls, but not that one.

    Raises:
        RegistryError: could not tell.
    """
    try:
        transport.get(f"{API}/transition-requests/list", {"max_results": 1})
    except (NoEndpoint, PlainlyRefused):
        return False
    except Invalid:
        return None
    return True


class AutoRegistry:
    """Chooses at the first call that reaches the server, and is from then on what it chose."""

    def __init__(self, uri: str, workspace: str, choose: Callable[[], Speaking]) -> None:
        self.uri = uri
        self.workspace = workspace
        self._choose = choose
        self._chosen: Speaking | None = None
        self._deadline: timedelta | None = None
        # Until it is known which server it is, nothing counts.
        self._meter: Meter = Measured

    def _it(self) -> Speaking:
        if self._chosen is None:
            self._chosen = self._choose()
            self._meter = self._chosen.begin(self._deadline)
        return self._chosen

    @property
    def protocol(self) -> str:
        return self._it().protocol

    @property
    def shows_decisions(self) -> bool:
        return self._it().shows_decisions

    def begin(self, deadline: timedelta | None) -> Meter:
        self._deadline = deadline
        self._meter = self._chosen.begin(deadline) if self._chosen is not None else Measured
        return lambda: self._meter()

    def open_requests(self, scope: Scope) -> Listing:
        return self._it().open_requests(scope)

    def evidence(self, wanted: Sequence[tuple[Listed, Needs]], now: datetime) -> dict[str, Evidence]:
        return self._it().evidence(wanted, now)

    def standings(self, decisions: Sequence[Decision]) -> dict[str, Standing]:
        return self._it().standings(decisions)

    def stamp(self, request: Request) -> None:
        self._it().stamp(request)

    def act(self, decision: Decision) -> Standing | None:
        return self._it().act(decision)

    def find(self, model: str, version: str, target: Target, now: datetime) -> Found:
        return self._it().find(model, version, target, now)

    def all_open(self, scope: Scope) -> list[Listed]:
        return self._it().all_open(scope)

    def create(self, model: str, version: str, target: Target, requester: str, comment: str, now: datetime) -> Request:
        return self._it().create(model, version, target, requester, comment, now)

    def withdraw(self, model: str, version: str, target: Target, now: datetime) -> Request:
        return self._it().withdraw(model, version, target, now)

    def trials(self, scope: Scope, needs: Needs) -> list[Trial]:
        return self._it().trials(scope, needs)

    def version(self) -> str:
        return self._it().version()

    def levels(self, covers: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
        return self._it().levels(covers)
