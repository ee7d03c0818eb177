"""What triggers a new judgement at once: all that is known without reading the evidence of runs and models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reconciler.cycle.policy_in_force import PolicyInForce
from reconciler.domain.decision import Mode
from reconciler.domain.evidence.evidence import VersionFacts
from reconciler.ports import Listed


class Grounds(NamedTuple):
    """The policy and mode of a judgement, what held the target, and a number for what the list showed of the version.

    `shown` is None where the list shows nothing of it, and changes with what the rules ask for.
    """

    policy_digest: str
    mode: Mode
    held: Sequence[str]
    shown: int | None

    @classmethod
    def of(cls, entry: Listed, in_force: PolicyInForce, mode: Mode) -> Grounds:
        return cls(in_force.digest, mode, entry.held, _shown(entry, in_force))

    def differ_from(self, before: Grounds) -> bool:
        changed = self.shown is not None and self.shown != before.shown
        return changed or self[:3] != before[:3]


def _shown(entry: Listed, in_force: PolicyInForce) -> int | None:
    facts: VersionFacts | None = entry.version
    if facts is None:
        return None
    wanted = in_force.policy.needs(entry.request).tags
    tags = frozenset((key, facts.tags[key]) for key in wanted if key in facts.tags)
    return hash((facts.run_id, facts.source, facts.status, facts.current_stage, facts.description, tags))
