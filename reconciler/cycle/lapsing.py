"""Before acts: what must be judged again is, and a decision that is judged otherwise now ends as `lapsed`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from reconciler.cycle.happening import Happening, Tell, event, past_tense
from reconciler.cycle.reconsidering import Changed, Confirmed, Reconsidering, Unclear
from reconciler.cycle.retries import retry_after
from reconciler.cycle.watching import took_effect
from reconciler.domain.decision import Effect, OutcomeKind, conditional
from reconciler.domain.judgements import Confirmation
from reconciler.domain.weight import NORMAL, of_failure
from reconciler.failpoints import failpoint
from reconciler.ports import AuditLog, Pending, Recorded, Registry, RegistryError, Standing


@dataclass(slots=True)
class Ready:
    """What becomes of a batch of decisions before any of them is acted on.

    Args:
        to_act: acts that may follow, each with what confirms it; None where nothing has to.
        gone: those whose request turned out to be gone.
        unread: those that could not be judged again, because the registry could not be read.
        successors: decisions to be carried out in place of those that lapsed.
    """

    to_act: list[tuple[Pending, Confirmation | None]] = field(default_factory=list)
    gone: list[tuple[Pending, Standing]] = field(default_factory=list)
    unread: list[tuple[Pending, RegistryError]] = field(default_factory=list)
    successors: list[Pending] = field(default_factory=list)
    happened: list[Happening] = field(default_factory=list)


class Lapsing:
    """Says for each decision whether its act may follow. Raises AuditUnavailable, and never a RegistryError."""

    def __init__(self, registry: Registry, audit: AuditLog, again: Reconsidering, tell: Tell) -> None:
        self._registry = registry
        self._audit = audit
        self._again = again
        self._tell = tell

    def before_acts(self, batch: Sequence[Pending], now: datetime, *, judged: bool) -> Ready:
        """Judges again what must be. `now`: a moment before the standings of the batch were read.

        `judged`: all of them were, in place of decisions that lapsed a moment ago. Else whoever moves a target to and
        fro could keep a pass at one request for ever.
        """
        ready = Ready()
        stale = [] if judged else [pending for pending in batch if self._again.is_needed(pending, now)]
        try:
            said = self._again.reconsider(stale, now)
        except RegistryError as error:
            ready.unread = [(pending, error) for pending in stale]
            ready.to_act = [(pending, None) for pending in batch if pending not in stale]
            return ready
        for pending in batch:
            match said.get(pending.decision.decision_id):
                case None:
                    ready.to_act.append((pending, None))
                case Confirmed(confirmation):
                    ready.to_act.append((pending, confirmation))
                case Unclear(detail):
                    self._wait(ready, pending, detail, retry_after(pending.failures))
                case Changed() as changed:
                    self._changed(ready, pending, changed, now)
        return ready

    def _changed(self, ready: Ready, pending: Pending, changed: Changed, now: datetime) -> None:
        """A decision whose act may have happened, or may still, does not lapse."""
        try:
            standing = self._registry.standing(pending.decision)
        except RegistryError as error:
            ready.unread.append((pending, error))
            return
        if not standing.open:
            ready.gone.append((pending, standing))
        elif took_effect(pending.decision, standing):
            # It was moved, and only the request's end is missing, which cannot be judged any more.
            ready.to_act.append((pending, None))
        elif pending.answer_by is not None and now <= pending.answer_by:
            detail = f"{changed.why}; it ends once the act that was sent can no longer take effect"
            self._wait(ready, pending, detail, pending.answer_by - now + timedelta(seconds=1))
        else:
            self._lapse(ready, pending, changed)

    def _wait(self, ready: Ready, pending: Pending, detail: str, retry_in: timedelta) -> None:
        self._audit.not_read(pending, detail, retry_in)
        self._tell(event("outcome", pending.decision.request, detail, pending.decision, of_failure(pending.failures)))
        ready.happened.append(Happening(in_error=True))

    def _lapse(self, ready: Ready, pending: Pending, changed: Changed) -> None:
        """Does nothing where another daemon has taken the decision over."""
        lapsed = self._audit.lapse(pending, changed.why, changed.successor)
        if lapsed is None:
            return
        failpoint("lapsed")
        decision = pending.decision
        text = f"{OutcomeKind.LAPSED} ({Effect.NOTHING}): {changed.why}"
        self._tell(event("outcome", decision.request, text, decision, NORMAL))
        ready.happened.append(Happening(outcome=OutcomeKind.LAPSED))
        if lapsed.successor is not None:
            self._follow(ready, lapsed.successor)

    def _follow(self, ready: Ready, successor: Recorded) -> None:
        decision = successor.decision
        action = conditional(decision.verdict, decision.acts)
        self._tell(event("decided", decision.request, f"{action}: {decision.reason}", decision))
        ready.happened.append(Happening(verdict=past_tense(decision.verdict, decision.acts)))
        if successor.fence is not None:
            ready.successors.append(Pending(decision, 0, successor.fence))
