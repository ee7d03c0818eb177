"""Judging requests: the one way from evidence to a verdict, for the cycle, for `explain` and for `once --dry-run`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from reconciler.domain.evaluate import evaluate
from reconciler.domain.evidence import Evidence
from reconciler.domain.policy import Policy
from reconciler.domain.verdict import Verdict
from reconciler.ports import Listed, Registry

# How many requests are judged on evidence that is read at once: fewer is fresher, more is fewer calls.
JUDGED_TOGETHER = 50


@dataclass(frozen=True, slots=True)
class Judgement:
    """An open request, its verdict, and the evidence that the verdict rests on."""

    listed: Listed
    verdict: Verdict
    evidence: Evidence


def judge_batch(registry: Registry, policy: Policy, batch: Sequence[Listed], now: datetime) -> Iterator[Judgement]:
    """Reads the evidence of the whole batch, then judges each request on its own.

    Raises:
        RegistryError: the registry could not be asked at all; nothing is judged then.
    """
    needed = [(listed, policy.needs(listed.request)) for listed in batch]
    evidence_by_key = registry.evidence(needed, now)
    for listed in batch:
        evidence = evidence_by_key[listed.request.key]
        yield Judgement(listed, evaluate(policy, listed.request, evidence, now), evidence)
