"""`status` names the latest decisions that failed: found by an index of those alone, however long the history is."""

from alembic import op

revision = "0009_failed_outcomes"
down_revision = "0008_leased_by"


def upgrade() -> None:
    op.execute("CREATE INDEX ix_outcomes_failed ON outcomes (id) WHERE outcome = 'failed'")
