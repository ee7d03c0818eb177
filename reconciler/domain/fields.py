"""The kinds of value that a policy is written with."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

from reconciler.domain.target import Target
from reconciler.domain.times import duration_text, parse_duration


class Value(BaseModel):
    """A part of a policy: it never changes, and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _to_target(value: Any) -> Any:
    return value if isinstance(value, Target) else Target.parse(_text(value))


def _to_duration(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float | timedelta):
        raise ValueError(f"{value!r} is not a duration: use for example 90s, 10m or 30d")
    return value if isinstance(value, timedelta) else parse_duration(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a string: put it in quotes")
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
TextField = Annotated[str, BeforeValidator(_text)]
