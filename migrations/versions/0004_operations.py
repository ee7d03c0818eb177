"""Pauses, which can only be added; and what each daemon tells of itself."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0004_operations"
down_revision = "0003_leases"

# UTC; sortable ISO 8601 text with milliseconds on SQLite.
MOMENT = sa.String(24).with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "pause_events",
        sa.Column("id", kind, sa.Identity(always=False), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("action", sa.String(8), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
    )
    with op.batch_alter_table("daemons") as table:
        table.add_column(sa.Column("problem", sa.Text, nullable=True))
        table.add_column(sa.Column("skew_ms", sa.Integer, nullable=True))
    forbid = forbid_on_sqlite if op.get_context().dialect.name == "sqlite" else forbid_on_postgresql
    forbid()


def forbid_on_sqlite() -> None:
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER pause_events_no_{change.lower()} BEFORE {change} ON pause_events "
            "BEGIN SELECT RAISE(ABORT, 'pause_events is append-only'); END"
        )
    op.execute(
        "CREATE TRIGGER pause_events_no_replace BEFORE INSERT ON pause_events "
        "WHEN EXISTS (SELECT 1 FROM pause_events WHERE id = NEW.id) "
        "BEGIN SELECT RAISE(ABORT, 'pause_events is append-only'); END"
    )


def forbid_on_postgresql() -> None:
    op.execute(
        "CREATE TRIGGER pause_events_no_change BEFORE UPDATE OR DELETE ON pause_events "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER pause_events_no_truncate BEFORE TRUNCATE ON pause_events "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    for trigger in ("no_change", "no_truncate"):
        op.execute(f"ALTER TABLE pause_events ENABLE ALWAYS TRIGGER pause_events_{trigger}")
