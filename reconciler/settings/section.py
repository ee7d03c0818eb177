"""What the sections of the configuration have in common."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from reconciler.domain.times import parse_duration


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _duration(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float | timedelta):
        raise ValueError("is not a duration: use for example 90s, 10m or 1h30m")
    return value if isinstance(value, timedelta) else parse_duration(value)


Duration = Annotated[timedelta, BeforeValidator(_duration)]


def positive(duration: timedelta) -> timedelta:
    if duration <= timedelta(0):
        raise ValueError("must be positive, for example 60s")
    return duration


def names_of(value: Any) -> Any:
    """A list, or as a variable has it: names with commas between them."""
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value
