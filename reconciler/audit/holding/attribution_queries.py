"""The queries that look for what explains an observation: for beginnings, and for ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, bindparam, text

from reconciler.audit.tables import UtcMillis

# A decision took effect when its outcome, or its late effect, says so, and explains one tenure only. It is on record
# before it is carried out: one that was not when the effect was seen did not cause it.
_TOOK_EFFECT: Final = """
    d.acts AND d.verdict = 'approve' AND d.id <= u.decisions_to AND (
        EXISTS (SELECT 1 FROM outcomes c WHERE c.decision_id = d.decision_id AND c.outcome = 'applied'
                AND (o.not_since IS NULL OR c.at >= o.not_since))
        OR EXISTS (SELECT 1 FROM late_effects f WHERE f.decision_id = d.decision_id
                   AND (o.not_since IS NULL OR f.at >= o.not_since)))
"""
# One without an outcome may be taking effect; so may one whose act got no answer, until that was looked for.
_MAY_TAKE_EFFECT: Final = """
    d.acts AND d.verdict = 'approve' AND d.id <= u.decisions_to AND (
        NOT EXISTS (SELECT 1 FROM outcomes c WHERE c.decision_id = d.decision_id)
        OR EXISTS (SELECT 1 FROM watched_acts w WHERE w.decision_id = d.decision_id AND w.looks = 0))
"""
# What an entry of the app's history did, by the sentence of an administrator's note. Other notes, such as one about a
# protected tag, are of the same kind and move nothing.
_MOVED_IN: Final = """
    (r.resolution = 'approved' OR r.comment LIKE 'Moving a version into %' OR r.comment LIKE 'Setting the alias %')
"""
# The version's own leave, unless something brought it back afterwards; then whatever may end a tenure; then all else.
_HOW_SURE: Final = """
    CASE WHEN r.resolution = 'changed' AND r.version = o.version AND r.target = o.target
              AND (r.comment LIKE 'Moving a version out of %' OR r.comment LIKE 'Deleting %')
              AND NOT EXISTS (SELECT 1 FROM resolutions i
                              WHERE i.registry = r.registry AND i.workspace = r.workspace AND i.model = r.model
                                AND i.version = r.version AND i.target = r.target AND i.id > r.id
                                AND (i.resolution = 'approved' OR i.comment LIKE 'Moving a version into %'
                                     OR i.comment LIKE 'Setting the alias %')) THEN 0
         WHEN r.resolution = 'approved' OR (r.target = o.target AND (r.version = '' OR o.target LIKE '@%')) THEN 1
         ELSE 2 END
"""
_HERE: Final = "{row}.registry = o.registry AND {row}.workspace = o.workspace AND {row}.model = o.model"
_THERE: Final = "{row}.version = o.version AND {row}.target = o.target"

_BEGAN: Final = """
SELECT o.id, o.at, o.seen, o.sign, o.first_look, o.tenure_id, u.looked_again, u.resolutions_to, h.name,
       o.model, o.version, o.target,
       (SELECT d.decision_id FROM decisions d
        WHERE {d_here} AND {d_there} AND {took_effect}
          AND NOT EXISTS (SELECT 1 FROM attributions a JOIN observations p ON p.id = a.observation_id
                          WHERE a.decision_id = d.decision_id AND p.seen = 'held')
        ORDER BY d.id DESC LIMIT 1) AS decision_id,
       EXISTS (SELECT 1 FROM decisions d
               WHERE {d_here} AND {d_there} AND {may_take_effect}) AS pending,
       (SELECT r.id FROM resolutions r
        WHERE {r_here} AND {r_there} AND r.resolution IN ('approved', 'changed')
          AND (r.source = 'history' OR u.requested OR r.id <= u.resolutions_to)
          AND (o.not_since IS NULL OR r.at >= o.not_since)
          AND NOT EXISTS (SELECT 1 FROM attributions a JOIN observations p ON p.id = a.observation_id
                          WHERE a.resolution_id = r.id AND p.seen = 'held')
        ORDER BY CASE WHEN {moved_in} THEN 0 ELSE 1 END, r.id DESC LIMIT 1) AS resolution_id,
       u.requested AS open,
       EXISTS (SELECT 1 FROM observations p JOIN attributions a ON a.observation_id = p.id
               WHERE {p_here} AND {p_there} AND p.seen = 'held' AND p.id < o.id AND a.by_approval
                 AND COALESCE(p.created_ms = o.created_ms, 1 = 1)) AS held_by_approval,
       (SELECT d.decision_id FROM decisions d JOIN outcomes c ON c.decision_id = d.decision_id
        WHERE {d_here} AND {d_there} AND d.acts AND d.verdict = 'approve' AND d.id <= u.decisions_to
          AND c.outcome = 'applied' ORDER BY d.id DESC LIMIT 1) AS earlier_decision_id,
       (SELECT max(r.resolved_at) FROM resolutions r
        WHERE {r_here} AND {r_there} AND r.resolution = 'approved' AND r.id <= u.resolutions_to
          AND r.source = 'history') AS approved_at,
       (SELECT max(r.at) FROM resolutions r
        WHERE {r_here} AND {r_there} AND r.resolution = 'approved' AND r.id <= u.resolutions_to
          AND r.source = 'seen') AS seen_approved_at,
       o.created_ms,
       (SELECT a.by_approval FROM attributions a WHERE a.observation_id = o.continues_id) AS continued_by_approval,
       EXISTS (SELECT 1 FROM bypasses b WHERE b.tenure_id = o.continues_id
               AND b.approved_by IS NULL AND b.accepted_at IS NULL) AS continues_bypass
FROM unattributed u JOIN observations o ON o.id = u.observation_id LEFT JOIN holders h ON h.tenure_id = o.id
WHERE u.registry = :registry AND u.workspace = :workspace AND u.observation_id > :after AND o.seen = 'held'
ORDER BY u.observation_id LIMIT :most
"""

# Another version took its place, or this one was asked to go elsewhere: a version has one stage.
_MADE_WAY: Final = """
    (({row}.target = o.target AND {row}.version <> o.version AND ({archives} OR o.target LIKE '@%'))
     OR ({row}.version = o.version AND {row}.target <> o.target
         AND {row}.target NOT LIKE '@%' AND o.target NOT LIKE '@%'))
"""
# Whether a person's approval archived is not on record, but one that left another holder of the stage in its place did
# not: that was there before the window, or was moved there in it before the approval.
_LEFT_ANOTHER: Final = """
    (r.version <> o.version AND r.target = o.target AND o.target NOT LIKE '@%' AND EXISTS (
        SELECT 1 FROM observations p
        WHERE {p_here} AND p.target = o.target AND p.seen = 'held'
          AND p.version NOT IN (o.version, r.version)
          AND NOT EXISTS (SELECT 1 FROM observations e WHERE e.tenure_id = p.id AND e.not_since <= o.not_since)
          AND (p.at <= o.not_since OR (p.not_since <= o.not_since AND EXISTS (
               SELECT 1 FROM resolutions q
               WHERE q.registry = r.registry AND q.workspace = r.workspace AND q.model = r.model
                 AND q.version = p.version AND q.target = p.target AND q.id < r.id AND q.at >= o.not_since
                 AND (q.resolution = 'approved' OR q.comment LIKE 'Moving a version into %'))))))
"""
_ENDED: Final = """
SELECT o.id, o.at, o.seen, o.sign, o.first_look, o.tenure_id, u.looked_again,
       NULL AS resolutions_to, NULL AS name, o.model, o.version,
       o.target,
       (SELECT d.decision_id FROM decisions d
        WHERE {d_here} AND {d_made_way} AND {took_effect}
        ORDER BY d.id DESC LIMIT 1) AS decision_id,
       EXISTS (SELECT 1 FROM decisions d
               WHERE {d_here} AND {d_made_way}
                 AND {may_take_effect}) AS pending,
       (SELECT k.id FROM (
          SELECT r.id, {how_sure} AS rank FROM resolutions r
          WHERE {r_here} AND r.at >= o.not_since
            AND ((r.resolution = 'approved' AND {r_made_way} AND NOT {left_another})
                 OR (r.resolution = 'changed' AND (r.version IN ('', o.version) OR r.target = o.target)))) k
        ORDER BY k.rank, k.id DESC LIMIT 1) AS resolution_id,
       1 = 0 AS open, 1 = 0 AS held_by_approval, NULL AS earlier_decision_id, NULL AS approved_at,
       NULL AS seen_approved_at, o.created_ms,
       NULL AS continued_by_approval, 1 = 0 AS continues_bypass
FROM unattributed u JOIN observations o ON o.id = u.observation_id
WHERE u.registry = :registry AND u.workspace = :workspace AND u.observation_id > :after AND o.seen = 'left'
ORDER BY u.observation_id LIMIT :most
"""
# What was read from the history after an outcome was recorded came after the decision, which did not bring the version
# back. A registry without a history cannot tell.
_WITH_PERSON: Final = """
SELECT x.*, r.decider, r.decider_assurance, r.resolution,
       COALESCE(r.source = 'history' AND {moved_in}
                AND r.at > (SELECT max(c.at) FROM outcomes c WHERE c.decision_id = x.decision_id), 1 = 0) AS moved_since
FROM ({query}) x
LEFT JOIN resolutions r ON r.id = x.resolution_id ORDER BY x.id
"""


_PARTS: Final = {
    "took_effect": _TOOK_EFFECT,
    "moved_in": _MOVED_IN,
    "how_sure": _HOW_SURE,
    "left_another": _LEFT_ANOTHER.format(p_here=_HERE.format(row="p")),
    "may_take_effect": _MAY_TAKE_EFFECT,
    "d_made_way": _MADE_WAY.format(row="d", archives="d.archive_existing"),
    # Whether a person's approval archived is not on record.
    "r_made_way": _MADE_WAY.format(row="r", archives="1 = 1"),
    **{f"{row}_here": _HERE.format(row=row) for row in "dpr"},
    **{f"{row}_there": _THERE.format(row=row) for row in "dpr"},
}


def _statement(query: str) -> Any:
    whole = _WITH_PERSON.format(query=query.format(**_PARTS), moved_in=_MOVED_IN)
    return text(whole).columns(at=UtcMillis(), approved_at=UtcMillis(), seen_approved_at=UtcMillis())


# Both take `registry`, `workspace`, `after` and `most`.
BEGINNINGS: Final = _statement(_BEGAN)
ENDS: Final = _statement(_ENDED)

# Which decisions, of so many of the newest, took effect on a version of this number under another name.
_MOVES: Final = """
SELECT d.decision_id, d.request FROM unattributed u
JOIN observations o ON o.id = u.observation_id
JOIN decisions d ON d.id > u.decisions_to - :newest
WHERE u.observation_id = :observation AND o.not_since IS NOT NULL
  AND d.registry = o.registry AND d.workspace = o.workspace AND d.model <> o.model AND {d_there} AND {took_effect}
  AND NOT EXISTS (SELECT 1 FROM attributions a JOIN observations p ON p.id = a.observation_id
                  WHERE a.decision_id = d.decision_id AND p.seen = 'held')
ORDER BY d.id DESC
"""
EARLIER_MOVES: Final = text(_MOVES.format(**_PARTS))

# Under which names a model was known before, as far as a version of it was seen to hold anything when it was renamed.
_EARLIER_NAMES: Final = text("""
SELECT DISTINCT m.model FROM observations n JOIN observations m ON m.id = n.continues_id
WHERE n.model = :model AND n.registry = :registry AND n.workspace = :workspace
""")
_APPROVED_UNDER: Final = text("""
SELECT 1 FROM observations p JOIN attributions a ON a.observation_id = p.id
WHERE p.model = :model AND p.version = :version AND p.target = :target AND p.registry = :registry
  AND p.workspace = :workspace AND p.seen = 'held' AND a.by_approval AND COALESCE(p.created_ms = :created, 1 = 1)
LIMIT 1
""").bindparams(bindparam("created", type_=BigInteger()))


def approved_under_an_earlier_name(connection: Connection, row: Any, here: Mapping[str, str]) -> bool:
    """Whether the version of a renamed model held the target by approval before. Asked of what else is a bypass."""
    names, left = {row.model}, [row.model]
    place = {**here, "version": row.version, "target": row.target, "created": row.created_ms}
    while left:
        earlier = set(connection.scalars(_EARLIER_NAMES, {**here, "model": left.pop()})) - names
        if any(connection.scalar(_APPROVED_UNDER, {**place, "model": name}) for name in earlier):
            return True
        names |= earlier
        left += earlier
    return False
