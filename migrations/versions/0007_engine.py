"""Which engine judged each decision: all until now were judged by the first.

A constant default: neither database rewrites a row, so the triggers that keep history as it is are not asked.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007_engine"
down_revision = "0006_effects_and_ends"


def upgrade() -> None:
    # Not in a batch, which may make a table anew on SQLite: its triggers would be lost.
    op.add_column("decisions", sa.Column("engine", sa.Integer, nullable=False, server_default=sa.text("1")))
