"""description: the version says what it is."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence import Evidence, Needs, VersionFacts
from reconciler.domain.fields import Value


class DescriptionCode(FindingCode):
    DESCRIPTION_MISSING = "description_missing", "the version has no description"
    DESCRIPTION_TOO_SHORT = "description_too_short", "the description is shorter than `min_length`"


class DescriptionTerms(Value):
    min_length: int = Field(1, ge=1, strict=True, description="Characters, not counting blanks around the text.")


class DescriptionCheck(Check):
    """The version has a description."""

    kind: ClassVar[str] = "description"
    codes: ClassVar[type[FindingCode]] = DescriptionCode

    description: DescriptionTerms

    @property
    def title(self) -> str:
        return "description"

    @property
    def expected(self) -> str:
        return f"at least {self.description.min_length} characters"

    def needs(self) -> Needs:
        return Needs()

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        version = evidence.fact(VersionFacts)
        if not isinstance(version, VersionFacts):
            return nothing_to_judge(version)
        text = version.description
        length = len(text.head.strip()) if text.whole else text.length
        if not length:
            return Finding(DescriptionCode.DESCRIPTION_MISSING, "none", source="version", missing=True)
        long_enough = length >= self.description.min_length
        code = CommonCode.OK if long_enough else DescriptionCode.DESCRIPTION_TOO_SHORT
        return Finding(code, f"{length} characters", float(length), "version")
