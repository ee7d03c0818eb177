"""The tables whose rows can only be added: the database itself refuses every change of them."""

from __future__ import annotations

APPEND_ONLY = (
    "policy_versions",
    "decisions",
    "decision_checks",
    "evidence",
    "redactions",
    "outcomes",
    "earlier_outcomes",
    "confirmations",
    "late_effects",
    "pause_events",
    "running_states",
    "abstentions",
    "resolutions",
    "observations",
    "attributions",
    "acknowledgements",
    "drifts",
    "watched_scopes",
    "log_leaves",
    "log_nodes",
    "log_epochs",
)
