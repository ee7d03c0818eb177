"""The net below the wall: no statement writes MLflow's registry tables unjudged.

The wall judges what SQLAlchemy's sessions flush. Statements that bypass a flush arrive here, at the engines of this
process. The wall judges each UPDATE and DELETE by a condition. Everything else that would write the registry (Core
statements, `bulk_*` calls, text) is refused for every caller: MLflow does not use it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModel
from sqlalchemy import BindParameter, Connection, Engine, bindparam, event
from sqlalchemy.sql.visitors import replacement_traverse

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


@dataclass(frozen=True, slots=True)
class Written:
    """One UPDATE or DELETE by a condition, with the values that it is executed with.

    Attributes:
        condition: its WHERE with the values in it; None if it has no WHERE, and so means all rows.
        values: the plain values that it sets, by column.
    """

    table: Any
    deletes: bool
    condition: Any
    values: Mapping[str, Any]


# Raises if the statement may not be executed.
Judge = Callable[[Connection, Written], None]


class Net:
    """Listens where every dialect of this process hands a statement to its driver: no statement takes another way.

    SQLAlchemy has earlier events, of its engines. But an engine with a listener takes a third longer for every
    statement, and most statements do not concern the net.

    Args:
        judge: judges writes to models, and DELETEs of runs, logged models or experiments.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._flushing: WeakSet[Connection] = WeakSet()
        # SQLAlchemy caches compiled statements, so most are examined once in the life of a server.
        self._known: WeakKeyDictionary[Any, str | None] = WeakKeyDictionary()
        self._listeners: Final[dict[str, Callable[..., None]]] = {
            "do_execute": self._before_each,
            "do_executemany": self._before_each,
            "do_execute_no_params": self._before_plain,
        }

    def install(self) -> None:
        for name, listener in self._listeners.items():
            event.listen(Engine, name, listener)

    def remove(self) -> None:
        for name, listener in self._listeners.items():
            event.remove(Engine, name, listener)

    def let_flush(self, connection: Connection) -> None:
        """What this connection writes until `end_flush` is judged already. A flush that fails closes its connection."""
        self._flushing.add(connection)

    def end_flush(self, connection: Connection) -> None:
        self._flushing.discard(connection)

    def _before_plain(self, _cursor: Any, statement: str, context: Any) -> None:
        self._before(statement, context)

    def _before_each(self, _cursor: Any, statement: str, _parameters: Any, context: Any) -> None:
        self._before(statement, context)

    def _before(self, text: str, context: Any) -> None:
        """Return None, so that SQLAlchemy goes on with the statement; raise to refuse it."""
        table = self._written(text, context.compiled)
        if table is None or context.execution_options.get(OURS) or context.root_connection in self._flushing:
            return
        written = _by_condition(context)
        if table in _TRACKED:
            written = [statement for statement in written if statement.deletes]
        elif table != _MODELS or not written:
            raise denied(
                f"Writing to {table} outside SQLAlchemy's sessions is not allowed on this server: the "
                "transition-requests app cannot see what it would change. Use MLflow's registry calls."
            )
        for statement in written:
            self._judge(context.root_connection, statement)

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
    if name in _TRACKED:
        return name if compiled.isdelete else None
    return name if name in _TABLES else None


def _by_condition(context: Any) -> list[Written]:
    """The writes that the driver is about to execute, one per set of parameters; none for an INSERT or text."""
    compiled = context.compiled
    if compiled is None or not (compiled.isupdate or compiled.isdelete):
        return []
    # The ORM compiles a statement of its own in place of the one it was given.
    statement = compiled.compile_state.statement
    return [
        Written(statement.table, compiled.isdelete, _with_values(statement.whereclause, context, values), values)
        for values in context.compiled_parameters
    ]


def _with_values(condition: Any, context: Any, values: Mapping[str, Any]) -> Any:
    """A condition with its values: in another statement its parameters would have other names."""

    def value_of(element: Any, **_: Any) -> Any:
        name = context.compiled.bind_names.get(element) if isinstance(element, BindParameter) else None
        if name is None:
            return None
        # The list of an IN has been expanded into parameters of its own.
        value = [values[part] for part in context._expanded_parameters[name]] if element.expanding else values[name]
        return bindparam(None, value, type_=element.type, unique=True, expanding=element.expanding)

    return None if condition is None else replacement_traverse(condition, {}, value_of)


def _named_as_written(statement: str) -> str | None:
    # Most statements name none of these tables; a substring search first spares them the pattern.
    lowered = statement.lower()
    if not any(name in lowered for name in _TABLES):
        return None
    found = _WRITES.search(statement)
    return None if found is None else next((name for name in _TABLES if name in found.group(0).lower()), None)
