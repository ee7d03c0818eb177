"""The net below the wall: no statement writes MLflow's registry tables without having been judged.

The wall judges what SQLAlchemy's sessions flush. Core statements, `bulk_*` calls and text would pass it unseen; MLflow
writes its registry by none of them, so here they are refused, whoever sends them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event

from reconciler.mlflow_app.errors import denied
from reconciler.mlflow_app.holders import OURS
from reconciler.mlflow_app.rows import REGISTRY
from reconciler.mlflow_app.tables import metadata

_TABLES: Final = frozenset({kind.__tablename__ for kind in REGISTRY} | set(metadata.tables))
_NAMES: Final = "|".join(sorted(_TABLES))
_QUOTE = r"[\"'`\[\]]*"
_WRITES = re.compile(
    rf"\b(?:insert\s+(?:or\s+\w+\s+|ignore\s+)?into|replace\s+into|update(?:\s+or\s+\w+|\s+only)?|delete\s+from(?:\s+only)?"
    rf"|truncate(?:\s+table)?(?:\s+only)?|merge\s+into|drop\s+table(?:\s+if\s+exists)?|alter\s+table)"
    rf"\s+(?:{_QUOTE}\w+{_QUOTE}\.)*{_QUOTE}(?:{_NAMES})\b",
    re.IGNORECASE,
)


class Net:
    """Listens to every engine of this process."""

    def __init__(self) -> None:
        self._flushing: WeakSet[Connection] = WeakSet()

    def install(self) -> None:
        event.listen(Engine, "before_cursor_execute", self._before_cursor_execute)

    def remove(self) -> None:
        event.remove(Engine, "before_cursor_execute", self._before_cursor_execute)

    def let_flush(self, connection: Connection) -> None:
        """What this connection writes until `end_flush` has been judged. A flush that fails closes its connection."""
        self._flushing.add(connection)

    def end_flush(self, connection: Connection) -> None:
        self._flushing.discard(connection)

    def _before_cursor_execute(
        self, connection: Connection, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool
    ) -> None:
        table = _written(statement, context)
        if table is None or context.execution_options.get(OURS) or connection in self._flushing:
            return
        raise denied(
            f"Writing to {table} past SQLAlchemy's sessions is not allowed on this server, since the "
            "transition-requests app cannot tell what it would change: use MLflow's registry calls."
        )


def _written(statement: str, context: Any) -> str | None:
    """The table of ours or of MLflow's registry that a statement writes; None for any other statement."""
    compiled = context.compiled
    if compiled is not None and _is_written_by_core(compiled):
        names = {table.name for table in _tables(compiled)}
        return next(iter(sorted(names & _TABLES)), None)
    # Most statements name none of these tables; looking for a word first spares them the pattern.
    found = _WRITES.search(statement) if _maybe(statement) else None
    return None if found is None else next((name for name in _TABLES if name in found.group(0).lower()), None)


def _is_written_by_core(compiled: Any) -> bool:
    return bool(compiled.isinsert or compiled.isupdate or compiled.isdelete)


def _tables(compiled: Any) -> Iterable[Any]:
    table = getattr(compiled.statement, "table", None)
    return [] if table is None else [table]


def _maybe(statement: str) -> bool:
    lowered = statement.lower()
    return any(name in lowered for name in _TABLES)
