"""Tags that look like requests and are none: kept until no look shows them any more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from reconciler.audit.holding.tables import StrayTagRow
from reconciler.audit.session import Session
from reconciler.audit.statements import Served
from reconciler.audit.tables import db_now
from reconciler.domain.text import visible_name
from reconciler.ports.observations import Stray


class Strays:
    """Of one registry and workspace."""

    def __init__(self, session: Session, served: Served) -> None:
        self._session = session
        self._served = served

    def keep(
        self, seen: Sequence[Stray], *, all_seen: bool, may_write: Callable[[Connection], bool]
    ) -> Sequence[Stray] | None:
        """As `ports.observations.Observations.keep_strays`. `may_write`: whether the lease is still this daemon's."""
        with self._session.snapshot() as connection:
            known = {
                Stray(one.model, one.version, one.tag): one.pointed_out
                for one in connection.execute(select(StrayTagRow.__table__).where(self._served.among(StrayTagRow)))
            }
        shown = {_shown(stray): stray for stray in seen}
        new = [stray for stray in shown if stray not in known]
        gone = [stray for stray in known if stray not in shown] if all_seen else []
        if new or gone:
            with self._session.transaction() as connection:
                if not may_write(connection):
                    return None
                self._change(connection, new, gone)
        return [stray for shown_as, stray in shown.items() if not known.get(shown_as, False)]

    def pointed_out(self, strays: Iterable[Stray]) -> None:
        with self._session.transaction() as connection:
            for stray in strays:
                told = update(StrayTagRow).where(self._is(_shown(stray)))
                connection.execute(told.values(pointed_out=True))

    def _change(self, connection: Connection, new: Sequence[Stray], gone: Sequence[Stray]) -> None:
        for stray in gone:
            connection.execute(delete(StrayTagRow).where(self._is(stray)))
        for stray in new:
            named = {"model": stray.model, "version": stray.version, "tag": stray.tag, "pointed_out": False}
            connection.execute(insert(StrayTagRow).values(**self._served.columns, **named, first_seen_at=db_now()))

    def _is(self, stray: Stray) -> Any:
        row = StrayTagRow
        same = (row.model == stray.model) & (row.version == stray.version) & (row.tag == stray.tag)
        return self._served.among(row) & same


def _shown(stray: Stray) -> Stray:
    return Stray(visible_name(stray.model), visible_name(stray.version), visible_name(stray.tag))
