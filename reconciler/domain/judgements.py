"""A request judged again: what was decided last, what counts as another judgement, and when it is recorded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from reconciler.domain.decision import Mode, OutcomeKind
from reconciler.domain.evidence.evidence import Evidence
from reconciler.domain.verdict import CheckResult, Role, Verdict, VerdictKind

# What was found, without texts and numbers: (rule, check, result, code) of each check that decides.
Findings = frozenset[tuple[str, str, str, str]]

# A row that neither acts nor has another verdict is written at most this often for a request.
_AT_MOST_EVERY: Final = timedelta(hours=1)
_ENDED_WITHOUT_EFFECT = frozenset({OutcomeKind.OBSERVED, OutcomeKind.FAILED, OutcomeKind.LAPSED})


def findings_of(checks: Iterable[CheckResult]) -> Findings:
    """Of the checks that decide: advice and parts change no judgement."""
    deciding = (check for check in checks if check.role is Role.DECIDES)
    return frozenset((check.rule, check.check, str(check.result), str(check.code)) for check in deciding)


@dataclass(frozen=True, slots=True)
class LastDecision:
    """The newest decision about a request. `judgement` counts the request's decisions, from 1.

    `outcome` is None while it is pending; `ended_at` is when it got one.
    """

    decision_id: str
    judgement: int
    verdict: VerdictKind
    acts: bool
    policy_digest: str
    decided_at: datetime
    replaces: str | None = None
    outcome: OutcomeKind | None = None
    ended_at: datetime | None = None

    @property
    def may_be_followed(self) -> bool:
        """Whether the request is judged again while it is open: nothing was done about it, and nothing will be."""
        return self.outcome in _ENDED_WITHOUT_EFFECT

    @property
    def replaced_by_next(self) -> str | None:
        """Which decision the next one names as the one it succeeds; None while none was ever to be carried out."""
        return self.decision_id if self.acts or self.replaces is not None else None

    def must_be_followed(self, verdict: VerdictKind, mode: Mode, *, differs: bool, now: datetime) -> bool:
        """Whether a new judgement is worth a decision of its own.

        Args:
            differs: its `Findings` are not those of this decision.
        """
        if self.outcome is OutcomeKind.LAPSED or verdict is not self.verdict:
            return True
        acts = mode.acts_on(verdict)
        if acts and (differs or self.outcome is OutcomeKind.OBSERVED):
            return True
        if self.outcome is OutcomeKind.FAILED and acts:
            # The registry refused it eight times: it may have been mended since.
            return now - (self.ended_at or self.decided_at) >= _AT_MOST_EVERY
        return differs and now - self.decided_at >= _AT_MOST_EVERY


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A judgement that says the same as a decision, right before the decision is acted on."""

    verdict: Verdict
    policy_digest: str
    evidence: Evidence
    engine: int
