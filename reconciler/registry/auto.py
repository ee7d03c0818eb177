"""Find out once which protocol a server speaks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from reconciler.domain.decision import Decision
from reconciler.domain.evidence.evidence import Evidence, Needs
from reconciler.domain.holding.looks import Look, Wanted
from reconciler.domain.place import ModelTarget, Place
from reconciler.domain.request import Request
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.ports import Found, HoldersNow, Invalid, Listed, Listing, Measured, Meter, Standing, Told
from reconciler.registry.errors import NoEndpoint, PlainlyRefused
from reconciler.registry.speaking import Speaking
from reconciler.registry.tag_protection import TagProtection
from reconciler.registry.transport import Transport
from reconciler.registry.trials import Trial
from reconciler.registry.versions import API


def app_answers(transport: Transport) -> bool | None:
    """Whether the server lists every open request in one call; None: it has transition requests, but not that list.

    Raises:
        RegistryError: the server gave no clear answer.
    """
    try:
        transport.get(f"{API}/transition-requests/list", {"max_results": 1})
    except (NoEndpoint, PlainlyRefused):
        return False
    except Invalid:
        return None
    return True


class AutoRegistry:
    """Chooses a registry at the first call that reaches the server, and delegates to it from then on."""

    def __init__(self, uri: str, workspace: str, choose: Callable[[], Speaking]) -> None:
        self.uri = uri
        self.workspace = workspace
        self._choose = choose
        self._chosen: Speaking | None = None
        self._deadline: timedelta | None = None
        # Nothing is counted until the registry is chosen.
        self._meter: Meter = Measured

    def _registry(self) -> Speaking:
        if self._chosen is None:
            self._chosen = self._choose()
            self._meter = self._chosen.begin(self._deadline)
        return self._chosen

    @property
    def protocol(self) -> str:
        return self._registry().protocol

    @property
    def shows_decisions(self) -> bool:
        return self._registry().shows_decisions

    def begin(self, deadline: timedelta | None) -> Meter:
        self._deadline = deadline
        self._meter = self._chosen.begin(deadline) if self._chosen is not None else Measured
        return lambda: self._meter()

    @property
    def keeps_history(self) -> bool:
        return self._registry().keeps_history

    @property
    def hides_people(self) -> bool:
        return self._registry().hides_people

    def open_requests(self, scope: Scope, history_after: int = 0, *, with_holders: bool = False) -> Listing:
        return self._registry().open_requests(scope, history_after, with_holders=with_holders)

    def look(self, wanted: Wanted) -> Look:
        return self._registry().look(wanted)

    def look_at(self, places: Sequence[Place]) -> Look:
        return self._registry().look_at(places)

    def point_out(self, model: str, version: str, tag: str, said: str) -> None:
        self._registry().point_out(model, version, tag, said)

    def evidence(self, wanted: Sequence[tuple[Listed, Needs]], now: datetime) -> dict[str, Evidence]:
        return self._registry().evidence(wanted, now)

    def held_now(self, asked: Collection[ModelTarget], *, all_of: bool = False) -> HoldersNow:
        return self._registry().held_now(asked, all_of=all_of)

    def standings(self, decisions: Sequence[Decision]) -> dict[str, Standing]:
        return self._registry().standings(decisions)

    def standing(self, decision: Decision) -> Standing:
        return self._registry().standing(decision)

    def standing_of(self, request: Request) -> Standing:
        return self._registry().standing_of(request)

    def standing_elsewhere(self, decision: Decision, created: int) -> Standing | None:
        return self._registry().standing_elsewhere(decision, created)

    def stamp(self, request: Request) -> None:
        self._registry().stamp(request)

    def act(self, decision: Decision) -> Standing | None:
        return self._registry().act(decision)

    def told(self, targets: Iterable[Target]) -> Iterator[Told]:
        return self._registry().told(targets)

    def find(self, model: str, version: str, target: Target, now: datetime) -> Found:
        return self._registry().find(model, version, target, now)

    def all_open(self, scope: Scope) -> list[Listed]:
        return self._registry().all_open(scope)

    def holders(self, scope: Scope) -> Look:
        return self._registry().holders(scope)

    def create(self, model: str, version: str, target: Target, requester: str, comment: str, now: datetime) -> Request:
        return self._registry().create(model, version, target, requester, comment, now)

    def withdraw(self, model: str, version: str, target: Target, now: datetime) -> Request:
        return self._registry().withdraw(model, version, target, now)

    def trials(self, scope: Scope, needs: Needs) -> list[Trial]:
        return self._registry().trials(scope, needs)

    def version(self) -> str:
        return self._registry().version()

    def levels(self, covers: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
        return self._registry().levels(covers)

    def tag_protection(self) -> TagProtection | None:
        return self._registry().tag_protection()
