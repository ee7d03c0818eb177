"""Since when and until when each request waited, and for what: kept when it is withdrawn.

`abstentions` can only be added to. `waiting_periods` makes periods of it, and `decision_times` says how long each request
was open before it was decided.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0015_abstentions"
down_revision = "0014_running_states"

# UTC; sortable ISO 8601 text with milliseconds on SQLite.
MOMENT = sa.String(24).with_variant(TIMESTAMP(timezone=True), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TABLE = "abstentions"

SECONDS = {
    "sqlite": "CAST(round((julianday({after}) - julianday({before})) * 86400) AS INTEGER)",
    "postgresql": "CAST(round(extract(epoch FROM {after} - {before})) AS bigint)",
}

PERIODS = """
VIEW waiting_periods AS
SELECT request_key, registry, workspace, model, version, target, requester, requested_at, code, detail,
       at AS began_at, ended_at, ended_by, {seconds} AS seconds
FROM (SELECT a.*, lead(a.at) OVER w AS ended_at, lead(a.event) OVER w AS ended_by
      FROM abstentions a WINDOW w AS (PARTITION BY a.request_key ORDER BY a.id)) AS events
WHERE event = 'waits'
"""

# Who types a request states no time: it is asked for when it is first seen.
TIMES = """
VIEW decision_times AS
SELECT decision_id, registry, workspace, model, version, target, requester, requested_at,
       CASE WHEN requester = '' THEN 'first seen' ELSE 'stated' END AS requested_at_is,
       decided_at, {seconds} AS seconds
FROM decisions WHERE judgement = 1
"""


def upgrade() -> None:
    dialect = op.get_context().dialect.name
    create_table()
    (forbid_on_sqlite if dialect == "sqlite" else forbid_on_postgresql)()
    between = SECONDS[dialect]
    op.execute("CREATE " + PERIODS.format(seconds=between.format(before="at", after="ended_at")).strip())
    op.execute("CREATE " + TIMES.format(seconds=between.format(before="requested_at", after="decided_at")).strip())


def create_table() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", ROW_ID, sa.Identity(always=False), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("request_key", sa.String(64), nullable=False),
        sa.Column("registry", sa.Text, nullable=False),
        sa.Column("workspace", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("requester", sa.Text, nullable=False),
        sa.Column("requested_at", MOMENT, nullable=False),
        sa.Column("event", sa.String(8), nullable=False),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("ix_abstentions_request_key", TABLE, ["request_key", "id"])


def forbid_on_sqlite() -> None:
    message = f"{TABLE} is append-only"
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {TABLE}_no_{change.lower()} BEFORE {change} ON {TABLE} "
            f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )
    op.execute(
        f"CREATE TRIGGER {TABLE}_no_replace BEFORE INSERT ON {TABLE} "
        f"WHEN EXISTS (SELECT 1 FROM {TABLE} WHERE id = NEW.id) "
        f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
    )


def forbid_on_postgresql() -> None:
    for trigger, change, each in (("no_change", "UPDATE OR DELETE", "ROW"), ("no_truncate", "TRUNCATE", "STATEMENT")):
        op.execute(
            f"CREATE TRIGGER {TABLE}_{trigger} BEFORE {change} ON {TABLE} "
            f"FOR EACH {each} EXECUTE FUNCTION refuse_change()"
        )
        op.execute(f"ALTER TABLE {TABLE} ENABLE ALWAYS TRIGGER {TABLE}_{trigger}")
