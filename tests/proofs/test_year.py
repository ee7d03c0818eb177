"""The history that measurements rest on is one that this product could have written."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from bench.year import make
from reconciler.audit.database import Access, opened
from reconciler.audit.integrity.checking import check
from reconciler.audit.log.head_files import read
from reconciler.audit.log.verifying import Asked, verify
from tests.postgres import PostgresServer

MANY = 900


def test_a_year_of_history_is_intact_and_extends_the_head_of_its_last_day_but_one(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    for url in (f"sqlite:///{tmp_path / 'audit.db'}", postgres.new_database()):
        heads = tmp_path / f"{url.partition(':')[0]}.heads"
        make(url, MANY, heads)
        before, now = read(heads).heads
        with opened(url, Access.READ) as engine:
            verified = verify(engine, asked=Asked((before, now)))
            assert (verified.differences, verified.agreeing, verified.size) == ((), 2, now.size)
            assert verify(engine, asked=Asked(since=before)).differences == ()
            # The schema too, whose triggers were gone meanwhile.
            assert check(engine).faults == ()
            with engine.connect() as connection:
                count = "SELECT count(*) FROM {}"
                rows = [connection.scalar(text(count.format(name))) for name in ("decisions", "outcomes", "evidence")]
                assert rows == [MANY, MANY, MANY]
                # The policy, the decisions, their outcomes, and what was seen of holders.
                seen = connection.scalar(
                    text("SELECT (SELECT count(*) FROM observations) + count(*) FROM attributions")
                )
                assert verified.size == 1 + 2 * MANY + seen
