"""What the registry shows of the registered model itself, beside its versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Self

from reconciler.domain.evidence.facts import Fact
from reconciler.domain.text import Text


@dataclass(frozen=True, slots=True)
class ModelFacts(Fact):
    """A registered model: of its tags those that the policy asks for, and its description."""

    key: ClassVar[str] = "registered_model"

    tags: Mapping[str, Text] = field(default_factory=dict)
    description: Text = field(default_factory=lambda: Text.of(""))

    def to_data(self) -> dict[str, Any]:
        tags = {name: asdict(text) for name, text in self.tags.items()}
        return {"tags": tags, "description": asdict(self.description)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        tags = {name: Text(**value) for name, value in data["tags"].items()}
        return cls(tags, Text(**data["description"]))
