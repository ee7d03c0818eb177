"""SQL that several tables share."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection, Float, String, cast, func, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from reconciler.audit.tables import Base, DecisionRow, PendingActRow, UtcMillis

T = TypeVar("T")


class OfARegistry(Protocol):
    """A table whose rows are about one registry and workspace."""

    registry: ColumnElement[str]
    workspace: ColumnElement[str]


# Rows that one transaction writes at most, where there may be thousands: others wait for it.
WRITTEN_TOGETHER = 100
# Some builds of SQLite refuse a statement with more parameters than this.
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Served:
    """The registry and workspace whose rows are meant, as stored: several daemons may share one database."""

    registry: str
    workspace: str

    @property
    def columns(self) -> dict[str, str]:
        """What its rows say of themselves."""
        return {"registry": self.registry, "workspace": self.workspace}

    def among(self, row: type[OfARegistry]) -> ColumnElement[bool]:
        """Only this registry's rows."""
        return (row.registry == self.registry) & (row.workspace == self.workspace)


def decision_of_pending(decision_id: ColumnElement[str] = DecisionRow.decision_id) -> ColumnElement[bool]:
    """Joins `pending_acts` with its decisions so that no planner begins with all decisions of history.

    The empty text keeps the index on `pending_acts` from being used, so each pending act finds its decision and no
    decision looks for its act.
    """
    return decision_id == PendingActRow.decision_id.op("||")("")


class now_after(FunctionElement[datetime]):  # noqa: N801  reads as the SQL function that it is
    """A time later than now, or earlier, by the database's clock, in milliseconds."""

    type = UtcMillis()
    inherit_cache = True

    def __init__(self, wait: timedelta) -> None:
        super().__init__(literal(wait.total_seconds(), Float()))


@compiles(now_after, "sqlite")
def _sqlite_after(element: now_after, compiler: Any, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"strftime('%Y-%m-%dT%H:%M:%fZ', 'now', {seconds} || ' seconds')"


@compiles(now_after, "postgresql")
def _postgresql_after(element: now_after, compiler: Any, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"date_trunc('milliseconds', clock_timestamp() + make_interval(secs => {seconds}))"


def insert_new(connection: Connection, row: type[Base]) -> Any:
    """INSERT … ON CONFLICT DO NOTHING: the database settles the race."""
    # Only the dialect in use is imported: each loads all its drivers.
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(row.__table__).on_conflict_do_nothing()
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(row.__table__).on_conflict_do_nothing()


def as_rows(connection: Connection, texts: Sequence[str]) -> Any:
    """The texts as rows with one column, `value`, from one parameter: the statement is the same however many there are,
    so SQLAlchemy compiles it once."""
    if connection.dialect.name == "sqlite":
        return func.json_each(json.dumps(texts)).table_valued("value", name="asked")
    from sqlalchemy.dialects.postgresql import ARRAY

    return func.unnest(cast(texts, ARRAY(String))).table_valued("value", name="asked").render_derived()


def driver_rows(
    connection: Connection, row: type[Base], columns: Sequence[str], key: str, keys: Sequence[Any], order: str = ""
) -> list[tuple[Any, ...]]:
    """Cells as the driver has them, of the rows with one of these keys: where SQLAlchemy's own rows cost too much.

    Raises:
        sqlalchemy.exc.DBAPIError: the statement failed.
        Exception: the driver's own, where a cell cannot be read.
    """
    if connection.dialect.name == "sqlite":
        among, asked = f"IN ({','.join('?' * len(keys))})", tuple(keys)
    else:
        among, asked = "= ANY(%s)", (list(keys),)
    ordered = order and f" ORDER BY {order}"
    query = f"SELECT {', '.join(columns)} FROM {row.__tablename__} WHERE {key} {among}{ordered}"  # noqa: S608  our own names
    result = connection.exec_driver_sql(query, asked)
    try:
        return list(result.cursor.fetchall()) if result.cursor else []
    finally:
        result.close()


def matching(dialect: str, column: Any, glob: str) -> ColumnElement[bool]:
    """`*` matches anything, and a letter itself only: SQLite's LIKE has no regard to case, and uses no index."""
    if "*" not in glob:
        return column == glob  # type: ignore[no-any-return]
    if dialect == "sqlite":
        return column.op("GLOB", is_comparison=True)(glob.replace("[", "[[]").replace("?", "[?]"))  # type: ignore[no-any-return]
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return column.like(escaped.replace("*", "%"), escape="\\")  # type: ignore[no-any-return]


def parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """All the items in order, as many together as one transaction may write."""
    return (items[start : start + WRITTEN_TOGETHER] for start in range(0, len(items), WRITTEN_TOGETHER))


def chunks(keys: Collection[str], size: int = _CHUNK) -> Iterator[list[str]]:
    """All the keys in order, in lists that are short enough for one statement."""
    ordered = sorted(keys)
    return (ordered[start : start + size] for start in range(0, len(ordered), size))
