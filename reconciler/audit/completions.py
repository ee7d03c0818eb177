"""How names and ids go on that somebody has begun to type: a few probes of an index, however long the history is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, takewhile

from sqlalchemy import Connection, func, select

from reconciler.audit.tables import DecisionRow

# A shell shows no more than fit on a screen.
_SHOWN = 50


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
