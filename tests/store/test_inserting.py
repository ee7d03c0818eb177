"""Many rows added by one statement are the rows that were given, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import DataError

from bench.costs import statements
from reconciler.audit.evidence.tables import EvidenceRow
from reconciler.audit.inserting import insert_many
from reconciler.audit.log.tables import LogLeafRow
from reconciler.audit.tables import PauseEventRow, PendingActRow

# What means something to whoever writes an array as text.
TEXTS = [
    "",
    "NULL",
    "null",
    "{}",
    '{"a": ["b", "c\\"d"]}',
    '"',
    "\\",
    '\\"',
    "\\\\",
    ",",
    " a ",
    "a\nb\tc",
    "ü€😀",
    "'",
    "%s",
]
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)


def pending(name: str, **values: object) -> dict[str, object]:
    return {"decision_id": name, "attempts": 0, "next_attempt_at": NOW, "last_detail": "", "leased_by": None} | values


def test_texts_are_kept_to_the_letter(engine: Engine) -> None:
    rows = [pending(f"{at}", last_detail=text, leased_by=text) for at, text in enumerate(TEXTS)]
    with engine.begin() as connection:
        insert_many(connection, PendingActRow, [*rows, pending("none")])
        kept = connection.execute(select(PendingActRow.__table__)).all()
    assert {row.decision_id: (row.last_detail, row.leased_by) for row in kept} == {
        **{f"{at}": (text, text) for at, text in enumerate(TEXTS)}, "none": ("", None),
    }  # fmt: skip
    assert {row.next_attempt_at for row in kept} == {NOW}


def test_bytes_and_numbers_are_kept(engine: Engine) -> None:
    cells = {"content": b'"\\{,}', "sealed": bytes(range(32)), "digests": None}
    rows = [{"evidence_key": f"{n}", "fields": n, "salts": bytes([0, n, 255]), **cells} for n in range(9)]
    leaf = {"leaf": 2**40, "entry": "outcomes", "row_key": "1", "hash": bytes(range(32))}
    with engine.begin() as connection:
        insert_many(connection, EvidenceRow, rows)
        insert_many(connection, LogLeafRow, [leaf])
        kept = connection.execute(select(EvidenceRow.__table__).order_by(EvidenceRow.fields)).mappings()
        assert [dict(row) for row in kept] == rows
        assert [dict(row) for row in connection.execute(select(LogLeafRow.__table__)).mappings()] == [leaf]


def test_a_row_that_is_there_already_is_left_out(engine: Engine) -> None:
    with engine.begin() as connection:
        insert_many(connection, PendingActRow, [pending("a", fence=1)])
        twice = [pending("a", fence=2), pending("b", fence=2), pending("b", fence=3)]
        added = insert_many(connection, PendingActRow, twice, only_new=True, returning=True)
        assert [(row.decision_id, row.fence) for row in added] == [("b", 2)]
        assert dict(connection.execute(select(PendingActRow.decision_id, PendingActRow.fence)).all()) == {
            "a": 1,
            "b": 2,
        }


def test_the_rows_are_numbered_in_the_order_in_which_they_are_given(engine: Engine) -> None:
    rows = [{"action": "pause", "reason": f"{n}", "person": "ada"} for n in range(300)]
    with engine.begin() as connection:
        added = insert_many(connection, PauseEventRow, rows, now="at", returning=True).all()
    in_order = sorted(added, key=lambda row: row.id)
    assert [row.reason for row in in_order] == [row["reason"] for row in rows]
    assert all(abs((datetime.now(UTC) - row.at).total_seconds()) < 600 for row in added)


def test_postgresql_refuses_a_text_that_is_too_long_and_does_not_cut_it_off(engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite's columns have no length")
    with engine.connect() as connection, connection.begin(), pytest.raises(DataError, match="too long"):
        insert_many(connection, PendingActRow, [pending("a"), pending("b" * 37)])


@pytest.mark.parametrize("many", [1, 500])
def test_one_statement_is_sent_however_many_rows_there_are(engine: Engine, many: int) -> None:
    rows = [pending(f"{n}") for n in range(many)]

    def add() -> None:
        with engine.begin() as connection:
            insert_many(connection, PendingActRow, rows)

    assert len(statements(engine, add)) == 1
