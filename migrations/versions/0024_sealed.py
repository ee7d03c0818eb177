"""Evidence that is verified at once: a hash over all of it as it was recorded, and one over the digests of its fields.

Rows that exist keep their entries in the log, which have the digest of each field, and stay without both.
"""

import json
from pathlib import Path

import sqlalchemy as sa
from alembic import op

revision = "0024_sealed"
down_revision = "0023_decision_rules"

TEXTS = Path(__file__).parent.with_name("comments_0024.json")
# As before, and the new columns stay as they are. {same}: equal, or both NULL.
REDACTED = (
    "NEW.evidence_key = OLD.evidence_key AND NEW.fields = OLD.fields"
    " AND NEW.sealed {same} OLD.sealed AND NEW.digests {same} OLD.digests"
    " AND length(NEW.salts) = length(OLD.salts) - 16"
    " AND length(NEW.salts) = 16 * (OLD.fields - (SELECT count(*) FROM redactions WHERE evidence_key = OLD.evidence_key))"
)


def upgrade() -> None:
    for name in ("sealed", "digests"):
        op.add_column("evidence", sa.Column(name, sa.LargeBinary, nullable=True))
    if op.get_context().dialect.name == "sqlite":
        op.execute("DROP TRIGGER evidence_no_update")
        op.execute(
            f"CREATE TRIGGER evidence_no_update BEFORE UPDATE ON evidence WHEN NOT ({REDACTED.format(same='IS')}) "
            "BEGIN SELECT RAISE(ABORT, 'evidence is append-only'); END"
        )
        return
    op.execute(
        "CREATE OR REPLACE FUNCTION refuse_change_but_redaction() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF TG_OP = 'UPDATE' THEN IF {REDACTED.format(same='IS NOT DISTINCT FROM')} THEN RETURN NEW; "
        "END IF; END IF; "
        "RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege'; END $$"
    )
    for name, columns in json.loads(TEXTS.read_text(encoding="utf-8")).items():
        for column, text in columns.items():
            # A quote ends a string, and a colon begins a parameter.
            quoted = text.replace("'", "''").replace(":", "\\:")
            op.execute(f"COMMENT ON COLUMN {name}.{column} IS '{quoted}'")
