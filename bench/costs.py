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

    def ended(connection: Connection) -> None:
        total[0] += int(connection.exec_driver_sql(_BLOCKS).scalar() or 0)

    event.listen(engine, "commit", ended)
    yield total
    event.remove(engine, "commit", ended)


def cost(engine: Engine, act: Callable[[], object]) -> int:
    with counted(engine) as total:
        act()
    return total[0]


def statements(engine: Engine, act: Callable[[], object]) -> list[tuple[str, int]]:
    """Each statement, and how many rows it read or wrote."""
    heard: list[tuple[str, int]] = []

    def hear(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        heard.append((statement, cursor.rowcount))

    event.listen(engine, "after_cursor_execute", hear)
    act()
    event.remove(engine, "after_cursor_execute", hear)
    return [(statement, rows) for statement, rows in heard if not statement.startswith("BEGIN")]
