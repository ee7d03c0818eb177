"""What each daemon was doing, under which policy: rows say from when, and views make periods of them.

`running_states` can only be added to. `running_periods` and `policy_periods` end where the next row begins, and
`control_gaps` are the times in which no daemon of a registry was running.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision = "0014_running_states"
down_revision = "0013_log"

# UTC; sortable ISO 8601 text with milliseconds on SQLite.
MOMENT = sa.String(24).with_variant(TIMESTAMP(timezone=True), "postgresql")
ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
TABLE = "running_states"

SECONDS = {
    "sqlite": "CAST(round((julianday({after}) - julianday({before})) * 86400) AS INTEGER)",
    "postgresql": "CAST(round(extract(epoch FROM {after} - {before})) AS bigint)",
}
NOW = {
    "sqlite": "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
    "postgresql": "date_trunc('milliseconds', clock_timestamp())",
}

# A period ends where the next row of its daemon begins; one that goes on was last seen at the daemon's last cycle.
PERIODS = """
VIEW {name} AS
WITH marked AS (
    SELECT s.*, lead(s.since) OVER w AS next_since,
           CASE WHEN {same} THEN 0 ELSE 1 END AS begins
    FROM running_states s
    WINDOW w AS (PARTITION BY s.registry, s.workspace, s.daemon ORDER BY s.id)
), numbered AS (
    SELECT m.*, sum(m.begins) OVER (PARTITION BY m.registry, m.workspace, m.daemon ORDER BY m.id) AS period
    FROM marked m
), periods AS (
    SELECT registry, workspace, daemon, {columns}, min(since) AS began_at,
           CASE WHEN count(*) = count(next_since) THEN max(next_since) END AS ended_at, max(at) AS noted_at
    FROM numbered
    WHERE {kept}
    GROUP BY registry, workspace, daemon, period, {columns}
)
SELECT p.registry, p.workspace, p.daemon, {shown}, p.began_at, p.ended_at,
       CASE WHEN p.ended_at IS NOT NULL THEN p.ended_at
            WHEN d.last_cycle_at > p.noted_at THEN d.last_cycle_at
            ELSE p.noted_at END AS last_seen_at
FROM periods p
LEFT JOIN daemons d ON d.name = p.daemon AND d.registry = p.registry AND d.workspace = p.workspace
"""
TERMS = ("mode", "policy_digest", "policy_file", "loaded_by")
STATES = ("state", *TERMS, "product_version", "detail")
STOPPED = "('ended', 'stood_still', 'database_gap')"

GAPS = """
VIEW control_gaps AS
WITH runs AS (
    SELECT registry, workspace, began_at, last_seen_at FROM running_periods WHERE state = 'running'
), ordered AS (
    SELECT r.registry, r.workspace, r.began_at,
           max(r.last_seen_at) OVER (PARTITION BY r.registry, r.workspace ORDER BY r.began_at, r.last_seen_at
                                     ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS covered_to
    FROM runs r
), gaps AS (
    SELECT registry, workspace, covered_to AS began_at, began_at AS ended_at
    FROM ordered WHERE covered_to < began_at
    UNION ALL
    SELECT registry, workspace, max(last_seen_at), NULL FROM runs GROUP BY registry, workspace
)
SELECT registry, workspace, began_at, ended_at, {seconds} AS seconds FROM gaps
"""


def upgrade() -> None:
    dialect = op.get_context().dialect.name
    create_table()
    (forbid_on_sqlite if dialect == "sqlite" else forbid_on_postgresql)()
    op.execute("CREATE " + periods("running_periods", STATES, "TRUE" if dialect == "postgresql" else "1", "state <> 'ended'"))
    begins_anew = f"lag(s.state) OVER w NOT IN {STOPPED}"
    op.execute("CREATE " + periods("policy_periods", TERMS, begins_anew, f"state NOT IN {STOPPED}"))
    seconds = SECONDS[dialect].format(before="began_at", after=f"COALESCE(ended_at, {NOW[dialect]})")
    op.execute("CREATE " + GAPS.format(seconds=seconds).strip())


def create_table() -> None:
    op.create_table(
        TABLE,
        sa.Column("id", ROW_ID, sa.Identity(always=False), primary_key=True),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("registry", sa.Text, nullable=False),
        sa.Column("workspace", sa.Text, nullable=False),
        sa.Column("daemon", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("policy_digest", sa.String(64), sa.ForeignKey("policy_versions.digest"), nullable=False),
        sa.Column("policy_file", sa.Text, nullable=False),
        sa.Column("loaded_by", sa.Text, nullable=False),
        sa.Column("interval_ms", sa.BigInteger, nullable=False),
        sa.Column("product_version", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("ix_running_states_daemon", TABLE, ["registry", "workspace", "daemon", "id"])
    op.create_index("ix_running_states_at", TABLE, ["at"])


def periods(name: str, columns: tuple[str, ...], unless: str, kept: str) -> str:
    same = " AND ".join([unless, *(f"lag(s.{column}) OVER w = s.{column}" for column in columns)])
    return PERIODS.format(
        name=name, same=same, kept=kept, columns=", ".join(columns), shown=", ".join(f"p.{column}" for column in columns)
    ).strip()


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
