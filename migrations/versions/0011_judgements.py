"""A request can be judged again: its decisions are numbered, and one that failed or lapsed has one successor at most.

An outcome is the only one of its decision; what the first release recorded beside the last one stays in a table of its
own. What confirmed an act, and what took effect after its decision had lapsed, can only be added.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0011_judgements"
down_revision = "0010_unread_lists"

# UTC; sortable ISO 8601 text with milliseconds on SQLite.
MOMENT = sa.String(24).with_variant(TIMESTAMP(timezone=True), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# By which columns SQLite finds the row that INSERT OR REPLACE would replace.
ADDED = {
    "earlier_outcomes": "id = NEW.id",
    "confirmations": "id = NEW.id OR evidence_key = NEW.evidence_key",
    "late_effects": "id = NEW.id OR decision_id = NEW.decision_id",
}
MADE_ANEW = {
    "decisions": "id = NEW.id OR decision_id = NEW.decision_id",
    "outcomes": "id = NEW.id OR decision_id = NEW.decision_id",
}
ANOTHER_OF_THE_SAME_REQUEST = (
    "decision_id <> NEW.decision_id AND (replaces = NEW.replaces OR (request_key = NEW.request_key AND "
    "(judgement = NEW.judgement OR (acts AND replaces IS NULL AND NEW.acts AND NEW.replaces IS NULL))))"
)

REGISTER = """
VIEW decision_register AS
SELECT d.decision_id, d.decided_at, d.registry, d.workspace, d.model, d.version, d.target,
       d.requester, d.requester_assurance, d.requested_at, d.comment,
       d.verdict, d.reason_code, d.reason, d.mode, d.policy_digest, d.rule, d.acts, d.archive_existing,
       o.outcome, o.at AS outcome_at, o.detail AS outcome_detail,
       CASE WHEN (o.outcome = 'applied' OR l.decision_id IS NOT NULL) AND d.verdict = 'approve' THEN 'moved'
            WHEN o.outcome = 'applied' OR l.decision_id IS NOT NULL THEN 'refused'
            WHEN o.outcome IN ('observed', 'superseded', 'lapsed') THEN 'nothing'
       END AS effect,
       'daemon' AS decider, d.judgement, d.replaces
FROM decisions d
LEFT JOIN outcomes o ON o.decision_id = d.decision_id
LEFT JOIN late_effects l ON l.decision_id = d.decision_id
"""

COLUMNS = (
    "id, decision_id, request_key, decided_at, registry, workspace, model, version, target, requester, "
    "requester_assurance, requested_at, comment, mode, verdict, acts, reason_code, reason, rule, policy_digest, "
    "archive_existing, request, evidence, product_version, daemon, engine"
)
NUMBERED = "row_number() OVER (PARTITION BY request_key ORDER BY id)"


def upgrade() -> None:
    on_sqlite = op.get_context().dialect.name == "sqlite"
    create_tables()
    if on_sqlite:
        op.execute("DROP VIEW decision_register")
        number_decisions_on_sqlite()
        one_outcome_each_on_sqlite()
        op.execute(f"CREATE {REGISTER}")
    else:
        number_decisions_on_postgresql()
        one_outcome_each_on_postgresql()
        # Replaced, and columns added at its end: what was granted on it stays.
        op.execute(f"CREATE OR REPLACE {REGISTER}")
    for table, same in ADDED.items():
        forbid_on_sqlite(table, same) if on_sqlite else forbid_on_postgresql(table)
    op.add_column("pending_acts", sa.Column("answer_by", MOMENT, nullable=True))


def create_tables() -> None:
    op.create_table(
        "earlier_outcomes",
        sa.Column("id", ROW_ID, primary_key=True, autoincrement=False),
        of_decision(),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_table(
        "confirmations",
        sa.Column("id", ROW_ID, sa.Identity(always=False), primary_key=True),
        of_decision(),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("policy_digest", sa.String(64), sa.ForeignKey("policy_versions.digest"), nullable=False),
        sa.Column("evidence_key", sa.String(36), nullable=False, unique=True),
        sa.Column("engine", sa.Integer, nullable=False),
        sa.Column("daemon", sa.Text, nullable=False),
    )
    op.create_index("ix_confirmations_decision_id", "confirmations", ["decision_id"])
    op.create_table(
        "late_effects",
        sa.Column("id", ROW_ID, sa.Identity(always=False), primary_key=True),
        of_decision(unique=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_table(
        "watched_acts",
        sa.Column("decision_id", sa.String(36), primary_key=True),
        sa.Column("looks", sa.Integer, nullable=False),
        sa.Column("next_look_at", MOMENT, nullable=False),
        sa.Column("watched_until", MOMENT, nullable=False),
    )


def of_decision(unique: bool = False) -> sa.Column:
    return sa.Column(
        "decision_id", sa.String(36), sa.ForeignKey("decisions.decision_id"), nullable=False, unique=unique or None
    )


# --- decisions ---------------------------------------------------------------------------------------------------


def number_decisions_on_sqlite() -> None:
    """SQLite drops no constraint, so the table is made anew, under its own name: others refer to it by that.

    Foreign keys stay on. Deferred, they are counted when the rows go and when they come back, and must all hold when
    the upgrade is committed. A table that is dropped takes its triggers and indices along.
    """
    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute(f"CREATE TEMPORARY TABLE kept_decisions AS SELECT {COLUMNS}, {NUMBERED} AS judgement FROM decisions")
    op.execute("DROP TRIGGER decisions_no_delete")
    op.execute("DELETE FROM decisions")
    op.execute("DROP TABLE decisions")
    create_decisions()
    op.execute(
        f"INSERT INTO decisions ({COLUMNS}, judgement) SELECT {COLUMNS}, judgement FROM kept_decisions ORDER BY id"
    )
    op.execute("DROP TABLE kept_decisions")
    create_index_of_first_acting()
    op.create_index("ix_decisions_decided_at", "decisions", ["decided_at"])
    op.create_index("ix_decisions_model", "decisions", ["model"])
    forbid_on_sqlite("decisions", MADE_ANEW["decisions"])
    # IGNORE and not ABORT: the daemon's own INSERT … ON CONFLICT DO NOTHING reads from the row count who was first.
    op.execute(
        "CREATE TRIGGER decisions_no_replace_by_request BEFORE INSERT ON decisions "
        f"WHEN EXISTS (SELECT 1 FROM decisions WHERE {ANOTHER_OF_THE_SAME_REQUEST}) BEGIN SELECT RAISE(IGNORE); END"
    )


def create_decisions() -> None:
    names = ("registry", "workspace", "model", "version", "target", "requester")
    op.create_table(
        "decisions",
        sa.Column("id", ROW_ID, sa.Identity(always=False), primary_key=True),
        sa.Column("decision_id", sa.String(36), nullable=False, unique=True),
        sa.Column("request_key", sa.String(64), nullable=False),
        sa.Column("decided_at", MOMENT, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in names),
        sa.Column("requester_assurance", sa.String(16), nullable=False),
        sa.Column("requested_at", MOMENT, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("acts", sa.Boolean, nullable=False),
        sa.Column("reason_code", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("policy_digest", sa.String(64), sa.ForeignKey("policy_versions.digest"), nullable=False),
        sa.Column("archive_existing", sa.Boolean, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("product_version", sa.String(32), nullable=False),
        sa.Column("daemon", sa.Text, nullable=False),
        sa.Column("engine", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("judgement", sa.Integer, nullable=False),
        sa.Column("replaces", sa.String(36), sa.ForeignKey("decisions.decision_id"), nullable=True),
        sa.UniqueConstraint("request_key", "judgement", name="uq_decisions_request_key_judgement"),
        sa.UniqueConstraint("replaces", name="uq_decisions_replaces"),
    )


def number_decisions_on_postgresql() -> None:
    # A constant default: no row is rewritten. Only what was decided anew in another mode is numbered.
    op.add_column("decisions", sa.Column("judgement", sa.Integer, nullable=False, server_default=sa.text("1")))
    with unguarded("decisions"):
        op.execute(
            f"UPDATE decisions SET judgement = numbered.judgement FROM "
            f"(SELECT id, {NUMBERED} AS judgement FROM decisions) numbered "
            "WHERE numbered.id = decisions.id AND numbered.judgement > 1"
        )
    op.alter_column("decisions", "judgement", server_default=None)
    op.add_column(
        "decisions",
        sa.Column("replaces", sa.String(36), sa.ForeignKey("decisions.decision_id"), nullable=True),
    )
    op.drop_constraint("uq_decisions_request_key_mode", "decisions")
    op.drop_index("uq_decisions_acting", "decisions")
    op.create_unique_constraint("uq_decisions_request_key_judgement", "decisions", ["request_key", "judgement"])
    op.create_unique_constraint("uq_decisions_replaces", "decisions", ["replaces"])
    create_index_of_first_acting()


def create_index_of_first_acting() -> None:
    first = sa.text("acts AND replaces IS NULL")
    op.create_index(
        "uq_decisions_first_acting",
        "decisions",
        ["request_key"],
        unique=True,
        sqlite_where=first,
        postgresql_where=first,
    )


# --- outcomes ----------------------------------------------------------------------------------------------------

# Of several, the last one counts, as it always did.
SET_ASIDE = """
INSERT INTO earlier_outcomes (id, decision_id, outcome, at, detail)
SELECT id, decision_id, outcome, at, detail FROM outcomes o
WHERE EXISTS (SELECT 1 FROM outcomes later WHERE later.decision_id = o.decision_id AND later.id > o.id)
"""
REMOVE = "DELETE FROM outcomes WHERE id IN (SELECT id FROM earlier_outcomes)"


def one_outcome_each_on_sqlite() -> None:
    op.execute(SET_ASIDE)
    for trigger in ("no_update", "no_delete", "no_replace"):
        op.execute(f"DROP TRIGGER outcomes_{trigger}")
    op.execute(REMOVE)
    make_outcomes_unique()
    forbid_on_sqlite("outcomes", MADE_ANEW["outcomes"])


def one_outcome_each_on_postgresql() -> None:
    op.execute(SET_ASIDE)
    with unguarded("outcomes"):
        op.execute(REMOVE)
    make_outcomes_unique()


def make_outcomes_unique() -> None:
    op.drop_index("ix_outcomes_decision_id", "outcomes")
    op.create_index("uq_outcomes_decision_id", "outcomes", ["decision_id"], unique=True)


# --- triggers ----------------------------------------------------------------------------------------------------


class unguarded:  # noqa: N801  reads as the statement that it is
    """The owner may change rows of this table, on PostgreSQL, in the block."""

    def __init__(self, table: str) -> None:
        self.table = table

    def __enter__(self) -> None:
        op.execute(f"ALTER TABLE {self.table} DISABLE TRIGGER {self.table}_no_change")

    def __exit__(self, *error: object) -> None:
        if not any(error):
            # ALTER TABLE waits for no check that is still to come.
            op.execute("SET CONSTRAINTS ALL IMMEDIATE")
            op.execute(f"ALTER TABLE {self.table} ENABLE ALWAYS TRIGGER {self.table}_no_change")


def forbid_on_sqlite(table: str, same: str) -> None:
    message = f"{table} is append-only"
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {same}) BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


def forbid_on_postgresql(table: str) -> None:
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    for trigger in ("no_change", "no_truncate"):
        op.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{trigger}")
