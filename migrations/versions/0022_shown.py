"""What the account could not read for a while: which models it was shown, and since when it may not read a holder's.

Both are working state. The view `tenures` says of an open tenure that cannot be read any more when it was last seen.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0022_shown"
down_revision = "0021_watched"

MOMENT = sa.String(24).with_variant(TIMESTAMP(timezone=True), "postgresql")
# As before, but for what cannot be read any more.
TENURES = """
SELECT b.id AS tenure_id, b.registry, b.workspace, b.model, b.version, b.target, b.not_since AS last_seen_without,
       b.at AS first_seen_with,
       CASE WHEN e.id IS NOT NULL THEN e.not_since
            WHEN h.last_seen IS NOT NULL THEN h.last_seen
            WHEN b.target LIKE '@%' AND l.aliases_as_of > b.at THEN l.aliases_as_of
            WHEN b.target NOT LIKE '@%' AND l.stages_as_of > b.at THEN l.stages_as_of
            ELSE b.at END AS last_seen_with,
       e.at AS first_seen_without, ba.cause AS began_by, ea.cause AS ended_by, ba.decision_id, ba.resolution_id,
       ba.person, ba.person_assurance, ba.detail AS began_detail, ba.by_approval,
       ea.decision_id AS ended_by_decision_id, ea.resolution_id AS ended_by_resolution_id, ea.person AS ended_by_person,
       ea.detail AS ended_detail, b.continues_id, k.at AS accepted_at, k.person AS accepted_by,
       k.reason AS accepted_because
FROM observations b
LEFT JOIN observations e ON e.tenure_id = b.id
LEFT JOIN attributions ba ON ba.observation_id = b.id
LEFT JOIN attributions ea ON ea.observation_id = e.id
LEFT JOIN acknowledgements k ON k.observation_id = b.id
LEFT JOIN looks l ON l.registry = b.registry AND l.workspace = b.workspace
LEFT JOIN holders h ON h.tenure_id = b.id
WHERE b.seen = 'held' AND b.sign <> 'watched'
"""
LAST_SEEN_WITH = (
    "The last look that saw it; of one that goes on and can be read, as of when everything of its kind was seen."
)
COMMENTS = {
    "tenures.last_seen_with": LAST_SEEN_WITH,
    "bypasses.last_seen_with": LAST_SEEN_WITH,
    "holders.last_seen": (
        "The last look that saw it, where the account may not read its model any more, or the model is gone: some "
        "servers say the same of both. NULL: it can be read."
    ),
    "shown_models": (
        "Which models and versions the registry has shown to the account, in 64 groups: what another holds when it may "
        "be read was there before. No rows: not all were listed yet."
    ),
    "shown_models.registry": "Address of the registry.",
    "shown_models.workspace": "The registry's workspace; empty where there is none.",
    "shown_models.part": "Number of the group, from 0: the first byte of a SHA-256, modulo 64.",
    "shown_models.digests": (
        "Bytes 2 to 5 (hex) of each SHA-256 in it, sorted, without a separator: of each model's name, and of when each "
        "model and version was created, so that another name makes none new."
    ),
}


def upgrade() -> None:
    sqlite = op.get_context().dialect.name == "sqlite"
    op.add_column("holders", sa.Column("last_seen", MOMENT, nullable=True))
    op.create_table(
        "shown_models",
        sa.Column("registry", sa.Text, primary_key=True),
        sa.Column("workspace", sa.Text, primary_key=True),
        sa.Column("part", sa.Integer, primary_key=True),
        sa.Column("digests", sa.Text, nullable=False),
    )
    if sqlite:
        op.execute("DROP VIEW tenures")
    op.execute(f"CREATE {'' if sqlite else 'OR REPLACE '}VIEW tenures AS " + TENURES.strip())
    if sqlite:
        return
    for name, text in COMMENTS.items():
        what = f"COLUMN {name}" if "." in name else f"TABLE {name}"
        # A quote ends a string, and a colon begins a parameter.
        escaped = text.replace("'", "''").replace(":", "\\:")
        op.execute(f"COMMENT ON {what} IS '{escaped}'")
