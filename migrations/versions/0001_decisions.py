"""Decisions, their checks and outcomes, which can only be added; working state beside them; the register."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0001_decisions"
down_revision = None

# UTC; sortable ISO 8601 text with milliseconds on SQLite.
MOMENT = sa.String(24).with_variant(TIMESTAMP(timezone=True), "postgresql")

APPEND_ONLY = {
    "policy_versions": "digest = NEW.digest",
    "decisions": "id = NEW.id OR decision_id = NEW.decision_id",
    "decision_checks": "decision_id = NEW.decision_id AND position = NEW.position",
    "outcomes": "id = NEW.id",
}

REGISTER = """
CREATE VIEW decision_register AS
SELECT d.decision_id, d.decided_at, d.registry, d.workspace, d.model, d.version, d.target,
       d.requester, d.requester_assurance, d.requested_at, d.comment,
       d.verdict, d.reason_code, d.reason, d.mode, d.policy_digest, d.rule, d.acts, d.archive_existing,
       o.outcome, o.at AS outcome_at, o.detail AS outcome_detail
FROM decisions d
LEFT JOIN outcomes o ON o.id = (SELECT max(last.id) FROM outcomes last WHERE last.decision_id = d.decision_id)
"""


def upgrade() -> None:
    create_append_only_tables()
    create_working_state()
    op.execute(REGISTER)
    forbid = forbid_on_sqlite if op.get_context().dialect.name == "sqlite" else forbid_on_postgresql
    forbid()


def row_id() -> sa.Column:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column("id", kind, sa.Identity(always=False), primary_key=True)


def words(*names: str, nullable: bool = False) -> list[sa.Column]:
    return [sa.Column(name, sa.Text, nullable=nullable) for name in names]


def moment(name: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, MOMENT, nullable=nullable)


def code(name: str, length: int, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.String(length), nullable=nullable)


def create_append_only_tables() -> None:
    op.create_table(
        "policy_versions",
        sa.Column("digest", sa.String(64), primary_key=True),
        *words("text"),
        moment("first_used_at"),
    )
    op.create_table(
        "decisions",
        row_id(),
        sa.Column("decision_id", sa.String(36), nullable=False, unique=True),
        code("request_key", 64),
        moment("decided_at"),
        *words("registry", "workspace", "model", "version", "target", "requester"),
        code("requester_assurance", 16),
        moment("requested_at"),
        *words("comment"),
        code("mode", 16),
        code("verdict", 16),
        sa.Column("acts", sa.Boolean, nullable=False),
        code("reason_code", 32),
        *words("reason", "rule"),
        sa.Column("policy_digest", sa.String(64), sa.ForeignKey("policy_versions.digest"), nullable=False),
        sa.Column("archive_existing", sa.Boolean, nullable=False),
        *words("request", "evidence"),
        code("product_version", 32),
        *words("daemon"),
        sa.UniqueConstraint("request_key", "mode", name="uq_decisions_request_key_mode"),
    )
    op.create_index(
        "uq_decisions_acting",
        "decisions",
        ["request_key"],
        unique=True,
        sqlite_where=sa.text("acts"),
        postgresql_where=sa.text("acts"),
    )
    op.create_index("ix_decisions_decided_at", "decisions", ["decided_at"])
    op.create_index("ix_decisions_model", "decisions", ["model"])
    op.create_table(
        "decision_checks",
        sa.Column("decision_id", sa.String(36), sa.ForeignKey("decisions.decision_id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        *words("rule", "check_name"),
        code("result", 16),
        code("code", 32),
        *words("expected", "observed"),
        sa.Column("observed_number", sa.Double, nullable=True),
        *words("source"),
    )
    op.create_table(
        "outcomes",
        row_id(),
        sa.Column("decision_id", sa.String(36), sa.ForeignKey("decisions.decision_id"), nullable=False),
        code("outcome", 16),
        moment("at"),
        *words("detail"),
    )
    op.create_index("ix_outcomes_decision_id", "outcomes", ["decision_id"])


def create_working_state() -> None:
    op.create_table(
        "open_requests",
        sa.Column("place", sa.String(64), primary_key=True),
        code("request_key", 64, nullable=True),
        *words("registry", "workspace", "model", "version", "target", "requester"),
        moment("requested_at", nullable=True),
        *words("comment"),
        code("seen_id", 36),
        moment("first_seen_at"),
        moment("last_seen_at"),
        code("waiting_code", 32, nullable=True),
        *words("waiting_detail", nullable=True),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        moment("next_attempt_at", nullable=True),
    )
    op.create_index("ix_open_requests_request_key", "open_requests", ["request_key"])
    op.create_table(
        "pending_acts",
        sa.Column("decision_id", sa.String(36), primary_key=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        moment("next_attempt_at"),
        *words("last_detail"),
    )
    op.create_table(
        "daemons",
        sa.Column("name", sa.Text, primary_key=True),
        moment("started_at"),
        moment("last_cycle_at"),
        *words("sentence"),
        sa.Column("ok", sa.Boolean, nullable=False, server_default=sa.false()),
        code("mode", 16),
        code("policy_digest", 64),
        sa.Column("duration_ms", sa.Integer, nullable=False),
    )


def forbid_on_sqlite() -> None:
    for table, same in APPEND_ONLY.items():
        message = f"{table} is append-only"
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )
        # INSERT OR REPLACE deletes without a DELETE trigger; it must not find a row to replace.
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
            f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )


def forbid_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege'; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
        # ALWAYS: session_replication_role = replica must not switch them off.
        for trigger in ("no_change", "no_truncate"):
            op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{trigger}")
