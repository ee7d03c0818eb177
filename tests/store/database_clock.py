"""A database whose clock a test sets: what the product asks of it is answered by the database itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, event, text

from reconciler.domain.times import iso


class DatabaseClock:
    """The clock of one engine's connections, ahead of the real one by as much as the test said."""

    def __init__(self, engine: Engine) -> None:
        self._ahead = timedelta()
        self._engine = engine
        self._on_sqlite = engine.dialect.name == "sqlite"
        if not self._on_sqlite:
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE clock_of_a_test (ahead interval NOT NULL)"))
                connection.execute(text("INSERT INTO clock_of_a_test VALUES (interval '0')"))
                connection.execute(
                    text(
                        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
                        "'SELECT pg_catalog.clock_timestamp() + (SELECT ahead FROM public.clock_of_a_test)'"
                    )
                )
        event.listen(engine, "connect", self._connected)
        engine.dispose()

    def _connected(self, connection: Any, record: Any) -> None:
        if self._on_sqlite:
            connection.create_function("strftime", 2, self._strftime)
            return
        with connection.cursor() as cursor:
            # A function of the database's own comes first unless the path says otherwise.
            cursor.execute("SET search_path = public, pg_catalog")
        connection.commit()

    def _strftime(self, form: str, moment: str) -> str:
        assert (form, moment) == ("%Y-%m-%dT%H:%M:%fZ", "now")
        return iso(self.now())

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def passes(self, time: timedelta) -> None:
        self._ahead += time
        if not self._on_sqlite:
            with self._engine.begin() as connection:
                connection.execute(text("UPDATE clock_of_a_test SET ahead = :ahead"), {"ahead": self._ahead})
