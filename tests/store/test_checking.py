"""`db check` names what was done to a database behind the product, and finds nothing where nothing was done."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from reconciler.audit import schema
from reconciler.audit.database import Access, make_engine
from reconciler.audit.integrity.checking import Checked, check
from reconciler.audit.integrity.comparing import EXPECTED
from reconciler.audit.log.verifying import verify
from reconciler.audit.running.pauses import PAUSE, RESUME, note_pause
from reconciler.audit.store import SqlAuditLog
from reconciler.domain.decision import Mode
from reconciler.ports import AuditUnavailable
from tests.builders import REGISTRY
from tests.store.describe import described
from tests.store.test_log import decide, without_triggers

ON_SQLITE = "sqlite"


def checked(engine: Engine, everything: bool = False) -> Checked:
    """As `db check` does it: over a connection of its own, which cannot write."""
    reading = make_engine(engine.url.render_as_string(hide_password=False), Access.READ)
    try:
        return check(reading, everything)
    finally:
        reading.dispose()


def both(engine: Engine) -> tuple[str, ...]:
    """The faults that are found in the rows of today, which `--all` finds as well."""
    today, all_rows = checked(engine), checked(engine, everything=True)
    assert set(today.faults) <= set(all_rows.faults)
    return today.faults


def change(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def is_sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


# --- what is expected ----------------------------------------------------------------------------------------


def test_the_stored_schema_is_that_of_a_new_database(audit_url: str) -> None:
    kind = "sqlite" if audit_url.startswith("sqlite") else "postgresql"
    stored = json.loads((EXPECTED / f"{kind}.json").read_text())
    found: dict[str, dict[str, dict[str, str]]] = {}
    for item, told in described(audit_url).items():
        found.setdefault(item.table, {}).setdefault(item.kind, {})[item.name] = told
    assert found == stored, "run `make schema`"


def test_nothing_is_found_in_a_database_that_nobody_touched(engine: Engine) -> None:
    assert checked(engine) == Checked((), (), (), 0)
    decide(engine, 5)
    decide(engine, 3, Mode.OBSERVE)
    note_pause(engine, PAUSE, "a test", "ada")
    note_pause(engine, RESUME, "", "ada")
    # A policy, eight decisions with their outcomes, two modes of a daemon, what it watches, two events.
    assert checked(engine) == checked(engine, everything=True) == Checked((), (), (), 22)


# --- the schema ----------------------------------------------------------------------------------------------

PUT_BACK = "put it back as a new database has it"
DROP_IT = "find out who added it, and drop it"
EVERYWHERE = [
    (["DROP INDEX ix_decisions_place"], [f"index ix_decisions_place of decisions is missing: {PUT_BACK}"]),
    (
        ["DROP INDEX uq_outcomes_decision_id", "CREATE INDEX uq_outcomes_decision_id ON outcomes (decision_id)"],
        [f"index uq_outcomes_decision_id of outcomes was changed, it reads `create index …`: {PUT_BACK}"],
    ),
    (["CREATE INDEX more ON outcomes (detail)"], [f"index more of outcomes is not of this schema: {DROP_IT}"]),
    (
        ["ALTER TABLE decisions ADD COLUMN note TEXT"],
        [f"column note of decisions is not of this schema: {DROP_IT}"],
    ),
    (["ALTER TABLE daemons DROP COLUMN problem"], [f"column problem of daemons is missing: {PUT_BACK}"]),
    (
        ["DROP VIEW register_all", "CREATE VIEW register_all AS SELECT decision_id FROM decisions"],
        [f"view register_all was changed, it reads `…`: {PUT_BACK}"],
    ),
    (["DROP VIEW register_all"], [f"view register_all is missing: {PUT_BACK}"]),
    (["DROP TABLE pause_events"], [f"table pause_events is missing: {PUT_BACK}"]),
    (["CREATE TABLE customers (id INTEGER)"], [f"table customers is not of this schema: {DROP_IT}"]),
    (["CREATE VIEW mine AS SELECT model FROM decisions"], []),
]
SQLITE = [
    (["DROP TRIGGER decisions_no_update"], [f"trigger decisions_no_update of decisions is missing: {PUT_BACK}"]),
    (
        [
            "DROP TRIGGER outcomes_no_delete",
            "CREATE TRIGGER outcomes_no_delete BEFORE DELETE ON outcomes BEGIN SELECT 1; END",
        ],
        [f"trigger outcomes_no_delete of outcomes was changed, it reads `…begin select 1 ; end`: {PUT_BACK}"],
    ),
    (
        ["CREATE TRIGGER quiet BEFORE INSERT ON decisions BEGIN SELECT RAISE(IGNORE); END"],
        [f"trigger quiet of decisions is not of this schema: {DROP_IT}"],
    ),
    (["ANALYZE"], []),
]
POSTGRESQL = [
    (
        ["DROP TRIGGER decisions_no_change ON decisions"],
        [f"trigger decisions_no_change of decisions is missing: {PUT_BACK}"],
    ),
    (
        ["ALTER TABLE outcomes DISABLE TRIGGER outcomes_no_change"],
        [f"trigger outcomes_no_change of outcomes was changed, it reads `…switched off`: {PUT_BACK}"],
    ),
    (
        # Without ALWAYS it does not fire for whoever sets session_replication_role.
        ["ALTER TABLE outcomes ENABLE TRIGGER outcomes_no_change"],
        [f"trigger outcomes_no_change of outcomes was changed, it reads `…`: {PUT_BACK}"],
    ),
    (
        ["CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
         "$$ BEGIN RETURN COALESCE(NEW, OLD); END $$"],
        [f"function refuse_change() was changed, it reads `…return coalesce ( new , old ) ; end $ function $`: "
         f"{PUT_BACK}"],
    ),
    (
        [
            "COMMENT ON COLUMN decisions.verdict IS 'what I say'",
            "COMMENT ON COLUMN decisions.acts IS NULL",
            "COMMENT ON INDEX ix_decisions_place IS 'mine'",
        ],
        [
            f"comment acts of decisions is missing: {PUT_BACK}",
            f"comment verdict of decisions was changed, it reads `what I say`: {PUT_BACK}",
        ],
    ),
    (
        ["CREATE RULE quiet AS ON INSERT TO decisions DO INSTEAD NOTHING"],
        [f"rule quiet of decisions is not of this schema: {DROP_IT}"],
    ),
    (
        ["ALTER TABLE decisions ENABLE ROW LEVEL SECURITY", "CREATE POLICY hidden ON decisions USING (model = 'x')"],
        [
            f"policy hidden of decisions is not of this schema: {DROP_IT}",
            f"table decisions was changed, it reads `table with row security`: {PUT_BACK}",
        ],
    ),
    (
        ["ALTER TABLE decisions DROP CONSTRAINT uq_decisions_replaces"],
        [f"constraint uq_decisions_replaces of decisions is missing: {PUT_BACK}"],
    ),
    (
        ["ALTER TABLE outcomes ALTER COLUMN detail DROP NOT NULL"],
        [f"column detail of outcomes was changed, it reads `text`: {PUT_BACK}"],
    ),
    (
        ["ALTER TABLE log_nodes SET UNLOGGED"],
        [f"table log_nodes was changed, it reads `table unlogged`: {PUT_BACK}"],
    ),
    (["CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'"], []),
]  # fmt: skip


def alike(said: str, expected: str) -> bool:
    """Whether a sentence is the expected one, in which `…` stands for anything."""
    parts = expected.split("…")
    at = 0
    for part in parts:
        at = said.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return said.startswith(parts[0]) and said.endswith(parts[-1])


def assert_told(said: tuple[str, ...], expected: list[str]) -> None:
    assert len(said) == len(expected), said
    for sentence, wanted in zip(said, expected, strict=True):
        assert alike(sentence, wanted), sentence


@pytest.mark.parametrize(("statements", "expected"), EVERYWHERE, ids=lambda case: str(case[0])[:50] if case else "")
def test_a_change_of_the_schema_is_told_by_name(engine: Engine, statements: list[str], expected: list[str]) -> None:
    decide(engine, 1)
    change(engine, *statements)
    assert_told(both(engine), expected)


@pytest.mark.parametrize(("statements", "expected"), SQLITE, ids=lambda case: str(case[0])[:50] if case else "")
@pytest.mark.parametrize("audit_url", [ON_SQLITE], indirect=True)
def test_on_sqlite_a_change_of_a_trigger_is_told_by_name(
    engine: Engine, statements: list[str], expected: list[str]
) -> None:
    decide(engine, 1)
    change(engine, *statements)
    assert_told(both(engine), expected)


@pytest.mark.parametrize(("statements", "expected"), POSTGRESQL, ids=lambda case: str(case[0])[:50] if case else "")
@pytest.mark.parametrize("audit_url", ["postgresql"], indirect=True)
def test_on_postgresql_a_change_of_what_it_defends_is_told_by_name(
    engine: Engine, statements: list[str], expected: list[str]
) -> None:
    decide(engine, 1)
    change(engine, *statements)
    assert_told(both(engine), expected)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            "UPDATE sqlite_master SET sql = replace(sql, 'reason TEXT NOT NULL', 'reason TEXT') "
            "WHERE name = 'decisions'",
            f"column reason of decisions was changed, it reads `text`: {PUT_BACK}",
        ),
        (
            "UPDATE sqlite_master SET sql = replace(sql, 'UNIQUE (replaces)', 'UNIQUE (replaces) ON CONFLICT REPLACE') "
            "WHERE name = 'decisions'",
            "constraint uq_decisions_replaces of decisions was changed, it reads "
            f"`unique ( replaces ) on conflict replace`: {PUT_BACK}",
        ),
        (
            "UPDATE sqlite_master SET sql = replace(sql, 'RAISE(ABORT, ', 'quote(') WHERE name = 'outcomes_no_update'",
            f"trigger outcomes_no_update of outcomes was changed, it reads `…select quote (…`: {PUT_BACK}",
        ),
        (
            "DELETE FROM sqlite_master WHERE name = 'evidence_no_delete'",
            f"trigger evidence_no_delete of evidence is missing: {PUT_BACK}",
        ),
    ],
)
@pytest.mark.parametrize("audit_url", [ON_SQLITE], indirect=True)
def test_an_edit_of_sqlite_s_own_table_is_told_by_name(engine: Engine, edit: str, expected: str) -> None:
    decide(engine, 1)
    engine.dispose()
    with closing(sqlite3.connect(str(engine.url.database))) as stranger, stranger:
        stranger.execute("PRAGMA writable_schema = ON")
        assert stranger.execute(edit).rowcount == 1
    assert_told(both(engine), [expected])


def test_where_a_column_of_history_is_gone_no_row_is_checked(engine: Engine) -> None:
    decide(engine, 1)
    change(engine, "DROP VIEW register_all", "DROP VIEW decision_register", "ALTER TABLE decisions DROP COLUMN reason")
    found = checked(engine)
    assert [told.partition(" is missing")[0] for told in found.schema] == [
        "view decision_register", "view register_all", "column reason of decisions",
    ]  # fmt: skip
    assert found.entries is None


# --- rows ----------------------------------------------------------------------------------------------------


def only(engine: Engine, query: str) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(text(query)))


def faults_in_rows(engine: Engine, table: str, statement: str) -> tuple[str, ...]:
    """What is found in the rows of today, and by `--all`, after a change by whoever owns the database."""
    without_triggers(engine, table)
    change(engine, statement)
    today, all_rows = checked(engine).rows, checked(engine, everything=True).rows
    assert set(today) == set(all_rows)
    return today


def test_a_flipped_verdict_is_told_with_what_the_checks_give(engine: Engine) -> None:
    decide(engine, 3)
    id = only(engine, "SELECT min(decision_id) FROM decisions")
    entry = only(engine, f"SELECT leaf FROM log_leaves WHERE row_key = '{id}'")
    flip = f"UPDATE decisions SET verdict = 'reject' WHERE decision_id = '{id}'"
    assert faults_in_rows(engine, "decisions", flip) == (
        f"decisions {id} (entry {entry} of the log): the row, its checks or its evidence was changed: compare it with "
        "a backup",
        f"decisions {id}: its verdict is reject (all_checks_passed), and its checks give approve (all_checks_passed): "
        "compare it with a backup",
    )


def test_a_changed_policy_is_told_by_its_digest(engine: Engine) -> None:
    decide(engine, 1)
    digest = only(engine, "SELECT digest FROM policy_versions")
    changed = "UPDATE policy_versions SET text = replace(text, '0.9', '0.1')"
    assert faults_in_rows(engine, "policy_versions", changed) == (
        f"policy_versions {digest} (entry 0 of the log): the row was changed: compare it with a backup",
        f"policy_versions {digest}: the policy was changed, its text has another digest: compare it with a backup",
    )


@pytest.mark.parametrize("which", ["min(id)", "max(id)"])
def test_a_removed_row_is_told_by_the_log_the_last_one_too(engine: Engine, which: str) -> None:
    decide(engine, 3)
    id = only(engine, f"SELECT {which} FROM outcomes")
    entry = only(engine, f"SELECT leaf FROM log_leaves WHERE entry = 'outcomes' AND row_key = '{id}'")
    assert faults_in_rows(engine, "outcomes", f"DELETE FROM outcomes WHERE id = {id}") == (
        f"outcomes {id} (entry {entry} of the log): the row is missing: compare it with a backup",
    )


# --- one outcome ---------------------------------------------------------------------------------------------


def test_a_decision_has_one_outcome_and_the_database_refuses_another(engine: Engine) -> None:
    decide(engine, 1)
    another = (
        "INSERT INTO outcomes (decision_id, outcome, at, detail) SELECT decision_id, 'failed', at, '' FROM outcomes"
    )
    with pytest.raises(DBAPIError, match="append-only|uq_outcomes_decision_id"):
        change(engine, another)
    # Not by a trigger alone: the index refuses it as well.
    without_triggers(engine, "outcomes")
    with pytest.raises(DBAPIError, match=r"outcomes\.decision_id|uq_outcomes_decision_id"):
        change(engine, another)
    assert only(engine, "SELECT count(*) FROM outcomes") == "1"


# --- cells of SQLite that hold what no column of this schema can ------------------------------------------------

HISTORY = ("policy_versions", "decisions", "decision_checks", "outcomes", "evidence", "log_leaves", "log_nodes")
LONG = bool(os.environ.get("LONG_TESTS"))
CELLS = ("x'ff00'", "'zz'", "1e300", "-5", "2", "9223372036854775807", "CAST(x'ff41' AS TEXT)")


@pytest.mark.parametrize("table", HISTORY)
def test_a_cell_of_any_kind_is_found_in_each_column_by_both_commands(tmp_path: Path, table: str) -> None:
    untouched, changed = tmp_path / "untouched.db", tmp_path / "changed.db"
    schema.upgrade(f"sqlite:///{untouched}")
    writing = make_engine(f"sqlite:///{untouched}")
    decide(writing, 2)
    writing.dispose()
    with closing(sqlite3.connect(untouched)) as owner:
        columns = [row[1] for row in owner.execute(f"PRAGMA table_info({table})")]
    tried = 0
    for column, cell in ((column, cell) for place, column in enumerate(columns) for cell in cells_for(place)):
        shutil.copy(untouched, changed)
        if not set_as_owner(changed, table, column, cell):
            continue
        tried += 1
        reading = make_engine(f"sqlite:///{changed}", Access.READ)
        found = (check(reading).rows, check(reading, everything=True).rows, verify(reading).differences)
        reading.dispose()
        assert all(found), (column, cell, found)
    assert tried > len(columns)


def cells_for(place: int) -> Sequence[str]:
    """For the n-th column: all, or two of them that the next columns do not get."""
    return CELLS if LONG else [CELLS[(2 * place + step) % len(CELLS)] for step in range(2)]


def set_as_owner(database: Path, table: str, column: str, cell: str) -> bool:
    """Changes a cell of the last row behind the triggers; False where the database refuses it, or it is the same."""
    with closing(sqlite3.connect(database, isolation_level=None)) as owner:
        triggers = owner.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            owner.execute(f"DROP TRIGGER {name}")
        last = f"rowid = (SELECT max(rowid) FROM {table}) AND {column} IS NOT {cell}"
        changed = 0
        with suppress(sqlite3.Error):
            changed = owner.execute(f"UPDATE {table} SET {column} = {cell} WHERE {last}").rowcount
        for _, sql in triggers:
            owner.execute(sql)
    return changed > 0


def test_a_daemon_that_reads_a_damaged_cell_says_so_in_one_line(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/audit.db"
    schema.upgrade(url)
    engine = make_engine(url)
    decide(engine, 1)
    engine.dispose()
    assert set_as_owner(tmp_path / "audit.db", "decisions", "acts", "'zz'")
    with closing(sqlite3.connect(tmp_path / "audit.db")) as owner:
        [(key,)] = owner.execute("SELECT request_key FROM decisions")
    again = make_engine(url)
    with pytest.raises(AuditUnavailable, match="a row holds neither true nor false: see `mlflow-reconciler db check`"):
        SqlAuditLog(again, "test:1", REGISTRY).last_decisions([key])
    again.dispose()
