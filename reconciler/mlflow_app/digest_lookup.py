"""The cheapest lookup for what every upload asks: does the table of origins have one of these digests?

Mostly it has none. So the query goes straight to the database's driver, at a quarter of SQLAlchemy's cost. On SQLite
each thread keeps a connection, since taking one from the pool costs more than the query.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Engine

from reconciler.mlflow_app.tables import origins as table

_MARKERS: Final = {"qmark": "?", "format": "%s", "pyformat": "%s"}


class DigestLookup:
    """Looks up digests in one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._marker = _MARKERS[engine.dialect.paramstyle]
        self._kept = threading.local()

    def any_known(self, digests: Sequence[str]) -> bool:
        markers = ", ".join([self._marker] * len(digests))
        statement = f"SELECT 1 FROM {table.name} WHERE digest IN ({markers}) LIMIT 1"  # noqa: S608 - only markers
        with self._connection() as connection:
            cursor = connection.cursor()
            cursor.execute(statement, tuple(digests))
            # Fetch all, though it is at most one row: a result that is not read to its end keeps SQLite's read lock.
            return bool(cursor.fetchall())

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Any]:
        if self._engine.dialect.name != "sqlite":
            with contextlib.closing(self._engine.raw_connection()) as connection:
                yield connection
            return
        if not hasattr(self._kept, "connection"):
            arguments, named = self._engine.dialect.create_connect_args(self._engine.url)
            self._kept.connection = self._engine.dialect.connect(*arguments, **named)
        yield self._kept.connection
