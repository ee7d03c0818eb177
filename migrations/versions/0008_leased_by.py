"""Who carries a decision out is a daemon that leased it: `holder` is what the registry calls a version with a target."""

from alembic import op

revision = "0008_leased_by"
down_revision = "0007_engine"


def upgrade() -> None:
    # Both databases know these words; a batch would make the table anew on SQLite.
    op.execute("ALTER TABLE pending_acts RENAME COLUMN holder TO leased_by")
