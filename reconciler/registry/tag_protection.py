"""Which tags a server keeps from everybody but approvers and administrators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reconciler.ports import Unavailable


@dataclass(frozen=True, slots=True)
class TagProtection:
    """What the MLflow app says of itself.

    Attributes:
        keys: of tags of registered models and of versions.
        enforced: changes are refused, and not only logged (TRANSITION_REQUESTS_WALL=observe).
        approvers_named: MANAGE on a model, which whoever creates it has, does not make an approver.
    """

    keys: frozenset[str]
    enforced: bool
    approvers_named: bool


def protection_in(answer: Any) -> TagProtection | None:
    """None where the app says nothing, as an older one.

    Raises:
        Unavailable: what it said cannot be understood.
    """
    said = answer.get("protected_tags") if isinstance(answer, dict) else None
    if said is None:
        return None
    keys = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Unavailable("transition-requests/list: no list of keys in what the server says of protected tags")
    return TagProtection(frozenset(keys), said.get("enforced") is True, said.get("approvers_named") is True)
