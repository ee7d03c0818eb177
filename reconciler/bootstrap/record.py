"""The configured audit database, asked how a holder came there by commands that work without one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from reconciler.domain.evidence.holder_facts import Arrival
from reconciler.domain.evidence.tenure_facts import TimeHeld
from reconciler.domain.holding.baselines import Holding
from reconciler.domain.place import Place
from reconciler.domain.request import Request
from reconciler.domain.text import visible, visible_name
from reconciler.ports import AuditUnavailable, Registry, SchemaMismatch, Stuck
from reconciler.settings.model import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from reconciler.audit.statements import Served


T = TypeVar("T")
_NOT_THERE: Final = (AuditUnavailable, SchemaMismatch)


class RecordIfThere:
    """`Arrivals` of a registry. The database is opened when it is asked: most policies need none to be explained."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry

    def arrivals(self, holdings: Sequence[Holding]) -> Mapping[Place, Arrival]:
        """What is on record; of each holder the same, where the database is not there or cannot be read."""
        from reconciler.audit.holding.arrivals import arrivals_of

        try:
            with self._read() as (connection, served):
                return arrivals_of(connection, served, holdings)
        except _NOT_THERE as error:
            return _of_each(holdings, Arrival(why=f"no audit database says how it came there ({_short(error)})"))

    def times_held(self, holdings: Sequence[Holding]) -> Mapping[Place, TimeHeld]:
        """As `arrivals`."""
        from reconciler.audit.holding.tenures import times_held

        try:
            with self._read() as (connection, served):
                return times_held(connection, served, holdings)
        except _NOT_THERE as error:
            return _of_each(holdings, TimeHeld(True, why=f"no audit database says since when ({_short(error)})"))

    def stuck(self, request: Request) -> list[Stuck] | None:
        """What keeps a request from an answer: its decision, its judging, or the list that it is in.

        None: the database is not there, or cannot be read.
        """
        from reconciler.audit.decisions.stuck import stuck

        place = visible_name(request.model), visible_name(request.version)
        try:
            with self._read() as (connection, served):
                found = stuck(connection, served)
        except _NOT_THERE:
            return None
        # A list has neither model nor version.
        about = [one for one in found if (one.model, one.version) in {place, ("", "")}]
        return [one for one in about if one.target == str(request.target)]

    @contextmanager
    def _read(self) -> Iterator[tuple[Connection, Served]]:
        from reconciler.audit import schema
        from reconciler.audit.database import Access
        from reconciler.audit.session import Session
        from reconciler.audit.statements import Served

        url = self._settings.audit.url.get_secret_value()
        served = Served(visible_name(self._registry.uri), visible_name(self._registry.workspace))
        with schema.opened_at_head(url, Access.READ) as engine, Session(engine).snapshot() as connection:
            yield connection, served


def _of_each(holdings: Sequence[Holding], unknown: T) -> Mapping[Place, T]:
    return {one.place: unknown for one in holdings}


def _short(error: Exception) -> str:
    return visible(str(error), 200)
