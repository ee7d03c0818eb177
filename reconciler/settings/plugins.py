"""The section `plugins` of the configuration."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, field_validator

from reconciler.domain.times import duration_text
from reconciler.settings.section import Duration, Section, names_of, positive

if TYPE_CHECKING:
    from reconciler.policy.plugins import Plugins


# Three times as long is less than the watchdog of the service waits.
_LONGEST = timedelta(seconds=10)


class PluginSettings(Section):
    """Checks of your own, from packages that are installed beside the product."""

    checks: Annotated[tuple[str, ...], BeforeValidator(names_of)] = Field(
        (), description="Names of checks of your own that policies may require."
    )
    timeout: Duration = Field(timedelta(seconds=5), description="How long one may take to judge; then it abstains.")

    @field_validator("checks")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for at, name in enumerate(names):
            if not re.fullmatch(r"[a-z][a-z0-9_]{1,23}", name):
                raise ValueError(f"{name!r} is not a check's name: use 2 to 24 small letters, digits and _")
            if name in names[:at]:
                raise ValueError(f"{name!r} is named twice: remove one of the two")
        return names

    @field_validator("timeout")
    @classmethod
    def _within_limits(cls, duration: timedelta) -> timedelta:
        if duration > _LONGEST:
            raise ValueError(
                f"must be at most {duration_text(_LONGEST)}: a cycle waits for it, thrice a minute at most"
            )
        return positive(duration)

    def named(self) -> Plugins:
        # Here, since not every command reads a policy.
        from reconciler.policy.plugins import Plugins

        return Plugins(self.checks, self.timeout.total_seconds())
