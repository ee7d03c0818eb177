"""Whose code judged, of checks that are not the product's own: part of the evidence, and so of what the log covers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

from reconciler.domain.evidence.facts import Fact


class Code(NamedTuple):
    """The code behind a check: the package's name and version as it says, and the SHA-256 (hex) of its files."""

    check: str
    distribution: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} (sha256 {self.sha256[:12]})"


@dataclass(frozen=True, slots=True)
class CodeFacts(Fact):
    """The code of each check of a plugin that the policy asks for, by the check's name."""

    key: ClassVar[str] = "code"

    checks: Mapping[str, Code] = field(default_factory=dict)

    @classmethod
    def of(cls, codes: Collection[Code]) -> Self:
        return cls({code.check: code for code in sorted(codes)})

    def to_data(self) -> dict[str, Any]:
        return {"checks": {name: code._asdict() for name, code in self.checks.items()}}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        """Where it was redacted something else stands in its place, which nobody sees."""
        codes = (value for value in data["checks"].values() if isinstance(value, Mapping))
        return cls.of([Code(**value) for value in codes])
