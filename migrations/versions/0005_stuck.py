"""How often, and since when, a decision or a request fails in the same way: what is stuck is told."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0005_stuck"
down_revision = "0004_operations"

# UTC; sortable ISO 8601 text with milliseconds on SQLite.
MOMENT = sa.String(24).with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    for name in ("pending_acts", "open_requests"):
        with op.batch_alter_table(name) as table:
            table.add_column(sa.Column("failures", sa.Integer, nullable=False, server_default=sa.text("0")))
            table.add_column(sa.Column("failing_since", MOMENT, nullable=True))
