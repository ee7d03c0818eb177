"""What every registry offers to a cycle and to people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Protocol

from reconciler.domain.evidence.evidence import Needs
from reconciler.domain.holding.looks import Look
from reconciler.domain.request import Request
from reconciler.domain.scope import Scope
from reconciler.domain.target import Target
from reconciler.ports import Found, Listed, Registry, Told
from reconciler.registry.tag_protection import TagProtection
from reconciler.registry.trials import Trial


class Speaking(Registry, Protocol):
    """A registry of either protocol, with the calls that serve people."""

    @property
    def protocol(self) -> str: ...

    @property
    def shows_decisions(self) -> bool:
        """Whether a version shows what was decided; if so, a request that is gone without a decision was withdrawn."""

    def told(self, targets: Iterable[Target]) -> Iterator[Told]:
        """What the registry shows of decisions about these targets. Nothing where it does not show decisions."""

    def find(self, model: str, version: str, target: Target, now: datetime) -> Found: ...

    def all_open(self, scope: Scope) -> list[Listed]:
        """Every open request; if the registry can only be searched by target, those within the scope."""

    def holders(self, scope: Scope) -> Look:
        """All that holds a target of the scope now, read for this alone, however many calls it takes."""

    def create(
        self, model: str, version: str, target: Target, requester: str, comment: str, now: datetime
    ) -> Request: ...

    def withdraw(self, model: str, version: str, target: Target, now: datetime) -> Request: ...

    def trials(self, scope: Scope, needs: Needs) -> list[Trial]:
        """Every kind of call that a cycle makes and that changes nothing."""

    def version(self) -> str:
        """MLflow's version; "" if the server does not report it."""

    def levels(self, covers: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
        """The covered models, each with the account's permission; "" if the registry does not report it."""

    def tag_protection(self) -> TagProtection | None:
        """Which tags only approvers and administrators change; None if the registry protects none, or says nothing.

        Raises:
            RegistryError: it could not be asked.
        """
