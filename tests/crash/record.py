"""What the record must never say, whatever was killed: asked of the audit database in SQL."""

from __future__ import annotations

from sqlalchemy import create_engine, text

_BEFORE = "SELECT max(id) FROM abstentions c WHERE c.request_key = a.request_key AND c.id < a.id"

NEVER = {
    "a request begins to wait for what it waits for already, or ends to wait twice": f"""
        SELECT a.id FROM abstentions a LEFT JOIN abstentions b ON b.id = ({_BEFORE})
        WHERE (a.event = 'waits' AND b.event = 'waits' AND a.code = b.code)
           OR (a.event <> 'waits' AND (b.id IS NULL OR b.event <> 'waits'))""",
    "a request waits no longer since it was decided, and there is no decision": """
        SELECT a.id FROM abstentions a
        WHERE a.event = 'decided' AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.request_key = a.request_key)""",
    "what the daemon did is said to be somebody else's doing": """
        SELECT r.id FROM resolutions r JOIN decisions d ON d.request_key = r.request_key
        JOIN outcomes o ON o.decision_id = d.decision_id WHERE o.outcome = 'applied'""",
    "what somebody did is said twice": """
        SELECT request_key FROM resolutions WHERE request_key IS NOT NULL GROUP BY request_key HAVING count(*) > 1""",
    "a decision was made by a policy that was not in force": """
        SELECT d.id FROM decisions d WHERE NOT EXISTS (
            SELECT 1 FROM running_states s WHERE s.registry = d.registry AND s.workspace = d.workspace
            AND s.policy_digest = d.policy_digest AND s.mode = d.mode AND s.since <= d.decided_at)""",
    "a daemon that ended goes on without beginning": """
        SELECT a.id FROM running_states a JOIN running_states b ON b.id = (
            SELECT max(id) FROM running_states c WHERE c.registry = a.registry AND c.workspace = a.workspace
            AND c.daemon = a.daemon AND c.id < a.id)
        WHERE a.state = 'ended' AND b.state = 'ended'""",
}


def says_nothing_false(url: str) -> None:
    """Read by a connection that is not the product's."""
    auditor = create_engine(url)
    with auditor.connect() as connection:
        found = {what: list(connection.scalars(text(query))) for what, query in NEVER.items()}
    auditor.dispose()
    false = {what: rows for what, rows in found.items() if rows}
    assert not false, false
