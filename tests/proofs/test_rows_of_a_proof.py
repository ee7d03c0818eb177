"""What a dossier reads of the log, counted by the database in a log of some thousand entries."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, select, text

from bench.year import make
from reconciler.audit.database import make_engine, one_state
from reconciler.audit.dossiers import dossier_of, written
from reconciler.audit.log.head_files import read
from reconciler.audit.log.heads import HeadKeeper
from reconciler.audit.tables import DecisionRow
from tests.postgres import PostgresServer
from tests.store.test_log import decide
from tests.verifier import VERIFIER

_TABLES = ("log_nodes", "log_leaves")
_READ = (
    "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables WHERE relname = ANY(:tables)"
)


@contextmanager
def rows_read(connection: Connection) -> Iterator[list[int]]:
    """Of the log: by PostgreSQL's own account, or as many as SQLite finds when it is asked the same from outside."""
    counted, asked = [0], list[tuple[str, Any]]()
    if connection.dialect.name == "postgresql":
        count = text(_READ), {"tables": list(_TABLES)}
        before = connection.scalar(*count) or 0
        yield counted
        counted[0] = int(connection.scalar(*count) or 0) - int(before)
        return

    def hear(_: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        if any(table in statement for table in _TABLES):
            asked.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", hear)
    yield counted
    event.remove(connection, "before_cursor_execute", hear)
    outside = sqlite3.connect(str(connection.engine.url.database))
    counted[0] = sum(len(outside.execute(*one).fetchall()) for one in asked)
    outside.close()


def newest(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(select(DecisionRow.decision_id).order_by(DecisionRow.id.desc()).limit(1)))


def test_a_dossier_reads_thirty_rows_of_a_log_of_thousands_and_its_policy_is_as_far_away_as_can_be(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    for url in (f"sqlite:///{tmp_path / 'audit.db'}", postgres.new_database()):
        path = tmp_path / f"{url.partition(':')[0]}.heads"
        make(url, 2_050, path)
        engine = make_engine(url)
        decide(engine, 20)
        HeadKeeper(engine, path).keep()
        id = newest(engine)
        with one_state(engine) as connection, rows_read(connection) as read_rows:
            dossier = dossier_of(connection, id, read(path).heads)
        heads, _ = VERIFIER.heads_in(path.read_text())
        VERIFIER.check_dossier(written(dossier).encode(), heads, None)
        leaves = {entry["table"]: entry["leaf"] for entry in dossier["entries"]}
        assert leaves["decisions"] > 4_096
        assert 0 < leaves["outcomes"] - leaves["decisions"] < 100
        assert sum(len(entry["proof"]) for entry in dossier["entries"]) > 25
        # The hashes of its three entries and of the first, which names the log, are among them.
        assert 4 < read_rows[0] <= 25
        engine.dispose()
