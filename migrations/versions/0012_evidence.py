"""Evidence in a table of its own, compressed, each field behind a salted digest: a field can be removed, on record."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0012_evidence"
down_revision = "0011_judgements"

# UTC; sortable ISO 8601 text with milliseconds on SQLite.
MOMENT = sa.String(24).with_variant(TIMESTAMP(timezone=True), "postgresql")

# By which columns SQLite finds the row that INSERT OR REPLACE would replace.
SAME = {
    "evidence": "evidence_key = NEW.evidence_key",
    "redactions": "id = NEW.id OR (evidence_key = NEW.evidence_key AND position = NEW.position)",
}

# The one change that is allowed: a row of `redactions` was added, and one salt of 16 bytes is gone. That the other
# fields are as they were is proved by the log, since a trigger cannot look into what is compressed.
REDACTED = (
    "NEW.evidence_key = OLD.evidence_key AND NEW.fields = OLD.fields"
    " AND length(NEW.salts) = length(OLD.salts) - 16"
    " AND length(NEW.salts) = 16 * (OLD.fields - (SELECT count(*) FROM redactions WHERE evidence_key = OLD.evidence_key))"
)


def upgrade() -> None:
    create_tables()
    if op.get_context().dialect.name == "sqlite":
        for table in SAME:
            forbid_on_sqlite(table)
    else:
        # Random bytes under a compressed part: PostgreSQL need not try to compress them again.
        for column in ("salts", "content"):
            op.execute(f"ALTER TABLE evidence ALTER COLUMN {column} SET STORAGE EXTERNAL")
        forbid_evidence_on_postgresql()
        for table in SAME:
            forbid_on_postgresql(table)
    drop_what_is_empty()


def create_tables() -> None:
    op.create_table(
        "evidence",
        sa.Column("evidence_key", sa.String(36), primary_key=True),
        sa.Column("fields", sa.Integer, nullable=False),
        sa.Column("salts", sa.LargeBinary, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "redactions",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(always=False), primary_key=True
        ),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("evidence_key", sa.String(36), sa.ForeignKey("evidence.evidence_key"), nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.UniqueConstraint("evidence_key", "position", name="uq_redactions_field"),
    )


def drop_what_is_empty() -> None:
    """Evidence of rows that exist is moved in parts when they enter the log, which drops the column in the end."""
    if op.get_context().as_sql:
        op.execute(
            "DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM decisions) THEN "
            "ALTER TABLE decisions DROP COLUMN evidence; END IF; END $$"
        )
    elif op.get_bind().scalar(sa.text("SELECT count(*) FROM (SELECT 1 FROM decisions LIMIT 1) AS one")) == 0:
        op.execute("ALTER TABLE decisions DROP COLUMN evidence")


def forbid_on_sqlite(table: str) -> None:
    message = f"{table} is append-only"
    allowed = f" WHEN NOT ({REDACTED})" if table == "evidence" else ""
    for change, unless in (("UPDATE", allowed), ("DELETE", "")):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table}{unless} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {SAME[table]}) "
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


def forbid_evidence_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change_but_redaction() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF TG_OP = 'UPDATE' THEN IF {REDACTED} THEN RETURN NEW; END IF; END IF; "
        "RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege'; END $$"
    )


def forbid_on_postgresql(table: str) -> None:
    refuse = "refuse_change_but_redaction" if table == "evidence" else "refuse_change"
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {refuse}()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    for trigger in ("no_change", "no_truncate"):
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{trigger}")
