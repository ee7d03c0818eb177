"""An open transition request, and the key that identifies it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from reconciler.domain.place import Place
from reconciler.domain.target import Target
from reconciler.domain.text import visible_name
from reconciler.domain.times import iso, parse_iso


class Assurance(StrEnum):
    """How far the requester's name can be relied on."""

    AUTHENTICATED = "authenticated"  # the registry vouches for it
    ASSERTED = "asserted"  # the request says so itself
    UNKNOWN = "unknown"


SOMEBODY_UNKNOWN = "somebody unknown"


@dataclass(frozen=True, slots=True)
class Requester:
    name: str
    assurance: Assurance

    @property
    def known_as(self) -> str:
        """The name as it may be shown, or a text that says it is unknown."""
        return visible_name(self.name) or SOMEBODY_UNKNOWN


NOBODY = Requester("", Assurance.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Request:
    """A request to move `version` of `model` to `target`.

    All texts are raw, as the registry gave them. `id` is the request's own name in the registry (stamped, or
    given by its author); `requested_at` has milliseconds. `fingerprint` is a digest of what the registry
    held, so that a later reading can tell whether it is still the same request. A prompt is what MLflow keeps
    like a model; rules for prompts cover it, and no others.
    """

    registry: str
    workspace: str
    model: str
    version: str
    target: Target
    requester: Requester
    requested_at: datetime
    comment: str
    id: str
    fingerprint: str
    is_prompt: bool = False
    _key: str = field(default="", init=False, repr=False, compare=False)

    @classmethod
    def as_if(
        cls, registry: str, workspace: str, place: Place, at: datetime, by: Requester = NOBODY, is_prompt: bool = False
    ) -> Request:
        """As if it had been asked for then: for what is judged, or shown, without a request."""
        return cls(registry, workspace, *place, by, at, "", "", "", is_prompt)

    @property
    def key(self) -> str:
        """SHA-256 (hex) over (registry, workspace, model, version, target, requester, requested_at, id)."""
        # Each step of a cycle asks for it; what it is made of never changes.
        if not self._key:
            object.__setattr__(self, "_key", self._computed_key())
        return self._key

    def _computed_key(self) -> str:
        parts = [
            self.registry, self.workspace, self.model, self.version, str(self.target),
            self.requester.name, iso(self.requested_at), self.id,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()

    @property
    def place(self) -> Place:
        """What one act addresses."""
        return Place(self.model, self.version, self.target)

    @property
    def order(self) -> tuple[datetime, str, str, str]:
        return (self.requested_at, self.model, self.version, str(self.target))

    def seen_first(self, id: str, at: datetime) -> Request:
        """The same request with the id and time it got when it was first seen."""
        return replace(self, id=id, requested_at=at)

    def to_data(self) -> dict[str, Any]:
        data = asdict(self)
        del data["_key"]
        data["target"] = str(self.target)
        data["requester"] = self.requester.name
        data["requester_assurance"] = str(self.requester.assurance)
        data["requested_at"] = iso(self.requested_at)
        return data

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Request:
        """The inverse of `to_data`. Raises KeyError or ValueError on anything else."""
        values = dict(data)
        assurance = Assurance(values.pop("requester_assurance"))
        values["requester"] = Requester(values["requester"], assurance)
        values["target"] = Target.parse(values["target"])
        values["requested_at"] = parse_iso(values["requested_at"])
        return cls(**values)
