"""What a cycle did, in one sentence and in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from reconciler.cycle.happening import Happening
from reconciler.domain.decision import Mode
from reconciler.domain.text import counted
from reconciler.domain.times import duration_text, millis_of
from reconciler.ports import Stuck


@dataclass(frozen=True, slots=True)
class CycleSummary:
    """What a cycle did. `unavailable` says what could not be reached; `in_error` counts requests left in error.

    `open` counts what was listed; `unlisted` says which targets' requests were not.
    """

    mode: Mode
    open: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    abstentions: Counter[str] = field(default_factory=Counter)
    in_error: int = 0
    in_doubt: int = 0
    unavailable: str | None = None
    unlisted: Sequence[str] = ()
    stopped: bool = False
    remark: str | None = None
    paused: str | None = None
    oldest: timedelta = timedelta()
    calls: int = 0
    skew: timedelta | None = None
    duration: timedelta = timedelta()
    stuck: Sequence[Stuck] = ()
    bypasses: int = 0

    @property
    def ok(self) -> bool:
        return self.unavailable is None and not self.in_error and not self.unlisted

    @property
    def changed_nothing(self) -> bool:
        """Nothing was decided, done or in error: an earlier cycle's sentence has said it all."""
        return self.ok and not (self.verdicts or self.outcomes or self.in_doubt or self.stopped)

    @property
    def sentence(self) -> str:
        if self.unavailable is not None and not self.verdicts:
            return self.facts
        return f"{self.facts}; mode {self.mode}, {duration_text(_round_to_millis(self.duration))}"

    @property
    def facts(self) -> str:
        """The sentence without what differs from one cycle to the next."""
        if self.unavailable is not None and not self.verdicts:
            return f"nothing decided: {self.unavailable}" + (f"; {len(self.stuck)} stuck" if self.stuck else "")
        parts = [f"{self.open} open"]
        parts += [f"{count} {word}" for word, count in sorted((self.verdicts + self.outcomes).items())]
        parts += [f"{count} left alone ({code})" for code, count in sorted(self.abstentions.items())]
        parts += [f"{self.in_doubt} to be confirmed by the next cycle"] if self.in_doubt else []
        parts += [f"{self.in_error} in error"] if self.in_error else []
        parts += [f"{len(self.stuck)} stuck (see `mlflow-reconciler status`)"] if self.stuck else []
        if self.bypasses:
            parts += [f"{counted(self.bypasses, 'bypass', 'bypasses')} (see `mlflow-reconciler status`)"]
        parts += self.unlisted
        parts += ["stopped early"] if self.stopped else []
        parts += [f"acts are paused: {self.paused}"] if self.paused is not None else []
        parts += [self.remark] if self.remark is not None else []
        parts += [self.unavailable] if self.unavailable is not None else []
        return ", ".join(parts)


def summary_of(mode: Mode, happened: Sequence[Happening]) -> CycleSummary:
    """What follows from the steps alone; the rest is added with `dataclasses.replace`."""
    unavailable = [happening.unavailable for happening in happened if happening.unavailable is not None]
    return CycleSummary(
        mode,
        verdicts=_counted(happening.verdict for happening in happened),
        outcomes=_counted(happening.outcome for happening in happened),
        abstentions=_counted(happening.abstained for happening in happened),
        in_error=sum(happening.in_error for happening in happened),
        in_doubt=sum(happening.in_doubt for happening in happened),
        unavailable=unavailable[-1] if unavailable else None,
        unlisted=[happening.unlisted for happening in happened if happening.unlisted is not None],
    )


def _counted(words: Iterable[str | None]) -> Counter[str]:
    return Counter(str(word) for word in words if word is not None)


def _round_to_millis(duration: timedelta) -> timedelta:
    return timedelta(milliseconds=millis_of(duration))
