"""What an owner might do to hide a change from `audit verify` and `db check`, each told by name all the same."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing

import pytest
from sqlalchemy import Engine, text

from reconciler.audit.integrity.checking import check
from reconciler.audit.log.verifying import verify
from tests.store.test_checking import ON_SQLITE, change, checked
from tests.store.test_log import decide, without_triggers

on_sqlite = pytest.mark.parametrize("audit_url", [ON_SQLITE], indirect=True)


def edit(engine: Engine, *statements: str) -> None:
    """As the owner of a file of SQLite, who may write its own table as well."""
    engine.dispose()
    with closing(sqlite3.connect(str(engine.url.database), isolation_level=None)) as owner:
        owner.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            owner.execute(statement)


# --- the schema of SQLite ------------------------------------------------------------------------------------


@on_sqlite
def test_a_trigger_with_a_name_of_sqlite_s_own_is_told(engine: Engine) -> None:
    edit(
        engine,
        "CREATE TRIGGER quiet BEFORE INSERT ON outcomes BEGIN SELECT RAISE(IGNORE); END",
        "UPDATE sqlite_master SET name = 'sqlite_stat9', sql = replace(sql, 'quiet', 'sqlite_stat9') "
        "WHERE name = 'quiet'",
    )
    assert "trigger sqlite_stat9 of outcomes is not of this schema" in checked(engine).schema[0]


@on_sqlite
def test_a_letter_that_python_takes_for_another_hides_no_column_and_no_index(engine: Engine) -> None:
    """The Kelvin sign is a k to Python once it is lower case, and another letter to SQLite."""
    kelvin = "request_\N{KELVIN SIGN}ey"
    [definition] = _texts(engine, "uq_decisions_first_acting")
    edit(
        engine,
        f"ALTER TABLE decisions ADD COLUMN {kelvin} VARCHAR(64) NOT NULL DEFAULT ''",
        "DROP INDEX uq_decisions_first_acting",
        definition.replace("(request_key)", f"({kelvin})"),
    )
    told = checked(engine).schema
    assert any("index uq_decisions_first_acting of decisions was changed" in one for one in told), told
    assert any("is not of this schema" in one for one in told), told


def _texts(engine: Engine, name: str) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text(f"SELECT sql FROM sqlite_master WHERE name = '{name}'")))


@on_sqlite
def test_of_two_constraints_with_one_name_none_hides_the_other(engine: Engine) -> None:
    edit(
        engine,
        "UPDATE sqlite_master SET sql = replace(sql, 'CONSTRAINT uq_decisions_replaces', "
        "'CONSTRAINT uq_decisions_replaces CHECK (verdict <> ''reject''), CONSTRAINT uq_decisions_replaces') "
        "WHERE name = 'decisions'",
    )
    assert "constraint uq_decisions_replaces of decisions was changed" in checked(engine).schema[0]


# --- rows of SQLite ------------------------------------------------------------------------------------------


@on_sqlite
def test_a_row_that_is_in_no_index_is_told(engine: Engine) -> None:
    """Whoever reads by an index does not see it, and the register shows it."""
    decide(engine, 1)
    with engine.connect() as connection:
        columns = [row.name for row in connection.execute(text("PRAGMA table_info(decisions)"))]
    [definition] = _texts(engine, "decisions")
    cells = {"id": "99", "decision_id": "'forged'", "request_key": "'forged'"}
    edit(
        engine,
        "CREATE TABLE kept AS SELECT * FROM sqlite_master WHERE type = 'index' AND tbl_name = 'decisions'",
        "DELETE FROM sqlite_master WHERE type = 'index' AND tbl_name = 'decisions'",
        # Without its constraints, so that SQLite asks for no index.
        f"UPDATE sqlite_master SET sql = 'CREATE TABLE decisions ({', '.join(columns)})' WHERE name = 'decisions'",
    )
    edit(engine, f"INSERT INTO decisions SELECT {', '.join(cells.get(one, one) for one in columns)} FROM decisions")
    quoted = definition.replace("'", "''")
    edit(
        engine,
        f"UPDATE sqlite_master SET sql = '{quoted}' WHERE name = 'decisions'",
        "INSERT INTO sqlite_master SELECT * FROM kept",
        "DROP TABLE kept",
    )
    with engine.connect() as connection:
        shown = [row.decision_id for row in connection.execute(text("SELECT * FROM decision_register"))]
    assert "forged" in shown
    assert any("the file is damaged: row" in told for told in verify(engine).differences)
    assert any("the file is damaged: row" in told for told in checked(engine, everything=True).rows)


@on_sqlite
@pytest.mark.parametrize(
    "written",
    ["strftime('%Y-%m-%dT%H:%M:%f', decided_at, '-23 hours') || '-23:00'", "substr(decided_at, 1, 23) || '999Z'"],
)
def test_a_moment_in_other_words_is_a_change(engine: Engine, written: str) -> None:
    """It sorts elsewhere among texts, and the register shows another day."""
    decide(engine, 1)
    without_triggers(engine, "decisions")
    change(engine, f"UPDATE decisions SET decided_at = {written}")
    assert "was changed" in verify(engine).differences[0]
    assert "was changed" in checked(engine).rows[0]


# --- rows of both --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity"])
def test_a_number_without_an_end_in_evidence_ends_no_verification(engine: Engine, number: str) -> None:
    decide(engine, 1)
    without_triggers(engine, "evidence")
    with engine.begin() as connection:
        content = connection.execute(text("SELECT content FROM evidence")).scalar_one()
        first, *others = json.loads(zlib.decompress(content))
        written = f"[[{json.dumps(first[0])},{number}]" + "".join(f",{json.dumps(one)}" for one in others) + "]"
        forged = {"content": zlib.compress(written.encode())}
        connection.execute(text("UPDATE evidence SET content = :content"), forged)
    assert "its evidence cannot be read" in verify(engine).differences[0]
    assert "its evidence cannot be read" in check(engine).rows[0]


@on_sqlite
def test_a_check_of_no_decision_is_told_by_verify_too(engine: Engine) -> None:
    decide(engine, 1)
    edit(
        engine,
        "INSERT INTO decision_checks SELECT 'nobody', position, rule, check_name, result, code, expected, observed, "
        "observed_number, source, role, check_id FROM decision_checks WHERE position = 0",
    )
    assert "decision_checks of nobody: their decision is missing" in verify(engine).differences


# --- PostgreSQL ----------------------------------------------------------------------------------------------

on_postgresql = pytest.mark.parametrize("audit_url", ["postgresql"], indirect=True)
SHADOW = "CREATE SCHEMA postgres"


@on_postgresql
@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (
            [SHADOW, "CREATE VIEW postgres.decision_register AS SELECT * FROM public.decision_register WHERE false"],
            "relation postgres.decision_register is not of this schema",
        ),
        (
            [SHADOW, "CREATE TABLE postgres.outcomes AS TABLE public.outcomes"],
            "relation postgres.outcomes is not of this schema",
        ),
        (
            [
                SHADOW,
                "CREATE FUNCTION postgres.refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
                "'BEGIN RETURN COALESCE(NEW, OLD); END'",
                "DROP TRIGGER outcomes_no_change ON outcomes",
                "CREATE TRIGGER outcomes_no_change BEFORE DELETE OR UPDATE ON outcomes FOR EACH ROW "
                "EXECUTE FUNCTION postgres.refuse_change()",
                "ALTER TABLE outcomes ENABLE ALWAYS TRIGGER outcomes_no_change",
            ],
            "trigger outcomes_no_change of outcomes was changed",
        ),
        (
            [
                "CREATE FUNCTION alike(varchar, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
                "CREATE OPERATOR = (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = alike)",
            ],
            "operator =(character varying,character varying) is not of this schema",
        ),
        (
            ["ALTER SEQUENCE pause_events_id_seq INCREMENT -1 MINVALUE -1000"],
            "column id of pause_events was changed, it reads `bigint not null identity by default counted otherwise`",
        ),
        (["ALTER TABLE outcomes FORCE ROW LEVEL SECURITY"], "table outcomes was changed"),
        (["ALTER VIEW decision_register SET (security_barrier)"], "view decision_register was changed"),
        (
            ["UPDATE pg_index SET indisunique = false WHERE indexrelid = 'uq_decisions_replaces'::regclass"],
            "constraint uq_decisions_replaces of decisions was changed",
        ),
        (
            ["UPDATE pg_index SET indisready = false WHERE indexrelid = 'uq_outcomes_decision_id'::regclass"],
            "index uq_outcomes_decision_id of outcomes was changed",
        ),
        (
            [
                "DO $$ DECLARE one text; BEGIN SELECT tgname INTO one FROM pg_trigger WHERE tgisinternal "
                "AND tgrelid = 'outcomes'::regclass LIMIT 1; "
                "EXECUTE format('ALTER TABLE outcomes ENABLE REPLICA TRIGGER %I', one); END $$"
            ],
            "constraint outcomes_decision_id_fkey of outcomes was changed",
        ),
    ],
)
def test_what_hides_on_postgresql_is_told_by_name(engine: Engine, statements: list[str], told: str) -> None:
    """Roles of PostgreSQL find a schema of their own name first, and these databases are `postgres`'s."""
    decide(engine, 1)
    change(engine, *statements)
    assert any(told in one for one in checked(engine).schema), checked(engine).schema


@on_postgresql
def test_a_search_path_that_puts_postgresql_s_own_names_last_is_told(engine: Engine) -> None:
    change(engine, f"ALTER DATABASE {engine.url.database} SET search_path = public, pg_catalog")
    engine.dispose()
    assert "setting search_path" in checked(engine).schema[0]
