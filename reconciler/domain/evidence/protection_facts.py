"""Who may change the tags that a policy rests on, as the server said it: told, and never judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

from reconciler.domain.evidence.facts import Fact


class Guard(StrEnum):
    """From whom a tag is kept."""

    PROTECTED = "protected"  # only approvers and administrators change it
    OPEN_TO_MANAGERS = "open_to_managers"  # so does whoever has MANAGE on the model, as its creator
    OPEN_TO_EDITORS = "open_to_editors"  # so does whoever may edit the version


@dataclass(frozen=True, slots=True)
class ProtectionFacts(Fact):
    """By a tag's key, of those that checks ask for: a `Guard`, or a word of a later release."""

    key: ClassVar[str] = "protection"

    tags: Mapping[str, str]

    def to_data(self) -> dict[str, Any]:
        return {"tags": dict(self.tags)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        """What somebody put in its place tells nothing, and stops nothing."""
        return cls(data["tags"] if isinstance(data["tags"], Mapping) else {})
