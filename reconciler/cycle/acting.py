"""Carrying decisions out: read their standing, act on those still open, conclude from what the registry shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from reconciler.cycle.batches import batches
from reconciler.cycle.conclusions import Acted, conclusion
from reconciler.cycle.happening import Happening, Tell, event
from reconciler.cycle.lapsing import Lapsing
from reconciler.cycle.recognising import standing_now
from reconciler.cycle.reconsidering import Reconsidering
from reconciler.cycle.resolving import inferred
from reconciler.cycle.retries import retry_after
from reconciler.cycle.watching import Watching
from reconciler.domain.decision import Decision, Effect, Outcome, OutcomeKind, effect_of
from reconciler.domain.judgements import Confirmation
from reconciler.domain.weight import NORMAL, Weight, of_failure
from reconciler.failpoints import failpoint
from reconciler.ports import (
    AuditLog,
    Ending,
    GoAhead,
    Gone,
    Inferred,
    Pending,
    Registry,
    RegistryError,
    Standing,
    Unavailable,
)

# How many decisions are read again, acted on and confirmed together: fewer narrows the window, more saves calls.
ACTED_ON_TOGETHER = 10
_LONGEST_WHILE_UNAVAILABLE = timedelta(minutes=2)
_MAX_ATTEMPTS = 8
# After this many unavailable answers in a row, the rest are left for the next cycle.
_UNREACHABLE = 2

_OVERTAKEN = "an earlier decision about the same request took effect late"

Standings = Mapping[str, Standing]


@dataclass(frozen=True, slots=True)
class Attempt:
    """An act: what its reply showed, or how it failed. Not `sent`: the pass stops, or the claim was lost or paused.

    `overtaken`: not sent either, since an earlier decision about the request took effect late.
    """

    pending: Pending
    sent: bool = False
    overtaken: bool = False
    standing: Standing | None = None
    error: RegistryError | None = None

    @property
    def decision(self) -> Decision:
        return self.pending.decision

    @property
    def acted(self) -> Acted:
        # A standing may also show that the request was gone, and nothing was done about it.
        return Acted.ACCEPTED if self.error is None and self.standing is None else Acted.MAYBE

    @property
    def detail(self) -> str:
        """Why the request is still open, once the registry was read."""
        return str(self.error or "the registry accepted the act, and still shows the request")

    @property
    def is_last(self) -> bool:
        return self.pending.attempts + 1 >= _MAX_ATTEMPTS

    @property
    def in_doubt(self) -> bool:
        """Whether the act may still take effect, if the registry does not show it: the answer was not definite."""
        return self.error is None or isinstance(self.error, Unavailable)


class Acting:
    """Carries out pending decisions in one pass.

    Args:
        again: judges again before acts; its mode says which are allowed.
        stopping: says that none may follow.

    Every method raises AuditUnavailable where the database cannot be reached, and never a RegistryError.
    """

    def __init__(
        self, registry: Registry, audit: AuditLog, again: Reconsidering, stopping: Callable[[], bool], tell: Tell
    ) -> None:
        self._registry = registry
        self._audit = audit
        self._mode = again.mode
        self._apart = again.must_follow
        self._lapsing = Lapsing(registry, audit, again, tell)
        self._watching = Watching(registry, audit, tell)
        self._stopping = stopping
        self._tell = tell
        self._unreachable: list[tuple[Pending, Unavailable]] = []

    def look_for_late_effects(self, *, everything: bool) -> None:
        """Of decisions that ended in doubt. `everything`: also of those that are not due."""
        self._watching.look(everything=everything)

    def carry_out(self, pending: Sequence[Pending], *, fresh: bool, judged: bool = False) -> list[Happening]:
        """Carries the decisions out. `fresh`: they were decided in this pass, so none was acted on before.

        `judged`: as of `Lapsing.before_acts`.
        """
        happened: list[Happening] = []
        for batch in batches(pending, ACTED_ON_TOGETHER, self._apart):
            happened += self._carry_out_batch(batch, fresh, judged)
        return happened

    def _carry_out_batch(self, batch: Sequence[Pending], fresh: bool, judged: bool) -> list[Happening]:
        now = self._audit.now()
        standings, happened = self._read_again(batch)
        failpoint("read again")
        read = [pending for pending in batch if pending.decision.decision_id in standings]
        before = Acted.NO if fresh else Acted.MAYBE
        happened += self._conclude(self._gone([(one, standings[one.decision.decision_id]) for one in read], before))
        still_open = [pending for pending in read if standings[pending.decision.decision_id].open]
        # A decision of a stricter mode is left as it is while the mode does not allow the act.
        allowed = [pending for pending in still_open if self._mode.acts_on(pending.decision.verdict)]
        ready = self._lapsing.before_acts(self._one_per_place(allowed), now, judged=judged)
        happened += ready.happened + [self._not_read(pending, error) for pending, error in ready.unread]
        happened += self._conclude(self._gone(ready.gone, Acted.MAYBE))
        happened += self._confirm([self._act(pending, confirmation) for pending, confirmation in ready.to_act])
        return happened + self.carry_out(ready.successors, fresh=True, judged=True)

    # --- read again ------------------------------------------------------------------------------------------

    def _read_again(self, batch: Sequence[Pending]) -> tuple[Standings, list[Happening]]:
        """The standings now: read together, or one by one where that fails, so that one cannot block the others."""
        if len(batch) > 1:
            try:
                return self._registry.standings([pending.decision for pending in batch]), []
            except RegistryError:
                pass
        return self._read_one_by_one(batch)

    def _read_one_by_one(self, batch: Sequence[Pending]) -> tuple[Standings, list[Happening]]:
        standings: dict[str, Standing] = {}
        happened: list[Happening] = []
        unreachable = 0
        for pending in batch:
            try:
                standings |= self._registry.standings([pending.decision])
                unreachable = 0
            except RegistryError as error:
                happened.append(self._not_read(pending, error))
                unreachable = unreachable + 1 if isinstance(error, Unavailable) else 0
            if unreachable == _UNREACHABLE:
                break
        return standings, happened

    def _not_read(self, pending: Pending, error: RegistryError) -> Happening:
        retry_in = retry_after(pending.failures)
        if isinstance(error, Unavailable):
            # Once the registry is back, the decisions that it delayed are tried again soon.
            retry_in = min(retry_in, _LONGEST_WHILE_UNAVAILABLE)
        self._audit.not_read(pending, str(error), retry_in)
        failpoint("not read")
        if isinstance(error, Unavailable):
            self._unreachable.append((pending, error))
        else:
            self._tell_not_read(pending, error)
        return Happening(in_error=True)

    def tell_unreachable(self, *, reported_by_cycle: bool) -> None:
        """At the end of a pass, tells what could not be reached when it was read again.

        `reported_by_cycle`: the cycle could not reach the registry either, and says so in its own line.
        """
        for pending, error in self._unreachable:
            self._tell_not_read(pending, error, reported_by_cycle=reported_by_cycle)
        self._unreachable.clear()

    def _tell_not_read(self, pending: Pending, error: RegistryError, *, reported_by_cycle: bool = False) -> None:
        weight = of_failure(pending.failures, reported_by_cycle=reported_by_cycle)
        self._tell_outcome(pending.decision, f"not acted on, because it could not be read again: {error}", weight)

    # --- act -------------------------------------------------------------------------------------------------

    def _one_per_place(self, pending: Sequence[Pending]) -> list[Pending]:
        """One act resolves every request for the same version and target; what it left is read by the next cycle."""
        return list({item.decision.request.place: item for item in reversed(pending)}.values())[::-1]

    def _act(self, pending: Pending, confirmation: Confirmation | None) -> Attempt:
        if self._stopping():
            return Attempt(pending)
        # A daemon that was suspended for longer than its lease learns here that another has taken over.
        answer = self._audit.go_ahead(pending, confirmation)
        if answer is not GoAhead.YES:
            return Attempt(pending, overtaken=answer is GoAhead.OVERTAKEN)
        failpoint("about to act")
        try:
            standing = self._registry.act(pending.decision)
        except RegistryError as error:
            return Attempt(pending, sent=True, error=error)
        failpoint("acted")
        return Attempt(pending, sent=True, standing=standing)

    # --- confirm ---------------------------------------------------------------------------------------------

    def _confirm(self, attempts: Sequence[Attempt]) -> list[Happening]:
        """Reads what the replies do not show; an error does not say whether the act happened."""
        sent = [attempt for attempt in attempts if attempt.sent]
        standings, happened = self._shown_or_read(sent)
        failpoint("confirmed")
        endings = [
            _ending(attempt.pending, OutcomeKind.LAPSED, _OVERTAKEN) for attempt in attempts if attempt.overtaken
        ]
        for attempt in sent:
            standing = standings.get(attempt.decision.decision_id)
            if standing is None:
                happened.append(self._in_doubt(attempt))
            elif not standing.open:
                endings += self._gone([(attempt.pending, standing)], attempt.acted)
            elif attempt.is_last:
                happened.append(Happening(in_error=True))
                endings.append(self._given_up(attempt))
            else:
                happened.append(self._again(attempt, attempt.detail))
        return happened + self._conclude(endings)

    def _shown_or_read(self, sent: Sequence[Attempt]) -> tuple[Standings, list[Happening]]:
        standings = {item.decision.decision_id: item.standing for item in sent if item.standing is not None}
        unknown = [attempt.decision for attempt in sent if attempt.standing is None]
        try:
            return standings | (self._registry.standings(unknown) if unknown else {}), []
        except RegistryError as error:
            return standings, [Happening(unavailable=str(error))]

    def _in_doubt(self, attempt: Attempt) -> Happening:
        """The registry could not be read: the act may have happened, and the next cycle finds out."""
        return Happening(in_doubt=True) if attempt.error is None else self._again(attempt, str(attempt.error))

    def _again(self, attempt: Attempt, detail: str) -> Happening:
        retry_in = retry_after(attempt.pending.attempts)
        self._audit.attempted(attempt.pending, detail, retry_in, in_doubt=attempt.in_doubt)
        failpoint("attempt counted")
        self._tell_outcome(attempt.decision, f"not confirmed: {detail}", of_failure(attempt.pending.failures))
        return Happening(in_error=True)

    # --- conclude --------------------------------------------------------------------------------------------

    def _gone(self, read: Sequence[tuple[Pending, Standing]], acted: Acted) -> list[Ending]:
        """How those decisions end whose requests are no longer open."""
        closed = [(pending, self._found(pending, standing, acted)) for pending, standing in read if not standing.open]
        return [self._ending_of(pending, standing, acted) for pending, standing in closed if standing is not None]

    def _found(self, pending: Pending, standing: Standing, acted: Acted) -> Standing | None:
        """What was carried out may be found under the model's new name. None: the next pass looks for it again."""
        record = self._audit.observations
        return standing if acted is Acted.NO else standing_now(self._registry, record, pending.decision, standing)

    def _ending_of(self, pending: Pending, standing: Standing, acted: Acted) -> Ending:
        decision = pending.decision
        kind, detail = conclusion(decision, standing, acted)
        if kind is not OutcomeKind.APPLIED and decision.replaces and self._audit.overtaken(decision):
            kind, detail = OutcomeKind.LAPSED, _OVERTAKEN
        by_others = kind is OutcomeKind.SUPERSEDED and not self._registry.keeps_history
        request = decision.request
        return _ending(pending, kind, detail, inferred(Gone(request.key, request), standing) if by_others else None)

    @staticmethod
    def _given_up(attempt: Attempt) -> Ending:
        detail = f"given up after {attempt.pending.attempts + 1} attempts: {attempt.detail}"
        in_doubt = attempt.in_doubt or attempt.pending.answer_by is not None
        return Ending(attempt.pending, Outcome(OutcomeKind.FAILED, detail), in_doubt)

    def _conclude(self, endings: Sequence[Ending]) -> list[Happening]:
        """Records the outcomes, but of what another daemon has taken over, and will conclude."""
        if not endings:
            return []
        recorded = self._audit.conclude(*endings)
        failpoint("concluded")
        return [self._concluded(ending.decision, ending.outcome) for ending in recorded]

    def _concluded(self, decision: Decision, outcome: Outcome) -> Happening:
        kind, effect = outcome.kind, effect_of(decision.verdict, outcome.kind)
        text = f"{kind}{f' ({effect})' if effect else ''}: {outcome.detail}"
        self._tell_outcome(decision, text, Weight.STUCK if kind is OutcomeKind.FAILED else NORMAL)
        resolved = None if kind.leaves_open else decision.request.key
        return Happening(outcome=kind, resolved=resolved, moved=decision.request if effect is Effect.MOVED else None)

    def _tell_outcome(self, decision: Decision, text: str, weight: Weight) -> None:
        self._tell(event("outcome", decision.request, text, decision, weight))


def _ending(pending: Pending, kind: OutcomeKind, detail: str, by_others: Inferred | None = None) -> Ending:
    in_doubt = kind.leaves_open and pending.answer_by is not None
    return Ending(pending, Outcome(kind, detail), in_doubt, by_others)
