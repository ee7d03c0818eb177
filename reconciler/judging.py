"""Judging requests: the one way from evidence to a verdict, for the cycle, for `explain` and for `once --dry-run`.

Open requests are judged by the newest engine; a decision is judged again by the engine that judged it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.comparing import baselines
from reconciler.domain.engines.current import ENGINE
from reconciler.domain.engines.evaluate import ENGINES, Evaluate
from reconciler.domain.errors import ExitCode, ReconcilerError
from reconciler.domain.evidence.evidence import Evidence, TenureFacts
from reconciler.domain.evidence.keeping import permitted, within_room
from reconciler.domain.policy import Policy
from reconciler.domain.request import Request
from reconciler.domain.verdict import Verdict, VerdictKind
from reconciler.ports import Listed, Registry
from reconciler.ports.observations import Arrivals
from reconciler.times_held import times_held

# How many requests share one reading of evidence: fewer keeps it fresher, more needs fewer calls.
JUDGED_TOGETHER = 50


class UnknownEngine(ReconcilerError):
    """A decision was judged by an engine that this release does not have: a newer release wrote it."""

    exit_code = ExitCode.MISCONFIGURED

    def __init__(self, number: int) -> None:
        known = ", ".join(map(str, sorted(ENGINES)))
        super().__init__(
            f"engine {number} is unknown (this release has {known}): use the release that made the decision"
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """An open request, its verdict, and the evidence that the verdict rests on."""

    listed: Listed
    verdict: Verdict
    evidence: Evidence


def judge_batch(
    registry: Registry,
    policy: Policy,
    batch: Sequence[Listed],
    now: datetime,
    at: datetime | None = None,
    record: Arrivals | None = None,
) -> Iterator[Judgement]:
    """Reads the evidence of the whole batch, then judges each request on its own.

    Args:
        at: as of this moment the evidence of now is judged; None: as of now.
        record: tells how what holds a target came there, and since when it does; None: nobody does.

    Raises:
        RegistryError: the registry could not be queried at all; nothing is judged.
        AuditUnavailable: the record could not be read.
    """
    evaluate, at = ENGINES[ENGINE], at or now
    needed = [(listed, policy.needs(listed.request)) for listed in batch]
    compared = baselines(registry, record, needed)
    read = registry.evidence([*needed, *compared.to_read], now)
    times = times_held(registry, record, [(listed.request, needs.held) for listed, needs in needed], read)
    for listed, needs in needed:
        key = listed.request.key
        known = compared.known_to(read[key], key, needs, read).judged_by(needs.codes)
        known = known.answering(TenureFacts, times[key]) if key in times else known
        evidence = permitted(known, needs, policy.excludes)
        verdict = evaluate(policy, listed.request, evidence, at)
        if verdict.kind is not VerdictKind.ABSTAIN:
            # Of what is decided the evidence is kept, and the verdict rests on what is kept. An abstention keeps none.
            evidence, whole = within_room(evidence, needs), evidence
            verdict = verdict if evidence is whole else evaluate(policy, listed.request, evidence, at)
        yield Judgement(listed, verdict, evidence)


def judge_again(engine: int, policy: Policy, request: Request, evidence: Evidence) -> Verdict:
    """The verdict of a stored decision, as of the moment when its evidence was read.

    Where a check asks for what was redacted since, it is an abstention with the code `withheld`: nobody can tell.

    Args:
        engine: the number that is stored with the decision.

    Raises:
        UnknownEngine: this release does not have that engine.
    """
    return _engine(engine)(policy, request, evidence, evidence.read_at)


def _engine(number: int) -> Evaluate:
    if number not in ENGINES:
        raise UnknownEngine(number)
    return ENGINES[number]
