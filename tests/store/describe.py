"""Writes what a new database looks like, as `db check` expects it: `make schema`, after a new migration."""

from __future__ import annotations

import tempfile
from pathlib import Path

from reconciler.audit import schema
from reconciler.audit.database import Access, opened
from reconciler.audit.integrity.catalogue import Catalogue, catalogue
from reconciler.audit.integrity.comparing import EXPECTED, as_file
from tests.postgres import PostgresServer


def described(url: str) -> Catalogue:
    """The schema of a database that is migrated first."""
    schema.upgrade(url)
    with opened(url, Access.READ) as engine, engine.connect() as connection:
        return catalogue(connection)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="reconciler-schema-") as directory:
        server = PostgresServer(Path(directory) / "server")
        for url in (f"sqlite:///{directory}/audit.db", server.new_database()):
            path = EXPECTED / f"{url.partition(':')[0].partition('+')[0]}.json"
            path.write_text(as_file(described(url)), encoding="utf-8")
            print(path)
        server.stop()


if __name__ == "__main__":
    main()
