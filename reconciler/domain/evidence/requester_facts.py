"""Who asked, and which logins are one person's: of the request and the policy, and not stored with the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from reconciler.domain.evidence.facts import Fact
from reconciler.domain.request import Assurance, Request


@dataclass(frozen=True, slots=True)
class RequesterFacts(Fact):
    """`people`: the person by each login that the policy maps."""

    key: ClassVar[str] = "requester"

    name: str
    assurance: Assurance
    people: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Request, people: Mapping[str, Sequence[str]]) -> Self:
        by_login = {login: person for person, logins in people.items() for login in (person, *logins)}
        return cls(request.requester.name, request.requester.assurance, by_login)

    def to_data(self) -> dict[str, Any]:
        return {"name": self.name, "assurance": str(self.assurance), "people": dict(self.people)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        return cls(data["name"], Assurance(data["assurance"]), data["people"])
