"""Targets that no rule governs are looked at, too, where a check asks for how long a version has held them.

What is seen there is rows of `observations` with the sign `watched`. The views `tenures` and `bypasses`, which are the
population of every report, are about governed targets as before.
"""

from alembic import op

revision = "0021_watched"
down_revision = "0020_comments"

# As before, without what is only watched.
TENURES = """
SELECT b.id AS tenure_id, b.registry, b.workspace, b.model, b.version, b.target, b.not_since AS last_seen_without,
       b.at AS first_seen_with,
       CASE WHEN e.id IS NOT NULL THEN e.not_since
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
WHERE b.seen = 'held' AND b.sign <> 'watched'
"""
WATCHED = "watched (no rule governs the target, and a check asks for how long a version has held it)"
COMMENTS = {
    "observations": (
        "What a look at the registry saw to be otherwise than the look before: a version holds a target that is governed "
        "or watched, or holds it no more."
    ),
    "observations.target": "The stage, or alias, which begins with @: governed, unless sign is watched.",
    "observations.sign": f"What the look itself shows: renamed, deleted, ungoverned, or empty; or {WATCHED}.",
    "holders.cause": "What began it, as in attributions. NULL: not known yet, or its target is only watched.",
}


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP VIEW tenures")
        op.execute("CREATE VIEW tenures AS " + TENURES.strip())
        return
    op.execute("CREATE OR REPLACE VIEW tenures AS " + TENURES.strip())
    for name, text in COMMENTS.items():
        what = f"COLUMN {name}" if "." in name else f"TABLE {name}"
        # A colon begins a parameter.
        escaped = text.replace(":", "\\:")
        op.execute(f"COMMENT ON {what} IS '{escaped}'")
