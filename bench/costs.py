"""What the databases themselves count: steps that SQLite's machine makes, blocks that PostgreSQL touches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, event

_BLOCKS = "SELECT sum(pg_stat_get_xact_blocks_fetched(oid)) FROM pg_class WHERE relnamespace = 'public'::regnamespace"


@contextmanager
def counted(engine: Engine) -> Iterator[list[int]]:
    """The number, in a list of one, of steps or blocks that the block has cost when it ends."""
    total = [0]
    engine.dispose()
    if engine.dialect.name == "sqlite":

        def step() -> int:
            total[0] += 1
            return 0

        def watch(connection: Any, record: Any) -> None:
            connection.set_progress_handler(step, 1)

        event.listen(engine, "connect", watch)
        yield total
        event.remove(engine, "connect", watch)
        engine.dispose()
        return

    # PostgreSQL counts for as long as a connection lives, and clears that when it likes between two transactions.
    before: dict[int, int] = {}

    def begun(connection: Connection) -> None:
        before[id(connection)] = _blocks(connection)

    def ended(connection: Connection) -> None:
        total[0] += _blocks(connection) - before.pop(id(connection))

    for name, hear in (("begin", begun), ("commit", ended), ("rollback", ended)):
        event.listen(engine, name, hear)
    yield total
    for name, hear in (("begin", begun), ("commit", ended), ("rollback", ended)):
        event.remove(engine, name, hear)


def _blocks(connection: Connection) -> int:
    return int(connection.exec_driver_sql(_BLOCKS).scalar() or 0)


def cost(engine: Engine, act: Callable[[], object]) -> int:
    with counted(engine) as total:
        act()
    return total[0]


def statements(engine: Engine, act: Callable[[], object]) -> list[tuple[str, int]]:
    """Each statement that was executed, and how many rows it read or wrote."""
    heard: list[tuple[str, int]] = []

    def hear(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        # PostgreSQL is sent one for each row, which it parses, plans and executes; SQLite repeats a single one.
        repeats = engine.dialect.name == "postgresql" and isinstance(parameters, list)
        heard.extend([(statement, cursor.rowcount)] * (len(parameters) if repeats else 1))

    event.listen(engine, "after_cursor_execute", hear)
    act()
    event.remove(engine, "after_cursor_execute", hear)
    return [(statement, rows) for statement, rows in heard if not statement.startswith("BEGIN")]
