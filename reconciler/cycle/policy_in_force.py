"""The policy that a pass judges by, with the text that the audit keeps."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.domain.policy import Policy


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    policy: Policy
    digest: str
    text: str
