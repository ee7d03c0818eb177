"""What changed of a holder after it was approved: a row for each value that a look found to be another than before.

It can only be added to. `judged` is what the decision rests on, `found` what a later look found; no value on either side
means that there was none.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0019_drifts"
down_revision = "0018_check_roles"

# UTC; sortable ISO 8601 text with milliseconds on SQLite.
MOMENT = sa.String(24).with_variant(TIMESTAMP(timezone=True), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "drifts",
        sa.Column("id", ROW_ID, sa.Identity(always=False), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("tenure_id", ROW_ID, sa.ForeignKey("observations.id"), nullable=False),
        sa.Column("decision_id", sa.String(36), sa.ForeignKey("decisions.decision_id"), nullable=False),
        sa.Column("field", sa.Text, nullable=False),
        sa.Column("judged", sa.Text, nullable=True),
        sa.Column("found", sa.Text, nullable=True),
    )
    op.create_index("ix_drifts_tenure", "drifts", ["tenure_id", "id"])
    op.create_index("ix_drifts_decision", "drifts", ["decision_id"])
    (forbid_on_sqlite if op.get_context().dialect.name == "sqlite" else forbid_on_postgresql)("drifts")


def forbid_on_sqlite(table: str) -> None:
    message = f"{table} is append-only"
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


def forbid_on_postgresql(table: str) -> None:
    for trigger, change, each in (("no_change", "UPDATE OR DELETE", "ROW"), ("no_truncate", "TRUNCATE", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER {table}_{trigger} BEFORE {change} ON {table} "
            f"FOR EACH {each} EXECUTE FUNCTION refuse_change()"
        )
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{trigger}")
