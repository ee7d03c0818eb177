"""The net below the wall: no statement writes MLflow's registry tables without having been judged.

The wall judges what SQLAlchemy's sessions flush. What goes past a flush arrives here, at the engines of this process:
UPDATE and DELETE by a condition, which the wall judges as they come, and everything else that would write the registry
(Core statements, `bulk_*` calls, text), which MLflow does not use and which is refused, whoever sends it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModel
from sqlalchemy import Connection, Delete, Engine, Update, event
from sqlalchemy.engine.interfaces import Compiled

from reconciler.mlflow_app.errors import denied
from reconciler.mlflow_app.holders import OURS
from reconciler.mlflow_app.rows import REGISTRY, TRACKING
from reconciler.mlflow_app.tables import metadata

_TABLES: Final = frozenset({kind.__tablename__ for kind in REGISTRY} | set(metadata.tables))
_MODELS: Final = SqlRegisteredModel.__tablename__
_TRACKED: Final = frozenset(kind.__tablename__ for kind in TRACKING)
_NAMES: Final = "|".join(sorted(_TABLES))
_QUOTE = r"[\"'`\[\]]*"
_WRITES = re.compile(
    rf"\b(?:insert\s+(?:or\s+\w+\s+|ignore\s+)?into|replace\s+into|update(?:\s+or\s+\w+|\s+only)?|delete\s+from(?:\s+only)?"
    rf"|truncate(?:\s+table)?(?:\s+only)?|merge\s+into|drop\s+table(?:\s+if\s+exists)?|alter\s+table)"
    rf"\s+(?:{_QUOTE}\w+{_QUOTE}\.)*{_QUOTE}(?:{_NAMES})\b",
    re.IGNORECASE,
)

# Judges a statement by a condition, once for each of its sets of parameters.
Judge = Callable[[Connection, Update | Delete, Sequence[Mapping[str, Any]]], None]


class Net:
    """Listens to every engine of this process.

    Args:
        judge: raises where an UPDATE or DELETE by a condition on models, or a DELETE of runs, logged models or
            experiments, may not be done.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._flushing: WeakSet[Connection] = WeakSet()
        self._judged: WeakSet[Connection] = WeakSet()
        # SQLAlchemy keeps what it has compiled, so that most statements are looked at once in the life of a server.
        self._known: WeakKeyDictionary[Any, str | None] = WeakKeyDictionary()

    def install(self) -> None:
        event.listen(Engine, "before_execute", self._before_execute)
        event.listen(Engine, "before_cursor_execute", self._before_cursor_execute)

    def remove(self) -> None:
        event.remove(Engine, "before_execute", self._before_execute)
        event.remove(Engine, "before_cursor_execute", self._before_cursor_execute)

    def let_flush(self, connection: Connection) -> None:
        """What this connection writes until `end_flush` has been judged. A flush that fails closes its connection."""
        self._flushing.add(connection)

    def end_flush(self, connection: Connection) -> None:
        self._flushing.discard(connection)

    def _before_execute(
        self, connection: Connection, element: Any, many: Any, parameters: Any, options: Mapping[str, Any]
    ) -> None:
        statement = element.statement if isinstance(element, Compiled) else element
        if not isinstance(statement, (Update, Delete)) or connection in self._flushing or options.get(OURS):
            return
        written = getattr(statement.table, "name", None)
        if written == _MODELS or (written in _TRACKED and isinstance(statement, Delete)):
            self._judge(connection, statement, many or [parameters])
            self._judged.add(connection)

    def _before_cursor_execute(
        self, connection: Connection, _cursor: Any, statement: str, _parameters: Any, context: Any, _many: bool
    ) -> None:
        table = self._written(statement, context.compiled)
        if table is None or context.execution_options.get(OURS) or connection in self._flushing:
            return
        if table == _MODELS and connection in self._judged:
            self._judged.discard(connection)
            return
        raise denied(
            f"Writing to {table} past SQLAlchemy's sessions is not allowed on this server, since the "
            "transition-requests app cannot tell what it would change: use MLflow's registry calls."
        )

    def _written(self, statement: str, compiled: Any) -> str | None:
        """The table of ours or of MLflow's registry that a statement writes; None for any other statement."""
        if compiled is None:
            return _named_as_written(statement)
        if compiled not in self._known:
            self._known[compiled] = _written_by_core(compiled) or _named_as_written(statement)
        return self._known[compiled]


def _written_by_core(compiled: Any) -> str | None:
    if not (compiled.isinsert or compiled.isupdate or compiled.isdelete):
        return None
    name = getattr(getattr(compiled.statement, "table", None), "name", None)
    return name if name in _TABLES else None


def _named_as_written(statement: str) -> str | None:
    # Most statements name none of these tables; looking for a word first spares them the pattern.
    lowered = statement.lower()
    if not any(name in lowered for name in _TABLES):
        return None
    found = _WRITES.search(statement)
    return None if found is None else next((name for name in _TABLES if name in found.group(0).lower()), None)
