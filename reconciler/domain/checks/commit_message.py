"""commit_message: a version of a prompt says what it changes."""

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


class CommitMessageCode(FindingCode):
    COMMIT_MESSAGE_MISSING = "commit_message_missing", "the version of the prompt has no commit message"
    COMMIT_MESSAGE_TOO_SHORT = "commit_message_too_short", "the commit message is shorter than `min_length`"


class CommitMessageTerms(Value):
    min_length: int = Field(1, ge=1, strict=True, description="Letters and digits, of any script.")


class CommitMessageCheck(Check):
    """A version of a prompt has a commit message."""

    kind: ClassVar[str] = "commit_message"
    codes: ClassVar[type[FindingCode]] = CommitMessageCode
    remedy: ClassVar[str] = "register a version with a commit message"
    example: ClassVar[str] = "commit_message: {min_length: 20}"
    notes: ClassVar[str] = "For rules with `kind: prompt`. MLflow keeps the message as the description of the version."
    of: ClassVar[frozenset[str]] = frozenset({"prompt"})

    commit_message: CommitMessageTerms

    @property
    def title(self) -> str:
        return "commit message"

    @property
    def expected(self) -> str:
        return f"at least {counted_letters(self.commit_message.min_length)}"

    def needs(self) -> Needs:
        return Needs()

    def doubts(self) -> Iterator[str]:
        if self.commit_message.min_length > TEXT_LIMIT:
            yield f"can never pass: only the first {TEXT_LIMIT:,} characters are judged"

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        version = evidence.fact(VersionFacts)
        if not isinstance(version, VersionFacts):
            return nothing_to_judge(version)
        count = letters_and_digits(version.description)
        if not count:
            return Finding(CommitMessageCode.COMMIT_MESSAGE_MISSING, "none", source="version", missing=True)
        enough = count >= self.commit_message.min_length
        code = CommonCode.OK if enough else CommitMessageCode.COMMIT_MESSAGE_TOO_SHORT
        return Finding(code, counted_letters(count), float(count), "version")
