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
    "a version holds a target twice at once": """
        SELECT b.id FROM observations b JOIN observations c ON c.registry = b.registry AND c.workspace = b.workspace
        AND c.model = b.model AND c.version = b.version AND c.target = b.target AND c.seen = 'held' AND c.id > b.id
        LEFT JOIN observations e ON e.tenure_id = b.id
        WHERE b.seen = 'held' AND (e.id IS NULL OR e.id > c.id)""",
    "a tenure ends before it begins, or is open in the working state alone": """
        SELECT e.id FROM observations e WHERE e.seen = 'left' AND (e.tenure_id IS NULL OR e.tenure_id >= e.id)
        UNION ALL SELECT h.tenure_id FROM holders h WHERE EXISTS (
            SELECT 1 FROM observations e WHERE e.tenure_id = h.tenure_id)
        UNION ALL SELECT b.id FROM observations b WHERE b.seen = 'held'
        AND NOT EXISTS (SELECT 1 FROM observations e WHERE e.tenure_id = b.id)
        AND NOT EXISTS (SELECT 1 FROM holders h WHERE h.tenure_id = b.id)""",
    "an observation is neither explained nor waits to be": """
        SELECT o.id FROM observations o WHERE NOT EXISTS (SELECT 1 FROM attributions a WHERE a.observation_id = o.id)
        AND NOT EXISTS (SELECT 1 FROM unattributed u WHERE u.observation_id = o.id) AND o.sign <> 'watched'""",
    "what is only watched is explained, or waits to be": """
        SELECT o.id FROM observations o WHERE o.sign = 'watched'
        AND (EXISTS (SELECT 1 FROM attributions a WHERE a.observation_id = o.id)
             OR EXISTS (SELECT 1 FROM unattributed u WHERE u.observation_id = o.id))""",
    "a decision began two tenures": """
        SELECT min(a.id) FROM attributions a JOIN observations o ON o.id = a.observation_id
        WHERE o.seen = 'held' AND a.decision_id IS NOT NULL GROUP BY a.decision_id HAVING count(*) > 1""",
    "what a decision brought there is called a bypass": """
        SELECT t.tenure_id FROM tenures t JOIN decisions d ON d.registry = t.registry AND d.workspace = t.workspace
        AND d.model = t.model AND d.version = t.version AND d.target = t.target AND d.acts AND d.verdict = 'approve'
        LEFT JOIN outcomes o ON o.decision_id = d.decision_id LEFT JOIN late_effects f ON f.decision_id = d.decision_id
        WHERE t.began_by = 'bypass' AND d.decided_at <= t.first_seen_with
        AND NOT EXISTS (SELECT 1 FROM attributions a WHERE a.decision_id = d.decision_id)
        AND ((o.outcome = 'applied' AND o.at >= t.last_seen_without) OR f.at >= t.last_seen_without)""",
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
