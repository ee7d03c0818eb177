"""What each table, view and column means, in plainer words: PostgreSQL shows them in its catalogue.

`comments_0025.json`, beside this folder, has a text for every table and column that existed at this revision; under an
empty name it has the text of the table itself.
"""

import json
from pathlib import Path

from alembic import op

revision = "0025_plain_comments"
down_revision = "0024_sealed"

TEXTS = Path(__file__).parent.with_name("comments_0025.json")
VIEWS = {
    "decision_register", "decision_rules", "running_periods", "policy_periods", "control_gaps", "waiting_periods",
    "decision_times", "register_all", "tenures", "bypasses",
}  # fmt: skip


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        return
    for name, columns in json.loads(TEXTS.read_text(encoding="utf-8")).items():
        for column, text in columns.items():
            what = f"COLUMN {name}.{column}" if column else f"{'VIEW' if name in VIEWS else 'TABLE'} {name}"
            # A quote ends a string, and a colon begins a parameter.
            quoted = text.replace("'", "''").replace(":", "\\:")
            op.execute(f"COMMENT ON {what} IS '{quoted}'")
