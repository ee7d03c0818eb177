"""What a finding says of the tag that it rests on: who may change it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from reconciler.domain.evidence.evidence import Evidence, ProtectionFacts
from reconciler.domain.evidence.protection_facts import Guard
from reconciler.domain.evidence.withheld import Withheld

NOT_KNOWN: Final = "not known whether the tag is protected"
_TOLD: Final[Mapping[str, str]] = MappingProxyType(
    {
        Guard.PROTECTED: "the tag is protected",
        Guard.OPEN_TO_MANAGERS: "the tag is protected, but not from whoever has MANAGE on the model",
        Guard.OPEN_TO_EDITORS: "anybody who may edit the version can change the tag",
    }
)


def guard_of(tag: str, evidence: Evidence) -> str:
    """For people. That nobody can tell is no reason to abstain, since no verdict rests on it."""
    try:
        protection = evidence.fact(ProtectionFacts)
        guard = protection.tags.get(tag) if isinstance(protection, ProtectionFacts) else None
    except Withheld:
        guard = None
    return _TOLD.get(guard, NOT_KNOWN) if isinstance(guard, str) else NOT_KNOWN
