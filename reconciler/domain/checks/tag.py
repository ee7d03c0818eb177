"""tag: the version has a tag, with any value or a given one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from reconciler.domain.checks.base import Check, Finding, nothing_to_judge
from reconciler.domain.codes import CommonCode, FindingCode
from reconciler.domain.evidence.evidence import Evidence, Needs, VersionFacts
from reconciler.domain.evidence.guards import guard_of
from reconciler.domain.evidence.shares import is_finite
from reconciler.domain.fields import DurationField, TextField
from reconciler.domain.mistakes import Mistake
from reconciler.domain.text import Text, is_address, number_text
from reconciler.domain.times import duration_text, parse_iso

# ASCII only: `float` also reads digits of other scripts, blanks, _ and names such as infinity.
_NUMBER = re.compile(r"[+-]?(\d{1,300}(\.\d{0,300})?|\.\d{1,300})([eE][+-]?\d{1,3})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?", re.ASCII)


class TagCode(FindingCode):
    TAG_MISSING = "tag_missing", "the version has no such tag"
    TAG_PRESENT = "tag_present", "the version has the tag, and `present: false` forbids it"
    NOT_EQUAL = "not_equal", "the tag's value is not the one in `equals`"
    NOT_ONE_OF = "not_one_of", "the tag's value is none of those in `one_of`"
    NO_MATCH = "no_match", "the tag's value does not match `matches`"
    NOT_OF_TYPE = "not_of_type", "the tag's value is not of the `type` that is asked for"
    NUMBER_TOO_SMALL = "number_too_small", "the tag's number is less than `min`"
    NUMBER_TOO_LARGE = "number_too_large", "the tag's number is more than `max`"
    DATE_OUT_OF_RANGE = "date_out_of_range", "the tag's date is longer ago than `max_age`, or in the future"
    TOO_LONG = "too_long", "a value over 4,096 characters is not kept whole, so its content is not judged"


class TagCheck(Check):
    """The version has a tag, with any value or a given one."""

    kind: ClassVar[str] = "tag"
    codes: ClassVar[type[FindingCode]] = TagCode
    remedy: ClassVar[str] = "ask the person responsible for the tag to set or change it"
    example: ClassVar[str] = "{tag: validated.at, type: date, max_age: 90d}"
    notes: ClassVar[str] = (
        "`tag: KEY` alone requires that the tag is present. Give at most one of `equals`, `one_of` and `matches`.\n\n"
        "Whoever may edit the model may set its versions' tags, unless the MLflow app [protects\nthem]"
        "(mlflow-app.md#protected-tags). `check` names those that it does not protect, and each finding\nsays so of "
        "its tag."
    )

    of: ClassVar[frozenset[str]] = frozenset({"model", "prompt"})

    tag: TextField = Field(min_length=1, description="The tag's key.", examples=["validation.status"])
    present: bool = Field(
        True, strict=True, description="The tag is present, whatever its value; `false`: the version has no such tag."
    )
    equals: TextField | None = Field(None, description="The value that passes.")
    one_of: tuple[TextField, ...] | None = Field(None, min_length=1, description="The values that pass.")
    matches: TextField | None = Field(None, description="A regular expression (RE2) for the whole value.")
    type_of_value: Literal["number", "date", "url"] | None = Field(
        None,
        alias="type",
        description="What the value is: a number, a date or moment (ISO 8601), or an http(s) address.",
    )
    min: float | None = Field(None, strict=True, description="The lowest number that passes (`type: number`).")
    max: float | None = Field(None, strict=True, description="The highest number that passes (`type: number`).")
    max_age: DurationField | None = Field(
        None, description="The longest time since the date, which must not be in the future (`type: date`)."
    )

    @field_validator("matches")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            _compiled(pattern)
        return pattern

    def mistakes(self) -> Iterator[Mistake]:
        conditions = (self.equals, self.one_of, self.matches, self.type_of_value)
        if sum(condition is not None for condition in conditions) > 1:
            yield Mistake("use only one of equals, one_of and matches, or type; a second condition is a second check")
        if self.type_of_value != "number" and (self.min is not None or self.max is not None):
            yield Mistake("min and max need type: number", lacks=True)
        if self.min is not None and self.max is not None and self.min > self.max:
            yield Mistake(f"min {number_text(self.min)} is greater than max {number_text(self.max)}")
        if self.type_of_value != "date" and self.max_age is not None:
            yield Mistake("max_age needs type: date", lacks=True)
        if not self.present and self._compares:
            yield Mistake("a tag that must not be there has no value: remove equals, one_of and matches")

    @property
    def title(self) -> str:
        return f"tag {self.tag}"

    @property
    def expected(self) -> str:
        if not self.present:
            return "not set"
        if self.type_of_value is not None:
            return self._expected_type
        if self.equals is not None:
            return f"{self.equals!r}"
        if self.one_of is not None:
            return "one of " + ", ".join(f"{value!r}" for value in self.one_of)
        return f"a match of {self.matches!r}" if self.matches is not None else "present"

    def needs(self) -> Needs:
        return Needs(tags=frozenset({self.tag}))

    def find(self, evidence: Evidence, now: datetime) -> Finding:
        return self.judged(evidence, now, is_address)

    def judged(self, evidence: Evidence, now: datetime, is_url: Callable[[str], bool]) -> Finding:
        """`is_url`: what an engine takes for an address."""
        version = evidence.fact(VersionFacts)
        if not isinstance(version, VersionFacts):
            return nothing_to_judge(version)
        return replace(self._found(version.tags.get(self.tag), now, is_url), guard=guard_of(self.tag, evidence))

    def _found(self, text: Text | None, now: datetime, is_url: Callable[[str], bool]) -> Finding:
        if not self.present:
            return self._must_be_absent(text)
        if text is None:
            return Finding(TagCode.TAG_MISSING, "not set", source="version", missing=True)
        if not text.whole and self._compares:
            return Finding(TagCode.TOO_LONG, f"{text.length} characters, too long to be compared", source="version")
        code = self._code_of(text.head)
        if self.type_of_value is not None:
            code = self._code_of_type(text.head, now, is_url)
        return Finding(code, f"{text.head[:200]!r}", source="version")

    @property
    def _expected_type(self) -> str:
        words = [{"number": "a number", "date": "a date", "url": "an http(s) address"}[str(self.type_of_value)]]
        words += [f"at least {number_text(self.min)}"] if self.min is not None else []
        words += [f"at most {number_text(self.max)}"] if self.max is not None else []
        return ", ".join(words + ([f"within {duration_text(self.max_age)}"] if self.max_age is not None else []))

    def _code_of_type(self, value: str, now: datetime, is_url: Callable[[str], bool]) -> FindingCode:
        if self.type_of_value == "number":
            return self._code_of_number(value)
        if self.type_of_value == "url":
            return CommonCode.OK if is_url(value) else TagCode.NOT_OF_TYPE
        moment = _moment(value)
        if moment is None:
            return TagCode.NOT_OF_TYPE
        if self.max_age is not None and not timedelta(0) <= now - moment <= self.max_age:
            return TagCode.DATE_OUT_OF_RANGE
        return CommonCode.OK

    def _code_of_number(self, value: str) -> FindingCode:
        """Every comparison is written so that NaN fails it."""
        number = float(value) if _NUMBER.fullmatch(value) else math.nan
        if not is_finite(number):
            return TagCode.NOT_OF_TYPE
        if self.min is not None and not number >= self.min:
            return TagCode.NUMBER_TOO_SMALL
        return TagCode.NUMBER_TOO_LARGE if self.max is not None and not number <= self.max else CommonCode.OK

    @staticmethod
    def _must_be_absent(text: Text | None) -> Finding:
        """Its absence is the answer and not a missing value, for which `grace` would wait."""
        if text is None:
            return Finding(CommonCode.OK, "not set", source="version")
        return Finding(TagCode.TAG_PRESENT, f"{text.head[:200]!r}", source="version")

    @property
    def _compares(self) -> bool:
        return any(condition is not None for condition in (self.equals, self.one_of, self.matches, self.type_of_value))

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


def _moment(value: str) -> datetime | None:
    """The moment that it says, a date its first one; without a zone in UTC. None: it says none."""
    try:
        return parse_iso(value) if _DATE.fullmatch(value) else None
    except (ValueError, OverflowError):
        return None
