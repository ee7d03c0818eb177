"""How names and ids go on that somebody has begun to type: a few probes of an index, however long the history is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, takewhile

from sqlalchemy import ColumnElement, Connection, func, select

from reconciler.audit.holding.looks import scope_in
from reconciler.audit.holding.tables import WatchedScopeRow
from reconciler.audit.tables import DecisionRow

# A shell shows no more than fit on a screen.
_SHOWN = 50
# What no index finds is looked for among so many of the newest rows.
_RECENT = 1000


def models_beginning(connection: Connection, typed: str) -> list[str]:
    """Models that a decision is about, in the database's order."""
    # The database may sort without regard to case: what begins otherwise can lie in between.
    near = takewhile(lambda name: name.casefold().startswith(typed.casefold()), _models_from(connection, typed))
    return [name for name in islice(near, _SHOWN) if name.startswith(typed)]


def _models_from(connection: Connection, first: str) -> Iterator[str]:
    """Each name once: every step asks the index for the next one, and passes over all rows of the last."""
    smallest, model = select(func.min(DecisionRow.model)), DecisionRow.model
    name = connection.scalar(smallest.where(model >= first))
    while name is not None:
        yield name
        name = connection.scalar(smallest.where(model > name))


def decisions_beginning(connection: Connection, typed: str) -> list[str]:
    ids = select(DecisionRow.decision_id).where(DecisionRow.decision_id >= typed).order_by(DecisionRow.decision_id)
    return [id for id in connection.scalars(ids.limit(_SHOWN)) if id.startswith(typed)]


def targets_beginning(connection: Connection, typed: str) -> list[str]:
    """Targets that daemons looked at, and that recent decisions are about."""
    newest = select(WatchedScopeRow.scope).order_by(WatchedScopeRow.id.desc()).limit(_SHOWN)
    watched = {str(target) for text in connection.scalars(newest) for target in scope_in(text).targets}
    return sorted(name for name in watched | _recent(connection, DecisionRow.target) if name.startswith(typed))[:_SHOWN]


def requesters_beginning(connection: Connection, typed: str) -> list[str]:
    """Whoever asked for what was decided recently."""
    return sorted(name for name in _recent(connection, DecisionRow.requester) if name.startswith(typed))[:_SHOWN]


def _recent(connection: Connection, column: ColumnElement[str]) -> set[str]:
    newest = select(column.label("name")).order_by(DecisionRow.decided_at.desc()).limit(_RECENT).subquery()
    return set(connection.scalars(select(newest.c.name).distinct()))
