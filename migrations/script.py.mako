"""${message}

A revision is named 0002_what_it_does, runs in one transaction on SQLite and PostgreSQL alike, and never rewrites
rows of the append-only tables: add columns with a default, or add tables.
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
