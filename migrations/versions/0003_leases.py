"""Who carries a decision out, until when: several daemons may share one PostgreSQL."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0003_leases"
down_revision = "0002_no_replace_by_request"

# UTC; sortable ISO 8601 text with milliseconds on SQLite.
MOMENT = sa.String(24).with_variant(TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("pending_acts") as table:
        table.add_column(sa.Column("holder", sa.Text, nullable=True))
        table.add_column(sa.Column("fence", sa.Integer, nullable=False, server_default=sa.text("0")))
        table.add_column(sa.Column("leased_until", MOMENT, nullable=True))
    with op.batch_alter_table("daemons") as table:
        table.add_column(sa.Column("registry", sa.Text, nullable=False, server_default=""))
        table.add_column(sa.Column("workspace", sa.Text, nullable=False, server_default=""))
