"""Decisions that lapsed or failed while an act of theirs had no definite answer: the registry may show them later."""

from __future__ import annotations

from reconciler.cycle.happening import Tell, event
from reconciler.domain.decision import Decision
from reconciler.domain.verdict import VerdictKind
from reconciler.domain.weight import Weight
from reconciler.failpoints import failpoint
from reconciler.ports import AuditLog, Registry, RegistryError, Standing, Unavailable

_LATE = "took effect late, after it had ended: the registry shows this decision"


class Watching:
    """Looks for late effects in one pass. Raises AuditUnavailable, and never a RegistryError."""

    def __init__(self, registry: Registry, audit: AuditLog, tell: Tell) -> None:
        self._registry = registry
        self._audit = audit
        self._tell = tell

    def look(self, *, everything: bool) -> None:
        """Looks at those that are due, and records what took effect."""
        for decision in self._audit.watched(everything):
            try:
                standing = self._registry.standing(decision)
            except Unavailable:
                return
            except RegistryError:
                self._audit.looked_at(decision)
                continue
            failpoint("looked for a late effect")
            self.note(decision, standing)

    def note(self, decision: Decision, standing: Standing) -> None:
        if not took_effect(decision, standing):
            self._audit.looked_at(decision)
        elif self._audit.note_late_effect(decision, _LATE):
            self._tell(event("outcome", decision.request, _LATE, decision, Weight.STUCK))


def took_effect(decision: Decision, standing: Standing) -> bool:
    """Whether the registry shows that the decision was carried out, wholly or but for the request's end.

    An approval that is told first is carried out when the version holds the target. A rejection is when its request is
    gone.
    """
    if not standing.exists or decision.decision_id not in standing.decision_ids:
        return False
    if decision.verdict is VerdictKind.APPROVE and standing.told_first:
        return bool(standing.holds)
    return not standing.open
