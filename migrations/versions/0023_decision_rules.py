"""The rules of a decision as rows: `decision_rules` has one for each that had a check in its verdict, with what it came to.

`decisions.rule` goes on to join the names of those that decided: it is in the entries of the log.
"""

import json
from pathlib import Path

from alembic import op

revision = "0023_decision_rules"
down_revision = "0022_shown"

TEXTS = Path(__file__).parent.with_name("comments_0023.json")
# A rule is shown by the checks of it that count most: those that decide, else those that advise, else those that
# another rule stands in for; and of these by the one that went worst. Parts of alternatives stand in their whole.
DECISION_RULES = """
SELECT decision_id, rule,
       CASE min(standing) WHEN 1 THEN NULL WHEN 2 THEN 'advises' ELSE 'overridden' END AS role,
       CASE WHEN min(10 * standing + severity) IN (11, 21, 31) THEN 'failed'
            WHEN min(10 * standing + severity) IN (12, 22, 32) THEN 'unknown' ELSE 'passed' END AS result,
       count(*) AS checks, min(position) AS first_position
FROM (
    SELECT decision_id, rule, position,
           CASE WHEN role IS NULL THEN 1 WHEN role = 'advises' THEN 2 ELSE 3 END AS standing,
           CASE result WHEN 'failed' THEN 1 WHEN 'unknown' THEN 2 ELSE 3 END AS severity
    FROM decision_checks WHERE role IS NULL OR role <> 'part'
) c
GROUP BY decision_id, rule
"""


def upgrade() -> None:
    op.execute("CREATE VIEW decision_rules AS " + DECISION_RULES.strip())
    if op.get_context().dialect.name == "sqlite":
        return
    for name, columns in json.loads(TEXTS.read_text(encoding="utf-8")).items():
        for column, text in columns.items():
            what = f"COLUMN {name}.{column}" if column else f"VIEW {name}"
            # A colon begins a parameter.
            quoted = text.replace("'", "''").replace(":", "\\:")
            op.execute(f"COMMENT ON {what} IS '{quoted}'")
