"""What a check had to say in its verdict, and the id that the policy gives it.

Nothing where it decides, as every check did once, and where it has no id: the entries of the log, which leave out what
is not there, stay as they were.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018_check_roles"
down_revision = "0017_observations"


def upgrade() -> None:
    op.add_column("decision_checks", sa.Column("role", sa.String(16)))
    op.add_column("decision_checks", sa.Column("check_id", sa.String(100)))
