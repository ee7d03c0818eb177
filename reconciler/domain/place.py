"""What requests, decisions and tenures are about: a version, and a target that it is to hold, or holds."""

from __future__ import annotations

from typing import Final, NamedTuple

from reconciler.domain.target import Target
from reconciler.domain.text import visible_name

# A model's name, exactly as the registry has it, and the number of a version.
ModelVersion = tuple[str, str]
# A model's name and a target.
ModelTarget = tuple[str, Target]

_ANY: Final = Target.parse("Production")


class Place(NamedTuple):
    """A version and a target, with the model's name exactly as the registry has it."""

    model: str
    version: str
    target: Target

    @property
    def model_version(self) -> ModelVersion:
        return self.model, self.version

    @property
    def model_target(self) -> ModelTarget:
        return self.model, self.target

    @property
    def of_the_version(self) -> Place:
        """The place by which a version is read when it does not matter what it holds."""
        return self._replace(target=_ANY)

    @property
    def text(self) -> str:
        """`fraud version 7 to Production`, for people."""
        return f"{self.version_text} to {self.target}"

    @property
    def version_text(self) -> str:
        """`fraud version 7`, for people."""
        return f"{visible_name(self.model)} version {visible_name(self.version)}"

    @property
    def shown(self) -> tuple[str, str, str]:
        """Model, version and target as they may be shown, which is how the audit has them."""
        return visible_name(self.model), visible_name(self.version), str(self.target)
