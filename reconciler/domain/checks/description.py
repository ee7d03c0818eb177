"""description: the version says what it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import ClassVar

from pydantic import Field

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence.evidence import Evidence, Needs, VersionFacts
from reconciler.domain.fields import Value
from reconciler.domain.text import TEXT_LIMIT, counted_letters, letters_and_digits


class DescriptionCode(FindingCode):
    DESCRIPTION_MISSING = "description_missing", "the version has no description"
    DESCRIPTION_TOO_SHORT = "description_too_short", "the description is shorter than `min_length`"


class DescriptionTerms(Value):
    min_length: int = Field(1, ge=1, strict=True, description="Letters and digits, of any script.")


class DescriptionCheck(Check):
    """The version has a description."""

    kind: ClassVar[str] = "description"
    codes: ClassVar[type[FindingCode]] = DescriptionCode
    remedy: ClassVar[str] = "write a description of the version"
    example: ClassVar[str] = "description: {min_length: 20}"
    notes: ClassVar[str] = """\
`min_length` counts letters and digits of any script; blanks, punctuation, symbols and invisible characters do not
count. Only the first 4,096 characters of a description are judged."""

    description: DescriptionTerms

    @property
    def title(self) -> str:
        return "description"

    @property
    def expected(self) -> str:
        return f"at least {counted_letters(self.description.min_length)}"

    def needs(self) -> Needs:
        return Needs()

    def doubts(self) -> Iterator[str]:
        if self.description.min_length > TEXT_LIMIT:
            yield f"can never pass: only the first {TEXT_LIMIT:,} characters of a description are judged"

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        version = evidence.fact(VersionFacts)
        if not isinstance(version, VersionFacts):
            return nothing_to_judge(version)
        text = version.description
        if not text.length or (text.whole and not text.head.strip()):
            return Finding(DescriptionCode.DESCRIPTION_MISSING, "none", source="version", missing=True)
        count = letters_and_digits(text)
        code = CommonCode.OK if count >= self.description.min_length else DescriptionCode.DESCRIPTION_TOO_SHORT
        # What is beyond the head is not kept, so it could not be judged again: it counts nothing.
        where = "" if text.whole else f" in the first {TEXT_LIMIT:,} of {text.length:,} characters"
        return Finding(code, counted_letters(count) + where, float(count), "version")
