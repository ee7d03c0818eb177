"""What people did: the entries of a registry's own history, and what is inferred where there is none.

`resolutions` can only be added to. `register_all` has them beside the daemons' decisions.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0016_resolutions"
down_revision = "0015_abstentions"

# UTC; sortable ISO 8601 text with milliseconds on SQLite.
MOMENT = sa.String(24).with_variant(TIMESTAMP(timezone=True), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TABLE = "resolutions"
# By which columns SQLite finds the row that INSERT OR REPLACE would replace.
REPLACED = (
    "id = NEW.id OR (registry = NEW.registry AND workspace = NEW.workspace AND source_number = NEW.source_number "
    "AND resolved_at = NEW.resolved_at)"
)

NOTHING = {"sqlite": "NULL", "postgresql": "CAST(NULL AS {type})"}
REGISTER_ALL = """
VIEW register_all AS
SELECT d.decided_at AS at, d.registry, d.workspace, d.model, d.version, d.target, d.requester, d.requester_assurance,
       d.requested_at, d.decider, {no_text} AS person, {no_text} AS person_assurance,
       CASE WHEN d.acts THEN '' ELSE 'would be ' END || CASE d.verdict WHEN 'approve' THEN 'approved' ELSE 'rejected' END
           AS what,
       d.reason, d.effect,
       d.decision_id, {no_number} AS resolution_id
FROM decision_register d
UNION ALL
SELECT COALESCE(r.resolved_at, r.at), r.registry, r.workspace, r.model, r.version, r.target, r.requester, {no_text},
       r.requested_at, 'person', r.decider, r.decider_assurance, r.resolution, r.comment,
       CASE WHEN r.resolution IN ('approved', 'changed') THEN 'moved' WHEN r.resolution = 'rejected' THEN 'refused'
            ELSE 'nothing' END,
       {no_decision}, r.id
FROM resolutions r
"""


def upgrade() -> None:
    dialect = op.get_context().dialect.name
    create_tables()
    (forbid_on_sqlite if dialect == "sqlite" else forbid_on_postgresql)()
    nothing = NOTHING[dialect]
    view = REGISTER_ALL.format(
        no_number=nothing.format(type="bigint"),
        no_text=nothing.format(type="varchar"),
        no_decision=nothing.format(type="varchar"),
    )
    op.execute("CREATE " + view.strip())


def create_tables() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", ROW_ID, sa.Identity(always=False), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("registry", sa.Text, nullable=False),
        sa.Column("workspace", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("resolution", sa.String(16), nullable=False),
        sa.Column("decider", sa.Text, nullable=False),
        sa.Column("decider_assurance", sa.String(16), nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("resolved_at", MOMENT, nullable=True),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("source_number", sa.BigInteger, nullable=True),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("request_key", sa.String(64), nullable=True),
        sa.Column("requester", sa.Text, nullable=True),
        sa.Column("requested_at", MOMENT, nullable=True),
        sa.UniqueConstraint("registry", "workspace", "source_number", "resolved_at", name="uq_resolutions_source"),
    )
    op.create_index("ix_resolutions_request_key", TABLE, ["request_key"])
    op.create_table(
        "history_cursors",
        sa.Column("registry", sa.Text, primary_key=True),
        sa.Column("workspace", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )


def forbid_on_sqlite() -> None:
    message = f"{TABLE} is append-only"
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {TABLE}_no_{change.lower()} BEFORE {change} ON {TABLE} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
    op.execute(
        f"CREATE TRIGGER {TABLE}_no_replace BEFORE INSERT ON {TABLE} "
        f"WHEN EXISTS (SELECT 1 FROM {TABLE} WHERE {REPLACED}) "
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


def forbid_on_postgresql() -> None:
    for trigger, change, each in (("no_change", "UPDATE OR DELETE", "ROW"), ("no_truncate", "TRUNCATE", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER {TABLE}_{trigger} BEFORE {change} ON {TABLE} "
            f"FOR EACH {each} EXECUTE FUNCTION refuse_change()"
        )
        op.execute(f"ALTER TABLE {TABLE} ENABLE ALWAYS TRIGGER {TABLE}_{trigger}")
