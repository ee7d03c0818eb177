"""On SQLite, INSERT OR REPLACE must not find a decision by its request either."""

from alembic import op

revision = "0002_no_replace_by_request"
down_revision = "0001_decisions"

ANOTHER_OF_THE_SAME_REQUEST = (
    "request_key = NEW.request_key AND (mode = NEW.mode OR (acts AND NEW.acts)) AND decision_id <> NEW.decision_id"
)


def upgrade() -> None:
    if op.get_context().dialect.name != "sqlite":
        return
    # IGNORE and not ABORT: the daemon's own INSERT … ON CONFLICT DO NOTHING reads from the row count who was first.
    op.execute(
        "CREATE TRIGGER decisions_one_per_request BEFORE INSERT ON decisions "
        f"WHEN EXISTS (SELECT 1 FROM decisions WHERE {ANOTHER_OF_THE_SAME_REQUEST}) BEGIN SELECT RAISE(IGNORE); END"
    )
