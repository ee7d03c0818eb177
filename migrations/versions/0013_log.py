"""The log: a Merkle tree over every row of history, so that a later change of any row can be told."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0013_log"
down_revision = "0012_evidence"

# UTC; sortable ISO 8601 text with milliseconds on SQLite.
MOMENT = sa.String(24).with_variant(TIMESTAMP(timezone=True), "postgresql")

# By which columns SQLite finds the row that INSERT OR REPLACE would replace.
APPEND_ONLY = {
    "log_leaves": "leaf = NEW.leaf OR (entry = NEW.entry AND row_key = NEW.row_key)",
    "log_nodes": "level = NEW.level AND position = NEW.position",
    "log_epochs": "id = NEW.id",
}


def upgrade() -> None:
    create_tables()
    # Rows from before the log are taken in after this revision, in parts; until then the daemon refuses to start.
    op.execute("INSERT INTO log_state (name, size, complete) VALUES ('audit', 0, false)")
    forbid = forbid_on_sqlite if op.get_context().dialect.name == "sqlite" else forbid_on_postgresql
    for table in APPEND_ONLY:
        forbid(table)


def create_tables() -> None:
    op.create_table(
        "log_leaves",
        sa.Column("leaf", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("entry", sa.String(32), nullable=False),
        sa.Column("row_key", sa.String(64), nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("entry", "row_key", name="uq_log_leaves_row"),
    )
    op.create_table(
        "log_nodes",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "log_epochs",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(always=False), primary_key=True
        ),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
    )
    op.create_table(
        "log_state",
        sa.Column("name", sa.String(8), primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
    )


def forbid_on_sqlite(table: str) -> None:
    message = f"{table} is append-only"
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {APPEND_ONLY[table]}) "
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


def forbid_on_postgresql(table: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    for trigger in ("no_change", "no_truncate"):
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{trigger}")
