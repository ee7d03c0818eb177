"""The kinds of value that a policy is written with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from reconciler.domain.mistakes import Mistake, Mistakes
from reconciler.domain.target import Target
from reconciler.domain.times import duration_text, iso, parse_duration, parse_iso

# The contexts in which policies are validated: one that was in force once, and one that is to be.
STORED: Final = "stored"
NEW: Final = "new"


class Value(BaseModel):
    """A part of a policy: it never changes, and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Keys that say something without a value, as `bounds: null` does.
    may_be_empty: ClassVar[frozenset[str]] = frozenset()

    def mistakes(self) -> Iterator[Mistake]:
        """What is wrong between its keys, each of which is right by itself."""
        yield from ()

    def _empty(self) -> Iterator[Mistake]:
        """Keys behind which the value is missing, so that the text asks for more than the policy does."""
        for name, field in type(self).model_fields.items():
            if name in self.model_fields_set - self.may_be_empty and getattr(self, name) is None:
                key = field.alias or name
                yield Mistake("there is no value here: give one, or remove the key", at=(key,))

    @model_validator(mode="after")
    def _without_mistakes(self, info: ValidationInfo) -> Self:
        found = (*self.mistakes(), *(self._empty() if info.context == NEW else ()))
        if found:
            raise Mistakes(found)
        return self


def _to_target(value: Any) -> Any:
    return value if isinstance(value, Target) else Target.parse(_text(value))


def _to_duration(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float | timedelta):
        raise ValueError(f"{value!r} is not a duration: use for example 90s, 10m or 30d")
    return value if isinstance(value, timedelta) else parse_duration(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        shown = value.isoformat() if isinstance(value, date) else repr(value)
        raise ValueError(f"{shown} is not a string: put it in quotes")
    return value


TargetField = Annotated[
    Target,
    BeforeValidator(_to_target),
    PlainSerializer(str),
    WithJsonSchema(
        {
            "type": "string",
            "description": "A stage, or an alias with @.",
            "examples": ["Production", "@champion"],
            "pattern": r"^(@[\w\-]{1,255}|[Nn]one|[Ss]taging|[Pp]roduction|[Aa]rchived)$",
        }
    ),
]
DurationField = Annotated[
    timedelta,
    BeforeValidator(_to_duration),
    PlainSerializer(duration_text),
    WithJsonSchema(
        {"type": ["string", "number"], "description": "Seconds, or 90s, 10m, 1h30m, 30d.", "examples": ["10m"]}
    ),
]


def _to_glob(value: Any, info: ValidationInfo) -> str:
    """What an earlier release took, and what matched nothing, is still read from stored policies."""
    text = _text(value)
    if text.startswith("!") and info.context != STORED:
        raise ValueError(f"{text!r} would match names that begin with !: to leave models out, name them in `exclude`")
    return text


_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _to_id(value: Any) -> str:
    text = _text(value)
    if not _ID.fullmatch(text):
        raise ValueError(f"{text!r} is not an id: use up to 100 letters, digits, ., _ and -, a letter or digit first")
    return text


def _to_moment(value: Any) -> datetime:
    """A date is its first moment; what names no zone is UTC."""
    try:
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        if isinstance(value, date):
            return datetime.combine(value, time(), UTC)
        return parse_iso(_text(value))
    except (ValueError, OverflowError):
        raise ValueError(f"{value!r} is not a date: use for example 2027-01-01 or 2027-01-01T08:00:00Z") from None


TextField = Annotated[str, BeforeValidator(_text)]
GlobField = Annotated[str, BeforeValidator(_to_glob)]
IdField = Annotated[str, BeforeValidator(_to_id)]
MomentField = Annotated[
    datetime,
    BeforeValidator(_to_moment),
    PlainSerializer(iso),
    WithJsonSchema({"type": "string", "description": "A date or a moment, in UTC.", "examples": ["2027-01-01"]}),
]


def _to_words(value: Any) -> tuple[Any, ...]:
    """Each word of a list is told by itself where it is wrong."""
    if not isinstance(value, list | tuple):
        return (_text(value),)
    if not value:
        raise ValueError("[] names no value: name at least one")
    return tuple(value)


WordsField = Annotated[
    tuple[TextField, ...],
    BeforeValidator(_to_words),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]


def _to_step(value: Any) -> Any:
    is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not is_number and value not in ("last", "best"):
        raise ValueError(f"{value!r} is not a step: use last, best, or a number from 0")
    return value


StepField = Annotated[
    int | str,
    BeforeValidator(_to_step),
    WithJsonSchema({"anyOf": [{"enum": ["last", "best"]}, {"type": "integer", "minimum": 0}]}),
]
