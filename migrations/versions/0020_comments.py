"""PostgreSQL tells what each table, view and column means. SQLite has no place for that, and stays as it is.

The texts are those of `comments_0020.json`, beside this folder: by table and column, and by an empty name of the table
itself.
"""

import json
from pathlib import Path

from alembic import op

revision = "0020_comments"
down_revision = "0019_drifts"

TEXTS = Path(__file__).parent.with_name("comments_0020.json")
VIEWS = {
    "decision_register", "running_periods", "policy_periods", "control_gaps", "waiting_periods", "decision_times",
    "register_all", "tenures", "bypasses",
}  # fmt: skip


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        return
    for name, columns in json.loads(TEXTS.read_text(encoding="utf-8")).items():
        for column, text in columns.items():
            what = f"COLUMN {name}.{column}" if column else f"{'VIEW' if name in VIEWS else 'TABLE'} {name}"
            # Other than SQL's own, a colon begins a parameter, and a percent sign a placeholder.
            quoted = text.replace("'", "''").replace(":", "\\:")
            op.execute(f"COMMENT ON {what} IS '{quoted}'")
