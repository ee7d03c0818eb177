"""What a decision did and who decided, in the register; when a daemon ended, beside what it told of itself."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0006_effects_and_ends"
down_revision = "0005_stuck"

# UTC; sortable ISO 8601 text with milliseconds on SQLite.
MOMENT = sa.String(24).with_variant(TIMESTAMP(timezone=True), "postgresql")

REGISTER = """
VIEW decision_register AS
SELECT d.decision_id, d.decided_at, d.registry, d.workspace, d.model, d.version, d.target,
       d.requester, d.requester_assurance, d.requested_at, d.comment,
       d.verdict, d.reason_code, d.reason, d.mode, d.policy_digest, d.rule, d.acts, d.archive_existing,
       o.outcome, o.at AS outcome_at, o.detail AS outcome_detail,
       CASE WHEN o.outcome = 'applied' AND d.verdict = 'approve' THEN 'moved'
            WHEN o.outcome = 'applied' THEN 'refused'
            WHEN o.outcome IN ('observed', 'superseded') THEN 'nothing'
       END AS effect,
       'daemon' AS decider
FROM decisions d
LEFT JOIN outcomes o ON o.id = (SELECT max(last.id) FROM outcomes last WHERE last.decision_id = d.decision_id)
"""


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP VIEW decision_register")
        op.execute(f"CREATE {REGISTER}")
    else:
        # Replaced, and columns added at its end: what was granted on it stays.
        op.execute(f"CREATE OR REPLACE {REGISTER}")
    with op.batch_alter_table("daemons") as table:
        table.add_column(sa.Column("ended_at", MOMENT, nullable=True))
