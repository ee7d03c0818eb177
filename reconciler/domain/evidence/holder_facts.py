"""What held the requested target when a request was judged, and how it came there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, Final, Self, TypeVar

from reconciler.domain.evidence.answers import answer_data, answer_of
from reconciler.domain.evidence.facts import Absent, Fact, LoggedModelFacts, RunFacts, Unreadable, VersionFacts

F = TypeVar("F", VersionFacts, RunFacts, LoggedModelFacts)

_OF_THE_HOLDER: Final[Mapping[str, type[Fact]]] = MappingProxyType(
    {"shown": VersionFacts, "run": RunFacts, "logged_model": LoggedModelFacts}
)
# Put where a field was redacted, which nobody sees.
_GONE: Final = Unreadable("redacted")


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a version came to hold a target, as far as the audit database knows.

    `began_by`: as of its tenure; "" where that is not known. `approved`: whether it holds by an approval, or was there
    when it was first looked at; None: it cannot be told. `why` says both for people, `since` is when it was first seen.
    """

    began_by: str = ""
    approved: bool | None = None
    why: str = ""
    since: str = ""


@dataclass(frozen=True, slots=True)
class HolderFacts(Fact):
    """The version that a candidate is compared with. `began_by`, `approved`, `why` and `since` as of `Arrival`.

    `shown`, `run` and `logged_model` are what the registry answered about it, without what no check asks for.
    """

    key: ClassVar[str] = "holder"

    version: str
    arrival: Arrival
    shown: VersionFacts | Absent | Unreadable
    run: RunFacts | Absent | Unreadable
    logged_model: LoggedModelFacts | Absent | Unreadable

    def to_data(self) -> dict[str, Any]:
        arrival = {member.name: getattr(self.arrival, member.name) for member in fields(Arrival)}
        answers = {name: answer_data(getattr(self, name)) for name in _OF_THE_HOLDER}
        return {"version": self.version, "arrival": arrival, **answers}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        answers = {name: _answer(kind, data[name]) for name, kind in _OF_THE_HOLDER.items()}
        arrival = data["arrival"]
        known = Arrival(**arrival) if "began_by" in arrival else Arrival()
        return cls(version=data["version"], arrival=known, **answers)


def _answer(kind: type[Fact], data: Mapping[str, Any]) -> Any:
    return answer_of(kind, data) if "answer" in data else _GONE
