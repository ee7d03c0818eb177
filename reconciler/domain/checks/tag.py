"""tag: the version has a tag, with any value or a given one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence import Evidence, Needs, VersionFacts
from reconciler.domain.fields import TextField
from reconciler.domain.text import Text


class TagCode(FindingCode):
    TAG_MISSING = "tag_missing", "the version has no such tag"
    TAG_PRESENT = "tag_present", "the version has the tag, and `present: false` forbids it"
    NOT_EQUAL = "not_equal", "the tag's value is not the one in `equals`"
    NOT_ONE_OF = "not_one_of", "the tag's value is none of those in `one_of`"
    NO_MATCH = "no_match", "the tag's value does not match `matches`"
    TOO_LONG = "too_long", "a value over 4,096 characters is not kept whole, so what it says is not judged"


class TagCheck(Check):
    """The version has a tag, with any value or a given one."""

    kind: ClassVar[str] = "tag"
    codes: ClassVar[type[FindingCode]] = TagCode
    notes: ClassVar[str] = (
        "`tag: KEY` alone requires that the tag is present. Give at most one of `equals`, `one_of` and `matches`."
    )

    of: ClassVar[frozenset[str]] = frozenset({"model", "prompt"})

    tag: TextField = Field(min_length=1, description="The tag's key.", examples=["validation.status"])
    present: bool = Field(
        True, strict=True, description="The tag is present, whatever its value; `false`: the version has no such tag."
    )
    equals: TextField | None = Field(None, description="The value that passes.")
    one_of: tuple[TextField, ...] | None = Field(None, min_length=1, description="The values that pass.")
    matches: TextField | None = Field(None, description="A regular expression (RE2) for the whole value.")

    @field_validator("matches")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            _compiled(pattern)
        return pattern

    @model_validator(mode="after")
    def _one_condition(self) -> TagCheck:
        if sum(condition is not None for condition in (self.equals, self.one_of, self.matches)) > 1:
            raise ValueError("use only one of equals, one_of and matches; a second condition is a second check")
        if not self.present and self._compares:
            raise ValueError("a tag that must not be there has no value: remove equals, one_of and matches")
        return self

    @property
    def title(self) -> str:
        return f"tag {self.tag}"

    @property
    def expected(self) -> str:
        if not self.present:
            return "not set"
        if self.equals is not None:
            return f"{self.equals!r}"
        if self.one_of is not None:
            return "one of " + ", ".join(f"{value!r}" for value in self.one_of)
        return f"a match of {self.matches!r}" if self.matches is not None else "present"

    def needs(self) -> Needs:
        return Needs(tags=frozenset({self.tag}))

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        version = evidence.fact(VersionFacts)
        if not isinstance(version, VersionFacts):
            return nothing_to_judge(version)
        text = version.tags.get(self.tag)
        if not self.present:
            return self._must_be_absent(text)
        if text is None:
            return Finding(TagCode.TAG_MISSING, "not set", source="version", missing=True)
        if not text.whole and self._compares:
            return Finding(TagCode.TOO_LONG, f"{text.length} characters, too long to be compared", source="version")
        return Finding(self._code_of(text.head), f"{text.head[:200]!r}", source="version")

    @staticmethod
    def _must_be_absent(text: Text | None) -> Finding:
        """Its absence is the answer and not a missing value, for which `grace` would wait."""
        if text is None:
            return Finding(CommonCode.OK, "not set", source="version")
        return Finding(TagCode.TAG_PRESENT, f"{text.head[:200]!r}", source="version")

    @property
    def _compares(self) -> bool:
        return any(condition is not None for condition in (self.equals, self.one_of, self.matches))

    def _code_of(self, value: str) -> FindingCode:
        if self.equals is not None and value != self.equals:
            return TagCode.NOT_EQUAL
        if self.one_of is not None and value not in self.one_of:
            return TagCode.NOT_ONE_OF
        if self.matches is not None and not _fully_matches(self.matches, value):
            return TagCode.NO_MATCH
        return CommonCode.OK


def _fully_matches(pattern: str, value: str) -> bool:
    # RE2 works on UTF-8, which has no lone surrogates; a replaced one matches nothing that was meant.
    return _compiled(pattern).fullmatch(value.encode("utf-8", "replace").decode()) is not None


def _compiled(pattern: str) -> Any:
    """An RE2 expression: it takes linear time, whatever a hostile value looks like.

    Raises:
        ValueError: not an expression of RE2.
    """
    # Here, since most policies have no `matches`, and it takes 2 MB.
    import re2

    options = re2.Options()
    # Else the library prints the mistake to stderr itself.
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(f"{pattern!r} is not a valid RE2 regular expression: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
