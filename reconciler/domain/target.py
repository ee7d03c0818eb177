"""Where a version may be requested to go: a stage or an alias."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

STAGES = ("None", "Staging", "Production", "Archived")
# The only stages whose holders a transition may archive; MLflow answers 500 for the others.
_ARCHIVING_STAGES = frozenset({"Staging", "Production"})

# MLflow's own rules for aliases (mlflow.utils.validation): 1 to 255 word characters and dashes, `latest` and
# v<digits> reserved. Unicode letters pass there, so they pass here.
_ALIAS = re.compile(r"[\w\-]{1,255}")
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)


class TargetKind(StrEnum):
    STAGE = "stage"
    ALIAS = "alias"


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A stage (`Production`) or an alias (`@champion`). Make one with `Target.parse`."""

    kind: TargetKind
    name: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read `Production`, `production` or `@champion`.

        Raises:
            ValueError: neither a stage of MLflow nor an alias that MLflow accepts; the message says which.
        """
        if text.startswith("@"):
            return cls(TargetKind.ALIAS, _alias(text[1:]))
        for stage in STAGES:
            if stage.lower() == text.lower():
                return cls(TargetKind.STAGE, stage)
        raise ValueError(f"{text!r} is not a target: use a stage ({', '.join(STAGES)}) or an alias such as @champion")

    @property
    def is_stage(self) -> bool:
        return self.kind is TargetKind.STAGE

    @property
    def may_archive(self) -> bool:
        """Whether a transition to it may archive the versions that hold it now."""
        return self.is_stage and self.name in _ARCHIVING_STAGES

    def __str__(self) -> str:
        return self.name if self.is_stage else f"@{self.name}"


def _alias(name: str) -> str:
    if not _ALIAS.fullmatch(name):
        raise ValueError(f"'@{name}' is not an alias: use 1 to 255 letters, digits, _ and -")
    if _RESERVED_ALIAS.fullmatch(name):
        raise ValueError(f"'@{name}' is reserved by MLflow: choose an alias other than latest and v<number>")
    return name
