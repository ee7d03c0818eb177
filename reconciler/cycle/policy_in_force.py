"""The policy that a pass judges by, with the text that the audit keeps."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.domain.policy import Policy


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """`file`: where it was read; `loaded_by`: by which account, on which host. `includes`: the other files of it."""

    policy: Policy
    digest: str
    text: str
    file: str = ""
    loaded_by: str = ""
    includes: tuple[str, ...] = ()
