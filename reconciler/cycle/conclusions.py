"""What a decision's request that is no longer open says about the decision."""

from __future__ import annotations

from enum import Enum

from reconciler.domain.decision import Decision, OutcomeKind
from reconciler.domain.text import visible_name
from reconciler.domain.verdict import VerdictKind
from reconciler.ports import Standing


class Acted(Enum):
    """What is known of an act, before the registry is looked at."""

    NO = "decided in this pass, and nothing was sent"
    MAYBE = "sent in an earlier pass, or with an error"
    ACCEPTED = "the registry accepted every call"


def conclusion(decision: Decision, standing: Standing, acted: Acted) -> tuple[OutcomeKind, str]:
    """The outcome of a decision whose request is no longer open, inferred from what the registry shows."""
    if not standing.exists:
        return OutcomeKind.SUPERSEDED, "the version is gone: it or its model was deleted, or the model renamed"
    approves = decision.verdict is VerdictKind.APPROVE
    if decision.decision_id in standing.decision_ids:
        if not standing.told_first or not approves or standing.holds or acted is Acted.ACCEPTED:
            now = f", on a model that is named {visible_name(standing.named)} now" if standing.named else ""
            return OutcomeKind.APPLIED, f"the registry shows this decision{now}"
        # Withdrawn before the move, or moved and taken away again: nothing tells which.
        return (
            OutcomeKind.SUPERSEDED,
            "the registry shows this decision, and the request is gone, but the version does not hold the target",
        )
    if not standing.tells_who and acted is not Acted.NO:
        return OutcomeKind.UNATTRIBUTED, "the request is gone, and the registry does not show whether by this decision"
    if not standing.tells_who and approves and standing.holds:
        return OutcomeKind.UNATTRIBUTED, "the version holds the target, and the registry does not show who put it there"
    return OutcomeKind.SUPERSEDED, "the request was withdrawn, changed or resolved by someone else"
