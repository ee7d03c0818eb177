"""What holds a governed target, as seen, and what brought it there.

`observations` has a row when a version is first seen with a target, and one when it is first seen without it;
`attributions` explains them. `watched_scopes` says since when which targets were looked at, and `acknowledgements` what a
named person accepted. All four can only be added to. `tenures` joins them, and `bypasses` has those without a decision.

The index over decisions by model becomes one by model, version and target: a look asks which of them explains a holder.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0017_observations"
down_revision = "0016_resolutions"

# UTC; sortable ISO 8601 text with milliseconds on SQLite.
MOMENT = sa.String(24).with_variant(TIMESTAMP(timezone=True), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TRUTH = sa.Boolean()

# By which columns SQLite finds the row that INSERT OR REPLACE would replace.
REPLACED = {
    "observations": "id = NEW.id OR tenure_id = NEW.tenure_id",
    "attributions": "id = NEW.id OR observation_id = NEW.observation_id",
    "acknowledgements": "id = NEW.id OR observation_id = NEW.observation_id",
    "watched_scopes": "id = NEW.id",
}

# An open tenure was last seen at the last complete look at its kind of target, once that is later than the first.
TENURES = """
VIEW tenures AS
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
WHERE b.seen = 'held'
"""

# A decision that is carried out while the version already holds the target approves what is there.
BYPASSES = """
VIEW bypasses AS
SELECT o.*, CASE WHEN o.first_seen_without IS NOT NULL THEN 'gone' WHEN o.approved_by IS NOT NULL THEN 'approved'
                 WHEN o.accepted_at IS NOT NULL THEN 'acknowledged' ELSE 'open' END AS standing
FROM (
    SELECT t.*, (
        SELECT min(d.decision_id) FROM decisions d JOIN outcomes c ON c.decision_id = d.decision_id
        WHERE d.model = t.model AND d.version = t.version AND d.target = t.target AND d.registry = t.registry
          AND d.workspace = t.workspace AND d.verdict = 'approve' AND c.outcome = 'applied' AND c.at > t.first_seen_with
          AND (t.first_seen_without IS NULL OR c.at < t.first_seen_without)
    ) AS approved_by
    FROM tenures t WHERE t.began_by = 'bypass' OR (t.began_by = 'rename' AND t.began_detail = 'bypass')
) o
"""


def upgrade() -> None:
    dialect = op.get_context().dialect.name
    op.drop_index("ix_decisions_model", "decisions")
    op.create_index("ix_decisions_place", "decisions", ["model", "version", "target"])
    op.create_index("ix_resolutions_model", "resolutions", ["model", "version", "target"])
    create_history()
    create_working_state()
    for table in REPLACED:
        (forbid_on_sqlite if dialect == "sqlite" else forbid_on_postgresql)(table)
    op.execute("CREATE " + TENURES.strip())
    op.execute("CREATE " + BYPASSES.strip())


def place() -> list[sa.Column]:
    return [sa.Column(name, sa.Text, nullable=False) for name in ("registry", "workspace", "model", "version", "target")]


def create_history() -> None:
    op.create_table(
        "observations",
        sa.Column("id", ROW_ID, sa.Identity(always=False), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        *place(),
        sa.Column("seen", sa.String(8), nullable=False),
        sa.Column("not_since", MOMENT, nullable=True),
        sa.Column("tenure_id", ROW_ID, sa.ForeignKey("observations.id"), nullable=True),
        sa.Column("first_look", TRUTH, nullable=False),
        sa.Column("sign", sa.String(16), nullable=False),
        sa.Column("continues_id", ROW_ID, sa.ForeignKey("observations.id"), nullable=True),
        sa.Column("created_ms", sa.BigInteger, nullable=True),
        sa.UniqueConstraint("tenure_id", name="uq_observations_tenure"),
    )
    op.create_index("ix_observations_place", "observations", ["model", "version", "target"])
    op.create_table(
        "attributions",
        sa.Column("id", ROW_ID, sa.Identity(always=False), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("observation_id", ROW_ID, sa.ForeignKey("observations.id"), nullable=False),
        sa.Column("cause", sa.String(16), nullable=False),
        sa.Column("by_approval", TRUTH, nullable=False),
        sa.Column("decision_id", sa.String(36), sa.ForeignKey("decisions.decision_id"), nullable=True),
        sa.Column("resolution_id", ROW_ID, sa.ForeignKey("resolutions.id"), nullable=True),
        sa.Column("person", sa.Text, nullable=True),
        sa.Column("person_assurance", sa.String(16), nullable=True),
        sa.Column("detail", sa.Text, nullable=False),
        sa.UniqueConstraint("observation_id", name="uq_attributions_observation"),
    )
    op.create_index("ix_attributions_decision", "attributions", ["decision_id"])
    op.create_index("ix_attributions_resolution", "attributions", ["resolution_id"])
    op.create_table(
        "acknowledgements",
        sa.Column("id", ROW_ID, sa.Identity(always=False), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("observation_id", ROW_ID, sa.ForeignKey("observations.id"), nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.UniqueConstraint("observation_id", name="uq_acknowledgements_observation"),
    )
    op.create_table(
        "watched_scopes",
        sa.Column("id", ROW_ID, sa.Identity(always=False), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("registry", sa.Text, nullable=False),
        sa.Column("workspace", sa.Text, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
    )
    op.create_index("ix_watched_scopes_registry", "watched_scopes", ["registry", "workspace", "id"])


def create_working_state() -> None:
    op.create_table(
        "looks",
        sa.Column("registry", sa.Text, primary_key=True),
        sa.Column("workspace", sa.Text, primary_key=True),
        sa.Column("leased_by", sa.Text, nullable=False),
        sa.Column("leased_until", MOMENT, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("watermark_ms", sa.BigInteger, nullable=True),
        sa.Column("stages_as_of", MOMENT, nullable=True),
        sa.Column("aliases_as_of", MOMENT, nullable=True),
        sa.Column("everything_as_of", MOMENT, nullable=True),
        sa.Column("aliases_take_ms", sa.BigInteger, nullable=True),
        sa.Column("problem", sa.Text, nullable=True),
    )
    op.create_table(
        "holders",
        sa.Column("tenure_id", ROW_ID, primary_key=True, autoincrement=False),
        *place(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=True),
        sa.Column("cause", sa.String(16), nullable=True),
    )
    op.create_index("uq_holders_place", "holders", ["registry", "workspace", "name", "version", "target"], unique=True)
    op.create_index("ix_holders_cause", "holders", ["cause"])
    op.create_table(
        "unattributed",
        sa.Column("observation_id", ROW_ID, primary_key=True, autoincrement=False),
        sa.Column("registry", sa.Text, nullable=False),
        sa.Column("workspace", sa.Text, nullable=False),
        sa.Column("looked_again", TRUTH, nullable=False),
        sa.Column("requested", TRUTH, nullable=False),
        sa.Column("decisions_to", ROW_ID, nullable=True),
        sa.Column("resolutions_to", ROW_ID, nullable=True),
    )
    op.create_table(
        "stray_tags",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("registry", "workspace", "model", "version", "tag")),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.Column("pointed_out", TRUTH, nullable=False),
    )


def forbid_on_sqlite(table: str) -> None:
    message = f"{table} is append-only"
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {REPLACED[table]}) "
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


def forbid_on_postgresql(table: str) -> None:
    for trigger, change, each in (("no_change", "UPDATE OR DELETE", "ROW"), ("no_truncate", "TRUNCATE", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER {table}_{trigger} BEFORE {change} ON {table} "
            f"FOR EACH {each} EXECUTE FUNCTION refuse_change()"
        )
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{trigger}")
